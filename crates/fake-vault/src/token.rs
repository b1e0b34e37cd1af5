//! The token store: life and death of tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use issuer_core::Now;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal};
use crate::call::{Fields, human_duration};
use crate::dice::Dice;

/// The time to live, and the longest one, of what does not say otherwise: 32 days.
pub(crate) const SYSTEM_TTL: Duration = Duration::from_secs(32 * 86_400);

/// What a role says about the tokens of those who log in with it. A zero duration or number means unset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenParams {
    /// How long a token lives at first, and after each renewal; 32 days where unset.
    pub ttl: Duration,
    /// How long a token can live by renewals; 32 days where unset.
    pub max_ttl: Duration,
    /// Like `max_ttl`, and heeded by periodic tokens too.
    pub explicit_max_ttl: Duration,
    /// Makes the token live this long after each renewal, for ever.
    pub period: Duration,
    /// How many requests the token is good for.
    pub num_uses: u64,
    /// The policies, beside `default`.
    pub policies: Vec<String>,
    /// Whether `default` is not among the policies.
    pub no_default_policy: bool,
    /// Whether the token can be renewed. Every login makes it so; only a token that was made by hand may not be.
    pub renewable: bool,
    /// How Vault keeps the token.
    pub kind: TokenType,
}

impl Default for TokenParams {
    fn default() -> Self {
        Self {
            ttl: Duration::ZERO,
            max_ttl: Duration::ZERO,
            explicit_max_ttl: Duration::ZERO,
            period: Duration::ZERO,
            num_uses: 0,
            policies: Vec::new(),
            no_default_policy: false,
            renewable: true,
            kind: TokenType::Service,
        }
    }
}

impl TokenParams {
    /// Returns parameters with these policies and nothing else.
    pub fn policies<const N: usize>(policies: [&str; N]) -> Self {
        Self {
            policies: policies.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// Sets the time to live and the longest one.
    #[must_use]
    pub fn ttl(self, ttl: Duration, max_ttl: Duration) -> Self {
        Self {
            ttl,
            max_ttl,
            ..self
        }
    }

    /// Returns the parameters as the role of an auth method takes them.
    pub fn parameters(&self) -> Value {
        json!({
            "token_explicit_max_ttl": self.explicit_max_ttl.as_secs(),
            "token_max_ttl": self.max_ttl.as_secs(),
            "token_no_default_policy": self.no_default_policy,
            "token_num_uses": self.num_uses,
            "token_period": self.period.as_secs(),
            "token_policies": self.policies,
            "token_ttl": self.ttl.as_secs(),
            "token_type": self.kind.as_str(),
        })
    }

    /// Returns the names of the policies as Vault shows them.
    fn policy_names(&self) -> Vec<String> {
        let default = (!self.no_default_policy).then(|| "default".to_owned());
        let mut names: Vec<_> = default
            .into_iter()
            .chain(self.policies.iter().cloned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns how long a token lives from now on, `age` after its birth, with what Vault would warn about; `None`
    /// if its life is over. This is the rule of login and renewal alike.
    fn lifetime(&self, increment: Duration, age: Duration) -> Option<(Duration, Vec<String>)> {
        let cap = [self.max_ttl, self.explicit_max_ttl]
            .into_iter()
            .filter(|limit| !limit.is_zero())
            .fold(SYSTEM_TTL, Duration::min);
        let mut warnings = Vec::new();
        let mut capped = |what: &str, value: Duration, limit: Duration| {
            warnings.push(format!(
                "{what} of {:?} exceeded the effective max_ttl of {:?}; {what} value is capped accordingly",
                human_duration(value),
                human_duration(limit),
            ));
        };
        let (wanted, limit) = if self.period.is_zero() {
            let first = [increment, self.ttl, SYSTEM_TTL];
            (first.into_iter().find(|ttl| !ttl.is_zero())?, Some(cap))
        } else {
            if self.period > cap {
                capped("period", self.period, cap);
            }
            let explicit = Some(self.explicit_max_ttl).filter(|max| !max.is_zero());
            (self.period.min(cap), explicit)
        };
        let left = match limit {
            Some(limit) => limit.checked_sub(age).filter(|left| !left.is_zero())?,
            None => wanted,
        };
        if wanted > left {
            capped("TTL", wanted, left);
        }
        Some((wanted.min(left), warnings))
    }
}

/// How Vault keeps a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Carried whole by its holder: neither stored, renewed nor revoked.
    Batch,
    /// Stored.
    Service,
}

impl TokenType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Service => "service",
        }
    }
}

