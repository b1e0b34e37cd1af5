//! The token store.

mod params;
mod wrapping;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use issuer_core::Now;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal, with};
use crate::dice::Dice;
use crate::duration::SYSTEM_TTL;
use crate::fields::Fields;

pub use params::{TokenParams, TokenType};
pub(crate) use wrapping::POLICY as WRAPPING_POLICY;
use wrapping::Wrapped;

/// The origin of a token.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The path of the login, such as `auth/approle/login`.
    pub(crate) path: String,
    /// The mount and the role of the auth method; `None` for a token of `auth/token/create`.
    pub(crate) role: Option<(String, String)>,
    pub(crate) display_name: String,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) entity: String,
}

/// A certificate with a lease, which ends with the token that requested it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leased {
    /// The PKI mount.
    pub(crate) mount: Arc<str>,
    pub(crate) serial: Arc<str>,
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
    /// The end, on the monotonic clock.
    expires: Duration,
    uses_left: u64,
    leases: Vec<Leased>,
    /// The answer that it stands for.
    wraps: Option<Arc<Wrapped>>,
}

impl Token {
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

    /// Returns the remaining uses of a token with limited uses.
    pub(crate) fn uses_left(&self) -> Option<u64> {
        (self.params.num_uses > 0).then_some(self.uses_left)
    }

    /// Returns the remaining uses as Vault reports them: -1 during the last one.
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

/// The valid tokens, and the certificates that were revoked with former ones.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    alive: BTreeMap<Arc<str>, Arc<Token>>,
    revoked: BTreeSet<Leased>,
    /// A lower bound of all ends, on the monotonic clock, so that most requests need not look for expired tokens.
    earliest_end: Duration,
}

impl Tokens {
    /// Creates a token. Returns it with its `auth` block and Vault's warnings.
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
            leases: Vec::new(),
            wraps: None,
        };
        let auth = token.auth(&id, ttl);
        self.earliest_end = self.earliest_end.min(token.expires);
        self.alive.insert(id.as_str().into(), Arc::new(token));
        (id, auth, warnings)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Token> {
        self.alive.get(id).map(Arc::as_ref)
    }

    /// Removes the tokens that have expired.
    pub(crate) fn expire(&mut self, now: Now) {
        if now.monotonic < self.earliest_end {
            return;
        }
        self.end_if(|token| now.monotonic >= token.expires);
        let ends = self.alive.values().map(|token| token.expires);
        self.earliest_end = ends.min().unwrap_or(Duration::MAX);
    }

    pub(crate) fn revoke(&mut self, id: &str) -> bool {
        let ended = self.alive.remove(id);
        let leases = ended.iter().flat_map(|token| &token.leases);
        self.revoked.extend(leases.cloned());
        ended.is_some()
    }

    /// Revokes the tokens that meet a condition, and the certificates with their leases.
    pub(crate) fn end_if(&mut self, condition: impl Fn(&Token) -> bool) {
        let revoked = &mut self.revoked;
        self.alive.retain(|_, token| {
            let ends = condition(token);
            if ends {
                revoked.extend(token.leases.iter().cloned());
            }
            !ends
        });
    }

    /// Attaches the lease of a certificate to a token. Returns the maximum duration of the lease: a batch token's
    /// remaining lifetime. The root token never ends, so its leases need not be kept.
    pub(crate) fn lease(&mut self, now: Now, id: &str, certificate: Leased) -> Option<Duration> {
        let token = Arc::make_mut(self.alive.get_mut(id)?);
        token.leases.push(certificate);
        token.is_batch().then(|| token.left(now))
    }

    /// Returns the certificates that were revoked with their tokens.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = &Leased> {
        self.revoked.iter()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.alive.keys().map(Arc::as_ref)
    }

    /// Counts one use of a token with limited uses; returns `true` if it was the last one.
    pub(crate) fn spend(&mut self, id: &str) -> bool {
        let Some(token) = self.alive.get_mut(id).filter(|token| token.params.num_uses > 0) else {
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
            data = with(data, [("period", json!(token.params.period.as_secs()))]);
        }
        if let Some(renewed) = token.renewed {
            let (date, seconds) = (renewed.timestamp().to_string(), renewed.unix.as_secs());
            let renewals = [("last_renewal", json!(date)), ("last_renewal_time", json!(seconds))];
            data = with(data, renewals);
        }
        let Value::Object(data) = data else {
            return Err(Refusal::internal("no data"));
        };
        Ok(Answer::data("token", data))
    }

    pub(crate) fn renew(&mut self, now: Now, id: &str, fields: &Fields) -> Result<Answer, Refusal> {
        let increment = fields.duration("increment")?;
        let token = self.alive.get_mut(id).ok_or_else(Refusal::invalid_token)?;
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
        self.earliest_end = self.earliest_end.min(token.expires);
        Ok(Answer::auth("token", token.auth(id, ttl), warnings))
    }
}

/// Returns the data of a lookup of the root token.
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
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
