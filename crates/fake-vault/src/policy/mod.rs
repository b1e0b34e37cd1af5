//! Policies: the capabilities of tokens.

mod parameters;

use std::collections::BTreeSet;

use crate::fields::Fields;

pub use parameters::Parameters;

/// A set of rules, each a path and its capabilities.
///
/// A path ends in `*` to match every continuation, and a segment `+` matches any one segment. Of the paths that
/// match, the most specific decides, as in
/// <https://developer.hashicorp.com/vault/docs/concepts/policies#priority-matching>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    path: String,
    capabilities: Vec<Capability>,
    parameters: Parameters,
}

/// A permission on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Vault's own words")]
pub enum Capability {
    Create,
    Delete,
    Deny,
    List,
    Patch,
    Read,
    Sudo,
    Update,
}

impl Capability {
    /// Returns its name in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Deny => "deny",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Read => "read",
            Self::Sudo => "sudo",
            Self::Update => "update",
        }
    }
}

impl Policy {
    /// Returns a policy without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    #[must_use]
    pub fn allow(self, path: &str, capabilities: &[Capability]) -> Self {
        self.allow_with(path, capabilities, Parameters::default())
    }

    /// Adds a rule with parameter constraints.
    #[must_use]
    pub fn allow_with(mut self, path: &str, capabilities: &[Capability], parameters: Parameters) -> Self {
        self.rules.push(Rule {
            path: path.trim_start_matches('/').to_owned(),
            capabilities: capabilities.to_vec(),
            parameters,
        });
        self
    }

    /// Returns a policy that allows to update `path`: signing and logging in are updates.
    pub fn update(path: &str) -> Self {
        Self::new().allow(path, &[Capability::Update])
    }

    /// Returns the part of Vault's built-in `default` policy about the token itself.
    pub(crate) fn built_in() -> Self {
        [
            ("auth/token/lookup-self", Capability::Read),
            ("auth/token/renew-self", Capability::Update),
            ("auth/token/revoke-self", Capability::Update),
            ("sys/capabilities-self", Capability::Update),
            ("sys/leases/lookup", Capability::Update),
            ("sys/leases/renew", Capability::Update),
            ("sys/wrapping/wrap", Capability::Update),
            ("sys/wrapping/lookup", Capability::Update),
            ("sys/wrapping/unwrap", Capability::Update),
        ]
        .into_iter()
        .fold(Self::new(), |policy, (path, capability)| {
            policy.allow(path, &[capability])
        })
    }

    /// Returns the policy of wrapping tokens.
    pub(crate) fn response_wrapping() -> Self {
        Self::new()
            .allow("cubbyhole/response", &[Capability::Create, Capability::Read])
            .allow("sys/wrapping/unwrap", &[Capability::Update])
    }

    /// Returns the policy in HCL, as `sys/policies/acl/:name` expects it.
    pub fn hcl(&self) -> String {
        let rule = |rule: &Rule| {
            let names = rule
                .capabilities
                .iter()
                .map(|capability| format!("{:?}", capability.as_str()));
            let names = names.collect::<Vec<_>>().join(", ");
            let parameters = rule.parameters.hcl();
            format!("path {:?} {{\n  capabilities = [{names}]\n{parameters}}}\n", rule.path)
        };
        self.rules.iter().map(rule).collect()
    }
}

/// The permissions of a token on a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Everything.
    Root,
    /// These capabilities, under these constraints.
    Rules(BTreeSet<Capability>, Parameters),
}

impl Grant {
    /// Returns `true` if a request with these fields is allowed.
    pub(crate) fn allows(&self, capability: Capability, fields: &Fields) -> bool {
        match self {
            Self::Root => true,
            Self::Rules(granted, parameters) => granted.contains(&capability) && parameters.admit(fields),
        }
    }

    /// Returns the names of the capabilities.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Root => vec!["root"],
            Self::Rules(granted, _) if granted.is_empty() => vec!["deny"],
            Self::Rules(granted, _) => granted.iter().map(|capability| capability.as_str()).collect(),
        }
    }
}

/// Returns the permissions that policies together grant on a path. A deny excludes all other capabilities.
pub(crate) fn grant<'a>(policies: impl Iterator<Item = &'a Policy>, path: &str) -> Grant {
    let matching = policies
        .flat_map(|policy| &policy.rules)
        .filter(|rule| matches(&rule.path, path));
    let (mut best, mut granted, mut parameters) = (None, BTreeSet::new(), Parameters::default());
    for rule in matching {
        let rank = specificity(&rule.path);
        if best.is_none_or(|best| rank > best) {
            (best, granted, parameters) = (Some(rank), BTreeSet::new(), Parameters::default());
        }
        if best == Some(rank) {
            granted.extend(rule.capabilities.iter().copied());
            parameters.merge(&rule.parameters);
        }
    }
    if granted.contains(&Capability::Deny) {
        granted = BTreeSet::from([Capability::Deny]);
    }
    Grant::Rules(granted, parameters)
}

/// Returns the rank of a pattern. A higher rank wins: exact, then a later first wildcard, then no `*`, then fewer `+`,
/// then longer.
fn specificity(pattern: &str) -> (usize, bool, usize, usize) {
    let first = pattern
        .split('/')
        .scan(0, |offset, segment| {
            let start = *offset;
            *offset += segment.len() + 1;
            Some((start, segment))
        })
        .find(|(_, segment)| *segment == "+")
        .map(|(start, _)| start);
    let star = pattern.ends_with('*').then(|| pattern.len() - 1);
    let wildcard = first.into_iter().chain(star).min().unwrap_or(usize::MAX);
    let plus = pattern.split('/').filter(|segment| *segment == "+").count();
    (wildcard, star.is_none(), usize::MAX - plus, pattern.len())
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, open) = match pattern.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    let mut segments = path.split('/');
    let mut patterns = pattern.split('/').peekable();
    while let Some(pattern) = patterns.next() {
        let Some(segment) = segments.next() else {
            return false;
        };
        let last = patterns.peek().is_none();
        let same = match pattern {
            "+" => true,
            prefix if last && open => segment.starts_with(prefix),
            exact => segment == exact,
        };
        if !same {
            return false;
        }
    }
    open || segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_specific_path_decides() {
        use Capability::{Deny, Read, Update};
        let policies = [
            Policy::new().allow("pki/*", &[Read]).allow("pki/sign/+", &[Update]),
            Policy::new()
                .allow("pki/sign/web", &[Deny])
                .allow("pki/sign/*", &[Read, Update]),
        ];
        let at = |path| grant(policies.iter(), path).names();
        assert_eq!(at("pki/sign/web"), ["deny"]);
        assert_eq!(at("pki/sign/api"), ["update"]);
        assert_eq!(at("pki/sign/a/b"), ["read", "update"]);
        assert_eq!(at("pki/roles/web"), ["read"]);
        assert_eq!(at("pki"), ["deny"]);
        assert_eq!(at("other"), ["deny"]);
    }

    #[test]
    fn prints_hcl() {
        let parameters = Parameters {
            required: vec!["csr".to_owned()],
            ..Parameters::allowed(["csr", "ttl"])
        };
        let policy = Policy::update("pki/sign/web").allow_with("a/+", &[Capability::Read], parameters);
        let hcl = r#"path "pki/sign/web" {
  capabilities = ["update"]
}
path "a/+" {
  capabilities = ["read"]
  allowed_parameters = { "csr" = [], "ttl" = [] }
  required_parameters = ["csr"]
}
"#;
        assert_eq!(policy.hcl(), hcl);
    }
}