/// Where a token comes from.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The path of the login, such as `auth/approle/login`.
    pub(crate) path: String,
    /// The mount and the role of the auth method; `None` for a token made by hand.
    pub(crate) role: Option<(String, String)>,
    pub(crate) display_name: String,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) entity: String,
}

/// A token.
#[derive(Clone)]
pub(crate) struct Token {
    accessor: String,
    params: TokenParams,
    pub(crate) origin: Origin,
    issued: Now,
    ttl: Duration,
    renewed: Option<Now>,
    /// On the monotonic clock.
    expires: Duration,
    uses_left: u64,
}

impl Token {
    fn is_alive(&self, now: Now) -> bool {
        now.monotonic < self.expires
    }

    fn left(&self, now: Now) -> Duration {
        self.expires.saturating_sub(now.monotonic)
    }

    pub(crate) fn policies(&self) -> Vec<String> {
        self.params.policy_names()
    }

    pub(crate) fn is_batch(&self) -> bool {
        self.params.kind == TokenType::Batch
    }

    fn meta(&self) -> Value {
        if self.origin.meta.is_empty() {
            Value::Null
        } else {
            json!(self.origin.meta)
        }
    }

    /// Returns the uses that are left as Vault shows them: -1 while it answers the last one.
    fn uses(&self) -> i64 {
        match i64::try_from(self.uses_left) {
            Ok(0) if self.params.num_uses > 0 => -1,
            uses => uses.unwrap_or(i64::MAX),
        }
    }

    /// Returns the `auth` block of a login or a renewal.
    fn auth(&self, id: &str, lease: Duration) -> Value {
        json!({
            "client_token": id,
            "accessor": self.accessor,
            "policies": self.policies(),
            "token_policies": self.policies(),
            "metadata": self.meta(),
            "lease_duration": lease.as_secs(),
            "renewable": self.params.renewable && !self.is_batch(),
            "entity_id": self.origin.entity,
            "token_type": self.params.kind.as_str(),
            "orphan": self.origin.role.is_some(),
            "mfa_requirement": null,
            "num_uses": self.params.num_uses,
        })
    }
}

/// The tokens that are alive.
#[derive(Clone, Default)]
pub(crate) struct Tokens(BTreeMap<Arc<str>, Arc<Token>>);

