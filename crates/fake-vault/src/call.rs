//! A parsed request.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Method, Request, StatusCode};
use issuer_core::{Body, Operation};

use crate::answer::Refusal;
use crate::duration;
use crate::fields::Fields;
use crate::policy::Capability;

/// The DER certificate that the client of a connection presented: an extension of [`http::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// A parsed request.
#[derive(Debug)]
pub(crate) struct Call {
    /// The path below `/v1/`, percent-decoded.
    pub(crate) path: String,
    pub(crate) action: Action,
    pub(crate) token: Option<String>,
    /// The namespace header without slashes around it; `None` for the root namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) fields: Fields,
    /// The DER certificate that the client presented.
    pub(crate) peer: Option<Vec<u8>>,
    pub(crate) query: String,
    /// The lifetime of the token that is to stand for the answer.
    pub(crate) wrap_ttl: Option<Duration>,
}

/// The operation on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Delete,
    Head,
    List,
    Read,
    Update,
}

impl Action {
    /// Returns the capability that a policy must grant for it.
    pub(crate) fn capability(self) -> Capability {
        match self {
            Self::Delete => Capability::Delete,
            Self::Head | Self::Read => Capability::Read,
            Self::List => Capability::List,
            Self::Update => Capability::Update,
        }
    }
}

impl Call {
    pub(crate) fn parse(request: &Request<Body>) -> Result<Self, Refusal> {
        let mut path = decoded(request.uri().path().strip_prefix("/v1/").unwrap_or_default());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let action = match *request.method() {
            Method::GET if query.split('&').any(|pair| pair == "list=true") => Action::List,
            Method::GET => Action::Read,
            Method::POST | Method::PUT => Action::Update,
            Method::DELETE => Action::Delete,
            Method::HEAD => Action::Head,
            ref other if other.as_str() == "LIST" => Action::List,
            _ => return Err(Refusal::bare(StatusCode::METHOD_NOT_ALLOWED)),
        };
        if action == Action::List && !path.ends_with('/') {
            path.push('/');
        }
        let fields = match action {
            Action::Update => Fields::parse(request.body().as_bytes())?,
            _ => Fields::default(),
        };
        Ok(Self {
            path,
            action,
            token: token(request.headers()),
            namespace: namespace(request.headers()),
            fields,
            peer: request.extensions().get::<PeerCertificate>().map(|peer| peer.0.clone()),
            query,
            wrap_ttl: wrap_ttl(request.headers())?,
        })
    }

    /// Returns the operation of an issuer that sends such a request.
    pub(crate) fn operation(&self) -> Option<Operation> {
        match self.path.as_str() {
            "sys/health" => Some(Operation::Health),
            "auth/token/lookup-self" => Some(Operation::Lookup),
            "auth/token/renew-self" => Some(Operation::Renew),
            "auth/token/revoke-self" => Some(Operation::Revoke),
            path if path.starts_with("auth/") && path.ends_with("/login") => Some(Operation::Login),
            path if path.ends_with("/sign")
                || ["/sign/", "/sign-verbatim", "/sign-intermediate", "/issue/"]
                    .iter()
                    .any(|part| path.contains(part)) =>
            {
                let probe = self.fields.text("csr").is_empty() && !path.contains("/issue/");
                Some(if probe { Operation::Probe } else { Operation::Sign })
            }
            _ => None,
        }
    }
}

/// Returns the token in a request's headers.
fn token(headers: &HeaderMap) -> Option<String> {
    let own = headers.get(HeaderName::from_static("x-vault-token"));
    let bearer = || headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
    let token = own.and_then(|value| value.to_str().ok()).or_else(bearer)?;
    (!token.is_empty()).then(|| token.to_owned())
}

fn namespace(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get(HeaderName::from_static("x-vault-namespace"))?
        .to_str()
        .ok()?;
    let name = value.trim_matches('/');
    (!name.is_empty()).then(|| name.to_owned())
}

fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(HeaderName::from_static("x-vault-wrap-ttl")) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    match duration::parse(text) {
        Some(ttl) => Ok(Some(ttl).filter(|ttl| !ttl.is_zero())),
        None => {
            let cause = format!("time: invalid duration {text:?}");
            let error = format!("error parsing X-Vault-Wrap-TTL header: {cause}");
            Err(Refusal::bad_request(error))
        }
    }
}

/// Decodes percent encoding. Bytes that are not UTF-8 become the replacement character.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| first == b'%');
        let code = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_paths_once() {
        assert_eq!(decoded("pki/sign/a%20b%2fc"), "pki/sign/a b/c");
        assert_eq!(decoded("100%/%zz/%e4"), "100%/%zz/\u{fffd}");
        assert_eq!(decoded("%2541"), "%41");
    }
}
