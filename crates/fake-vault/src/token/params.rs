//! The token parameters of a role, and Vault's rule for the lifetime of tokens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::duration::{SYSTEM_TTL, human};

/// The parameters of the tokens that a role's logins get. A zero duration or number means unset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenParams {
    /// The lifetime after the login and after each renewal; 32 days if unset.
    pub ttl: Duration,
    /// The maximum lifetime with renewals; 32 days if unset.
    pub max_ttl: Duration,
    /// Like `max_ttl`, but also for periodic tokens.
    pub explicit_max_ttl: Duration,
    /// The lifetime after each renewal, without a maximum.
    pub period: Duration,
    /// The number of requests that the token may be used for.
    pub num_uses: u64,
    /// The policies besides `default`.
    pub policies: Vec<String>,
    /// Whether the `default` policy is left out.
    pub no_default_policy: bool,
    /// Whether the token can be renewed. The tokens of logins always can.
    pub renewable: bool,
    /// The type.
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
    /// Returns default parameters with these policies.
    pub fn policies<const N: usize>(policies: [&str; N]) -> Self {
        Self {
            policies: policies.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// Sets the TTL and its maximum.
    #[must_use]
    pub fn ttl(self, ttl: Duration, max_ttl: Duration) -> Self {
        Self { ttl, max_ttl, ..self }
    }

    /// Returns the parameters as the API of an auth method's role expects them.
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

    /// Returns the names of the policies, sorted as in Vault's replies.
    pub(super) fn policy_names(&self) -> Vec<String> {
        let default = (!self.no_default_policy).then(|| "default".to_owned());
        let mut names: Vec<_> = default.into_iter().chain(self.policies.iter().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns the remaining lifetime of a token of this age, with Vault's warnings; `None` if it has expired. Logins
    /// and renewals have the same rule.
    pub(super) fn lifetime(&self, increment: Duration, age: Duration) -> Option<(Duration, Vec<String>)> {
        let cap = [self.max_ttl, self.explicit_max_ttl]
            .into_iter()
            .filter(|limit| !limit.is_zero())
            .fold(SYSTEM_TTL, Duration::min);
        let mut warnings = Vec::new();
        let mut capped = |what: &str, value: Duration, limit: Duration| {
            warnings.push(format!(
                "{what} of {:?} exceeded the effective max_ttl of {:?}; {what} value is capped accordingly",
                human(value),
                human(limit),
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

/// The type of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Not stored: it can be neither renewed nor revoked.
    Batch,
    /// Stored, renewable and revocable.
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
    fn lifetime_is_capped_and_warned() {
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