impl Tokens {
    /// Makes a token; returns it with the `auth` block that hands it out and what Vault would warn about.
    pub(crate) fn issue(
        &mut self,
        now: Now,
        dice: &mut Dice,
        params: &TokenParams,
        origin: Origin,
    ) -> (String, Value, Vec<String>) {
        let batch = params.kind == TokenType::Batch;
        let (id, accessor) = if batch {
            (format!("hvb.{}", dice.text(138)), String::new())
        } else {
            (format!("hvs.{}", dice.text(24)), dice.text(24))
        };
        let (ttl, warnings) = params
            .lifetime(Duration::ZERO, Duration::ZERO)
            .unwrap_or((SYSTEM_TTL, Vec::new()));
        let token = Token {
            accessor,
            params: params.clone(),
            origin,
            issued: now,
            ttl,
            renewed: None,
            expires: now.monotonic.saturating_add(ttl),
            uses_left: params.num_uses,
        };
        let auth = token.auth(&id, ttl);
        self.0.insert(id.as_str().into(), Arc::new(token));
        (id, auth, warnings)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Token> {
        self.0.get(id).map(Arc::as_ref)
    }

    /// Forgets the tokens whose time is up.
    pub(crate) fn expire(&mut self, now: Now) {
        self.0.retain(|_, token| token.is_alive(now));
    }

    pub(crate) fn revoke(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(crate) fn revoke_if(&mut self, condition: impl Fn(&Token) -> bool) {
        self.0.retain(|_, token| !condition(token));
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Arc::as_ref)
    }

    /// Takes one use off a token that has only so many; tells whether this was the last one.
    pub(crate) fn spend(&mut self, id: &str) -> bool {
        let Some(token) = self.0.get_mut(id).filter(|token| token.params.num_uses > 0) else {
            return false;
        };
        let token = Arc::make_mut(token);
        token.uses_left = token.uses_left.saturating_sub(1);
        token.uses_left == 0
    }

    pub(crate) fn lookup(&self, now: Now, id: &str) -> Result<Answer, Refusal> {
        let token = self.get(id).ok_or_else(Refusal::invalid_token)?;
        let left = token.left(now);
        let mut data = json!({
            "id": id,
            "accessor": token.accessor,
            "policies": token.policies(),
            "path": token.origin.path,
            "meta": token.meta(),
            "display_name": token.origin.display_name,
            "num_uses": token.uses(),
            "orphan": token.origin.role.is_some(),
            "creation_time": token.issued.unix.as_secs(),
            "creation_ttl": token.ttl.as_secs(),
            "expire_time": Now { unix: now.unix + left, ..now }.timestamp().to_string(),
            "issue_time": token.issued.timestamp().to_string(),
            "ttl": left.as_secs(),
            "explicit_max_ttl": token.params.explicit_max_ttl.as_secs(),
            "entity_id": token.origin.entity,
            "type": token.params.kind.as_str(),
            "renewable": token.params.renewable && !token.is_batch(),
        });
        if !token.params.period.is_zero() {
            data["period"] = json!(token.params.period.as_secs());
        }
        if let Some(renewed) = token.renewed {
            data["last_renewal"] = json!(renewed.timestamp().to_string());
            data["last_renewal_time"] = json!(renewed.unix.as_secs());
        }
        let Value::Object(data) = data else {
            return Err(Refusal::internal("no data"));
        };
        Ok(Answer::data("token", data))
    }

    pub(crate) fn renew(&mut self, now: Now, id: &str, fields: &Fields) -> Result<Answer, Refusal> {
        let increment = fields.duration("increment")?;
        let token = self.0.get_mut(id).ok_or_else(Refusal::invalid_token)?;
        if token.is_batch() {
            return Err(Refusal::bad_request("batch tokens cannot be renewed"));
        }
        if !token.params.renewable {
            return Err(Refusal::bad_request("lease is not renewable"));
        }
        let age = now.monotonic.saturating_sub(token.issued.monotonic);
        let (ttl, warnings) = token
            .params
            .lifetime(increment, age)
            .ok_or_else(|| Refusal::internal("past the max TTL, cannot renew"))?;
        let token = Arc::make_mut(token);
        token.expires = now.monotonic.saturating_add(ttl);
        token.renewed = Some(now);
        Ok(Answer::auth("token", token.auth(id, ttl), warnings))
    }
}

/// Returns what Vault says about a root token that was made by hand, as the development server's is.
pub(crate) fn root_lookup(id: &str) -> Map<String, Value> {
    let pairs = [
        ("id", json!(id)),
        ("accessor", json!(Dice::of(id).text(24))),
        ("policies", json!(["root"])),
        ("path", json!("auth/token/create")),
        ("meta", Value::Null),
        ("display_name", json!("token")),
        ("num_uses", json!(0)),
        ("orphan", json!(true)),
        ("creation_time", json!(0)),
        ("creation_ttl", json!(0)),
        ("expire_time", Value::Null),
        ("issue_time", json!(Now::default().timestamp().to_string())),
        ("renewable", json!(false)),
        ("ttl", json!(0)),
        ("explicit_max_ttl", json!(0)),
        ("entity_id", json!("")),
        ("type", json!("service")),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn lifetimes_follow_vaults_rule() {
        let plain = TokenParams::default().ttl(HOUR, 3 * HOUR);
        let periodic = TokenParams {
            period: HOUR,
            ..TokenParams::default()
        };
        let bounded = TokenParams {
            explicit_max_ttl: 2 * HOUR,
            ..periodic.clone()
        };
        let zero = Duration::ZERO;
        for (params, increment, age, expected, warned) in [
            (&plain, zero, zero, Some(HOUR), false),
            (&plain, 2 * HOUR, zero, Some(2 * HOUR), false),
            (&plain, zero, HOUR * 5 / 2, Some(HOUR / 2), true),
            (&plain, zero, 3 * HOUR, None, false),
            (&periodic, 5 * HOUR, 100 * HOUR, Some(HOUR), false),
            (&bounded, zero, HOUR * 3 / 2, Some(HOUR / 2), true),
            (&bounded, zero, 2 * HOUR, None, false),
            (&TokenParams::default(), zero, zero, Some(SYSTEM_TTL), false),
        ] {
            let lifetime = params.lifetime(increment, age);
            assert_eq!(
                lifetime.as_ref().map(|(ttl, _)| *ttl),
                expected,
                "{params:?} at {age:?}"
            );
            assert_eq!(
                lifetime.is_some_and(|(_, warnings)| !warnings.is_empty()),
                warned
            );
        }
    }
}
