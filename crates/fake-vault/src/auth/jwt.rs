//! Logins with a JWT: the methods `jwt` and `kubernetes`.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use issuer_core::Now;
use serde_json::{Map, Value};

use super::admitted::Admitted;
use crate::answer::Refusal;
use crate::call::Call;
use crate::dice::Dice;
use crate::glob::glob;
use crate::token::TokenParams;

/// A role of the JWT and Kubernetes methods.
#[derive(Clone)]
pub struct JwtRole {
    /// The JWTs that may log in.
    pub accepts: Accepts,
    /// The tokens that logins get.
    pub token: TokenParams,
}

/// The JWTs that may log in.
#[derive(Clone)]
pub enum Accepts {
    /// Those with these claims. Signatures are not checked.
    Claims {
        /// The audience that the JWT must have.
        audience: Option<String>,
        /// Globs of which one must match the subject, such as `system:serviceaccount:team-a:*`.
        subjects: Vec<String>,
    },
    /// Only these.
    Known(BTreeSet<String>),
}

/// The reason for which a JWT is refused.
enum JwtError {
    Malformed,
    Expired,
    Audience,
    Subject,
    Unknown,
}

const AUDIENCE: &str = "invalid audience (aud) claim: audience claim does not match any expected audience";
const EXPIRED: &str = "invalid expiration time (exp) claim: token is expired";

pub(super) fn login_jwt(roles: &BTreeMap<String, JwtRole>, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    let (name, token) = (call.fields.text("role"), call.fields.text("jwt"));
    if name.is_empty() {
        return Err(Refusal::bad_request("missing role"));
    }
    let unknown = || Refusal::bad_request(format!("role {name:?} could not be found"));
    let role = roles.get(&name).ok_or_else(unknown)?;
    if token.is_empty() {
        return Err(Refusal::bad_request("missing token"));
    }
    let subject = role.accepts.check(now, &token).map_err(|error| {
        let cause = match error {
            JwtError::Malformed => {
                "error verifying token signature: go-jose/go-jose: compact JWS format must have three parts"
            }
            JwtError::Expired => EXPIRED,
            JwtError::Audience => AUDIENCE,
            JwtError::Subject => "invalid subject (sub) claim",
            JwtError::Unknown => "error verifying token signature: no known key",
        };
        Refusal::bad_request(format!("error validating token: {cause}"))
    })?;
    let meta = BTreeMap::from([("role".to_owned(), name.clone())]);
    Ok(Admitted {
        role: name,
        params: role.token.clone(),
        display_name: subject,
        meta,
    })
}

pub(super) fn login_kubernetes(roles: &BTreeMap<String, JwtRole>, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    let (name, token) = (call.fields.text("role"), call.fields.text("jwt"));
    if name.is_empty() {
        return Err(Refusal::bad_request("missing role"));
    }
    if token.is_empty() {
        return Err(Refusal::bad_request("missing jwt"));
    }
    let unknown = || Refusal::bad_request(format!("invalid role name {name:?}"));
    let role = roles.get(&name).ok_or_else(unknown)?;
    let forbidden = |error: &str| Refusal::new(StatusCode::FORBIDDEN, error);
    let subject = role.accepts.check(now, &token).map_err(|error| match error {
        JwtError::Audience => forbidden(AUDIENCE),
        JwtError::Expired => forbidden(EXPIRED),
        JwtError::Subject => forbidden("service account name not authorized"),
        JwtError::Malformed | JwtError::Unknown => forbidden("permission denied"),
    })?;
    let account = subject.strip_prefix("system:serviceaccount:").unwrap_or(&subject);
    let (namespace, account) = account.split_once(':').unwrap_or_default();
    let meta = [
        ("role", name.clone()),
        ("service_account_name", account.to_owned()),
        ("service_account_namespace", namespace.to_owned()),
        ("service_account_secret_name", String::new()),
        ("service_account_uid", Dice::of(&subject).uuid()),
    ];
    Ok(Admitted {
        role: name,
        params: role.token.clone(),
        display_name: format!("{namespace}-{account}"),
        meta: meta.map(|(key, value)| (key.to_owned(), value)).into(),
    })
}

impl Accepts {
    /// Returns the subject of an accepted JWT.
    fn check(&self, now: Now, jwt: &str) -> Result<String, JwtError> {
        let (audience, subjects) = match self {
            Self::Known(tokens) if tokens.contains(jwt) => {
                let subject = claims(jwt).and_then(|claims| claims.get("sub")?.as_str().map(str::to_owned));
                return Ok(subject.unwrap_or_else(|| "known".to_owned()));
            }
            Self::Known(_) => return Err(JwtError::Unknown),
            Self::Claims { audience, subjects } => (audience, subjects),
        };
        let claims = claims(jwt).ok_or(JwtError::Malformed)?;
        let expiry = claims.get("exp").and_then(Value::as_u64);
        if expiry.is_none_or(|expiry| expiry <= now.unix.as_secs()) {
            return Err(JwtError::Expired);
        }
        let given = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            other => Vec::from_iter(other.and_then(Value::as_str)),
        };
        if audience.as_deref().is_some_and(|audience| !given.contains(&audience)) {
            return Err(JwtError::Audience);
        }
        let subject = claims.get("sub").and_then(Value::as_str).ok_or(JwtError::Subject)?;
        if !subjects.iter().any(|allowed| glob(allowed, subject)) {
            return Err(JwtError::Subject);
        }
        Ok(subject.to_owned())
    }
}

/// Parses the claims of a JWT in compact form.
fn claims(jwt: &str) -> Option<Map<String, Value>> {
    let mut parts = jwt.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}
