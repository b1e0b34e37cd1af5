//! Policies: the capabilities of tokens.

use std::collections::BTreeSet;

/// A set of rules, each a path and its capabilities.
///
/// A path ends in `*` to match every continuation, and a segment `+` matches any one segment. Of the paths that
/// match, the most specific decides, as in
/// <https://developer.hashicorp.com/vault/docs/concepts/policies#priority-matching>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<(String, Vec<Capability>)>,
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
    pub fn allow(mut self, path: &str, capabilities: &[Capability]) -> Self {
        self.rules
            .push((path.trim_start_matches('/').to_owned(), capabilities.to_vec()));
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

    /// Returns the policy in HCL, as `sys/policies/acl/:name` expects it.
    pub fn hcl(&self) -> String {
        let rule = |(path, capabilities): &(String, Vec<Capability>)| {
            let words: Vec<_> = capabilities.iter().map(|c| format!("\"{}\"", c.as_str())).collect();
            format!("path \"{path}\" {{ capabilities = [{}] }}\n", words.join(", "))
        };
        self.rules.iter().map(rule).collect()
    }
}

/// Returns the capabilities that policies together grant at a path. A deny excludes all others.
pub(crate) fn capabilities<'a>(policies: impl Iterator<Item = &'a Policy>, path: &str) -> BTreeSet<Capability> {
    let matching = policies
        .flat_map(|policy| &policy.rules)
        .filter(|(pattern, _)| matches(pattern, path))
        .map(|(pattern, capabilities)| (specificity(pattern), capabilities));
    let (mut best, mut granted) = (None, BTreeSet::new());
    for (rank, capabilities) in matching {
        if best.is_none_or(|best| rank > best) {
            (best, granted) = (Some(rank), BTreeSet::new());
        }
        if best == Some(rank) {
            granted.extend(capabilities.iter().copied());
        }
    }
    if granted.contains(&Capability::Deny) {
        return BTreeSet::from([Capability::Deny]);
    }
    granted
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
        let at = |path| Vec::from_iter(capabilities(policies.iter(), path));
        assert_eq!(at("pki/sign/web"), [Deny]);
        assert_eq!(at("pki/sign/api"), [Update]);
        assert_eq!(at("pki/sign/a/b"), [Read, Update]);
        assert_eq!(at("pki/roles/web"), [Read]);
        assert_eq!(at("pki"), []);
        assert_eq!(at("other"), []);
    }

    #[test]
    fn prints_hcl() {
        let policy = Policy::update("pki/sign/web").allow("a/+", &[Capability::Read]);
        let hcl = "path \"pki/sign/web\" { capabilities = [\"update\"] }\n\
                   path \"a/+\" { capabilities = [\"read\"] }\n";
        assert_eq!(policy.hcl(), hcl);
    }
}
