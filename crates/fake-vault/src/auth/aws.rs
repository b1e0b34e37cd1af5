//! Logins with an AWS identity: the `iam` login of the method `aws`, with AWS's STS, which Vault asks, in place.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::StatusCode;
use issuer_core::Now;
use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::admitted::Admitted;
use crate::answer::Refusal;
use crate::call::{Action, Call};
use crate::token::TokenParams;

/// The AWS method: the identities that AWS knows, and Vault's roles.
#[derive(Clone, Default)]
pub struct AwsMethod {
    /// The identities by access key ID.
    pub identities: BTreeMap<String, IamPrincipal>,
    /// The header value that a login must be signed with (`iam_server_id_header_value`), if any.
    pub server_id: Option<String>,
    /// The roles by name.
    pub roles: BTreeMap<String, AwsRole>,
}

/// An AWS identity.
#[derive(Clone)]
pub struct IamPrincipal {
    /// The ARN.
    pub arn: String,
    /// The secret access key.
    pub secret: String,
    /// The session token, if the keys are temporary.
    pub session_token: Option<String>,
}

/// A role of the AWS method.
#[derive(Clone)]
pub struct AwsRole {
    /// The identities that may log in (`bound_iam_principal_arn`).
    pub principals: Vec<String>,
    /// The tokens that logins get.
    pub token: TokenParams,
}

impl AwsMethod {
    /// Returns the identity whose keys have signed a request to STS, as AWS finds it. The names of headers are in lower
    /// case.
    pub fn caller(&self, now: Now, headers: BTreeMap<String, String>, body: Vec<u8>) -> Option<&IamPrincipal> {
        SignedRequest { headers, body }.verify(self, now)
    }
}

/// How much older than now, or later, a signed request may be, in seconds.
const SKEW: u64 = 15 * 60;

const SERVER_ID: &str = "x-vault-aws-iam-server-id";

pub(super) fn login(method: &AwsMethod, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    if call.action != Action::Update {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation"));
    }
    let request = SignedRequest::parse(call)?;
    if let Some(expected) = &method.server_id {
        request.has_server_id(expected)?;
    }
    let identity = request.verify(method, now).ok_or_else(|| {
        Refusal::bad_request("error making upstream request: received error code 403 from STS: SignatureDoesNotMatch")
    })?;
    let friendly_name = identity.arn.rsplit('/').next().unwrap_or_default().to_owned();
    // Without a name it is that of the identity.
    let name = Some(call.fields.text("role")).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| friendly_name.clone());
    let unknown = || Refusal::bad_request(format!("entry for role {name} not found"));
    let role = method.roles.get(&name).ok_or_else(unknown)?;
    if !role.principals.contains(&identity.arn) {
        let cause = format!("IAM Principal {:?} does not belong to the role {name:?}", identity.arn);
        return Err(Refusal::bad_request(cause));
    }
    let account = identity.arn.split(':').nth(4).unwrap_or_default();
    Ok(Admitted {
        params: role.token.clone(),
        display_name: friendly_name,
        meta: BTreeMap::from([
            ("account_id".to_owned(), account.to_owned()),
            ("auth_type".to_owned(), "iam".to_owned()),
            ("role_id".to_owned(), format!("id-of-{name}")),
        ]),
        role: name,
    })
}

/// The request to STS that a login carries.
struct SignedRequest {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl SignedRequest {
    fn parse(call: &Call) -> Result<Self, Refusal> {
        let method = call.fields.text("iam_http_request_method");
        let parts = ["iam_request_url", "iam_request_body", "iam_request_headers"].map(|field| call.fields.text(field));
        if method.is_empty() || parts.iter().any(String::is_empty) {
            return Err(Refusal::bad_request("didn't supply required authentication values"));
        }
        if method != "POST" {
            return Err(Refusal::bad_request(
                "invalid iam_http_request_method; currently only 'GET' and 'POST' are supported",
            ));
        }
        let [url, body, headers] = parts.map(|part| STANDARD.decode(part).unwrap_or_default());
        if url.is_empty() || url.contains(&b'?') {
            return Err(Refusal::bad_request("invalid request"));
        }
        if !body.starts_with(b"Action=GetCallerIdentity&Version=") {
            return Err(Refusal::bad_request("iam request body is invalid"));
        }
        let headers: Option<Map<String, Value>> = serde_json::from_slice(&headers).ok();
        let headers = headers.ok_or_else(|| {
            Refusal::bad_request("Field validation failed: error converting input for field \"iam_request_headers\"")
        })?;
        if headers.is_empty() {
            return Err(Refusal::bad_request("missing iam_request_headers"));
        }
        let headers = headers.into_iter().map(|(name, value)| {
            let value = match &value {
                Value::Array(values) => values.first().and_then(Value::as_str),
                other => other.as_str(),
            };
            (name.to_ascii_lowercase(), value.unwrap_or_default().to_owned())
        });
        Ok(Self {
            headers: headers.collect(),
            body,
        })
    }

    /// Returns an error unless the request is for the Vault server of this name.
    fn has_server_id(&self, expected: &str) -> Result<(), Refusal> {
        let given = self.headers.get(SERVER_ID).map(String::as_str).unwrap_or_default();
        let signed = self
            .signed_headers()
            .is_some_and(|mut names| names.any(|name| name == SERVER_ID));
        let cause = if given != expected {
            format!("expected {expected:?} but got {given:?}")
        } else if !signed {
            "vault header wasn't signed".to_owned()
        } else {
            return Ok(());
        };
        Err(Refusal::bad_request(format!(
            "error validating X-Vault-AWS-IAM-Server-ID header: {cause}"
        )))
    }

    /// Returns a part of the header `Authorization`, such as `Signature`.
    fn authorization(&self, part: &str) -> Option<&str> {
        let header = self.headers.get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let mut parts = header.split(", ");
        parts.find_map(|given| given.strip_prefix(part)?.strip_prefix('='))
    }

    fn signed_headers(&self) -> Option<impl Iterator<Item = &str>> {
        self.authorization("SignedHeaders").map(|names| names.split(';'))
    }

    /// Returns the identity whose keys have signed the request lately.
    fn verify<'m>(&self, method: &'m AwsMethod, now: Now) -> Option<&'m IamPrincipal> {
        let date = self.headers.get("x-amz-date")?;
        let signed = Timestamp::strptime("%Y%m%dT%H%M%S%z", date.replace('Z', "+0000")).ok()?;
        let age = i64::try_from(now.unix.as_secs()).ok()?.abs_diff(signed.as_second());
        let (id, scope) = self.authorization("Credential")?.split_once('/')?;
        let identity = method.identities.get(id)?;
        let token = self.headers.get("x-amz-security-token");
        if age > SKEW || token != identity.session_token.as_ref() {
            return None;
        }
        let mut canonical = "POST\n/\n\n".to_owned();
        for name in self.signed_headers()? {
            let value = self.headers.get(name)?.trim();
            canonical += &format!("{name}:{value}\n");
        }
        let names = self.authorization("SignedHeaders")?;
        canonical += &format!("\n{names}\n{}", hex(&Sha256::digest(&self.body)));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let secret = format!("AWS4{}", identity.secret).into_bytes();
        let key = scope.split('/').fold(secret, |key, part| hmac(&key, part));
        let required = ["host", "x-amz-date"];
        let covers = required
            .iter()
            .all(|name| names.split(';').any(|signed| signed == *name));
        (covers && self.authorization("Signature")? == hex(&hmac(&key, &to_sign))).then_some(identity)
    }
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    mac.map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
