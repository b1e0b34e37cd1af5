//! What a role says about its tokens, and Vault's rule of how long they live.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fields::human_duration;

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
        Self { ttl, max_ttl, ..self }
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
    pub(super) fn policy_names(&self) -> Vec<String> {
        let default = (!self.no_default_policy).then(|| "default".to_owned());
        let mut names: Vec<_> = default.into_iter().chain(self.policies.iter().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns how long a token lives from now on, `age` after its birth, with what Vault would warn about; `None`
    /// if its life is over. This is the rule of login and renewal alike.
    pub(super) fn lifetime(&self, increment: Duration, age: Duration) -> Option<(Duration, Vec<String>)> {
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
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Service => "service",
        }
    }
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
            assert_eq!(lifetime.is_some_and(|(_, warnings)| !warnings.is_empty()), warned);
        }
    }
}
