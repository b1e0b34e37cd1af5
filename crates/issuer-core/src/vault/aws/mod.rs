//! AWS identities: the signed request by which AWS tells Vault who logs in, and the keys of an IAM role that a service
//! account assumes.
//!
//! Vault sends the signed request to AWS itself:
//! <https://developer.hashicorp.com/vault/api-docs/auth/aws#login>. The format of signatures is
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::json;
use crate::target::{AllowedServers, Sts};
use crate::{Body, Connect, Limits, Now, Operation, Reply, Request, Roots, Secret, TransportError};

/// The body of the request that Vault sends to AWS.
const IDENTITY_REQUEST: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// The type of the bodies that AWS takes.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The name of the session of an assumed role, which AWS shows in its logs.
const SESSION_NAME: &str = "vault-issuer";

/// The access keys of an AWS identity.
#[derive(Clone, PartialEq, Hash)]
pub struct AwsKeys {
    /// The access key ID.
    pub id: Secret,
    /// The secret access key.
    pub secret: Secret,
    /// The session token of temporary keys.
    pub session_token: Option<Secret>,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKeys")
    }
}

/// Why AWS gave no keys for a service account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StsError {
    /// AWS refuses the service account.
    #[error("AWS does not let the service account assume spec.auth.aws.iamRoleArn ({code})")]
    Denied {
        /// The code of the error, such as `AccessDenied`.
        code: String,
    },
    /// The answer holds no keys.
    #[error("the answer of AWS holds no keys")]
    Misbehaved,
    /// No reply.
    #[error("AWS cannot be asked for keys: {0}")]
    Transport(TransportError),
    /// AWS is out of service, or limits the rate of requests.
    #[error("AWS is unavailable ({status})")]
    Unavailable {
        /// The status.
        status: u16,
    },
}

impl StsError {
    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "AwsDenied",
            Self::Misbehaved | Self::Transport(_) | Self::Unavailable { .. } => "AwsUnavailable",
        }
    }

    /// Returns `true` if the same request may succeed later although nobody has changed the configuration.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }
}

/// A signed request, which Vault sends to AWS to learn the identity of the keys' owner.
pub(crate) struct SignedRequest {
    url: String,
    /// With the session token.
    headers: Zeroizing<String>,
    body: String,
}

impl SignedRequest {
    /// Signs the request.
    pub(crate) fn new(sts: &Sts, keys: &AwsKeys, now: Now) -> Self {
        let date = date(now);
        let mut headers = vec![
            ("content-type", FORM),
            ("host", sts.origin.host()),
            ("x-amz-date", date.as_str()),
        ];
        if let Some(token) = &keys.session_token {
            headers.push(("x-amz-security-token", text(token)));
        }
        if let Some(server_id) = &sts.server_id {
            headers.push(("x-vault-aws-iam-server-id", server_id.as_str()));
        }
        let scope = Scope {
            date: &date,
            region: &sts.region,
            service: "sts",
        };
        let authorization = scope.sign(keys, &headers, IDENTITY_REQUEST);
        headers.push(("authorization", authorization.as_str()));
        let headers: BTreeMap<&str, [&str; 1]> = headers.into_iter().map(|(name, value)| (name, [value])).collect();
        Self {
            url: STANDARD.encode(format!("{}/", sts.origin)),
            headers: Zeroizing::new(STANDARD.encode(json(&headers).as_bytes())),
            body: STANDARD.encode(IDENTITY_REQUEST),
        }
    }

    /// Returns the fields of a login as this role.
    pub(crate) fn fields<'a>(&'a self, role: &'a str) -> BTreeMap<&'a str, &'a str> {
        BTreeMap::from([
            ("role", role),
            ("iam_http_request_method", "POST"),
            ("iam_request_url", self.url.as_str()),
            ("iam_request_headers", self.headers.as_str()),
            ("iam_request_body", self.body.as_str()),
        ])
    }
}

/// Returns the request for the keys of an IAM role that a service account with this token assumes.
pub(crate) fn assume_role(sts: &Sts, arn: &str, token: &Secret) -> Request {
    // The host is not the issuer's choice, so the operator's list of Vault servers does not apply.
    let connect = Connect {
        origin: sts.origin.clone(),
        allowed_servers: AllowedServers::default(),
        server_name: None,
        roots: Roots::System,
        identity: None,
        limits: Limits::default(),
    };
    let mut http = http::Request::new(form(&[
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleSessionName", SESSION_NAME),
        ("RoleArn", arn),
        ("WebIdentityToken", text(token)),
    ]));
    *http.method_mut() = Method::POST;
    // An origin with a path is a URL.
    if let Ok(uri) = format!("{}/", sts.origin).parse() {
        *http.uri_mut() = uri;
    }
    http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    Request {
        timeout: connect.limits.exchange,
        connect: Arc::new(connect),
        operation: Operation::Login,
        http,
    }
}

/// Reads the answer to [`assume_role`].
pub(crate) fn read_keys(reply: Reply) -> Result<AwsKeys, StsError> {
    let reply = reply.map_err(StsError::Transport)?;
    let xml = std::str::from_utf8(reply.body().as_bytes()).unwrap_or_default();
    if reply.status() == StatusCode::OK {
        return keys(xml).ok_or(StsError::Misbehaved);
    }
    let status = reply.status().as_u16();
    let letters = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match element(xml, "Code").filter(letters) {
        // AWS answers 400 where it limits the rate, or cannot reach the cluster's OpenID provider.
        Some("IDPCommunicationError" | "RequestLimitExceeded" | "Throttling" | "ThrottlingException") => {
            Err(StsError::Unavailable { status })
        }
        code if reply.status().is_client_error() && status != 429 => Err(StsError::Denied {
            code: code.map_or_else(|| status.to_string(), str::to_owned),
        }),
        _ => Err(StsError::Unavailable { status }),
    }
}

fn keys(xml: &str) -> Option<AwsKeys> {
    let value = |name| {
        let value = element(xml, name).filter(|value| !value.is_empty())?;
        HeaderValue::from_str(value).ok().map(|_| Secret::from(value))
    };
    Some(AwsKeys {
        id: value("AccessKeyId")?,
        secret: value("SecretAccessKey")?,
        session_token: Some(value("SessionToken")?),
    })
}

/// Returns the text of the first element of this name. The texts that are read need no escapes.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text.trim())
}

/// Returns a credential, which was checked to be text when it was read.
fn text(credential: &Secret) -> &str {
    credential.expose_str().unwrap_or_default()
}

/// Encodes a form into a buffer that never grows, since growing would leave unwiped copies of credentials behind.
fn form(fields: &[(&str, &str)]) -> Body {
    let length = fields
        .iter()
        .map(|(name, value)| name.len() + 2 + 3 * value.len())
        .sum();
    let mut bytes = Vec::with_capacity(length);
    for (name, value) in fields {
        if !bytes.is_empty() {
            bytes.push(b'&');
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                bytes.push(byte);
            } else {
                bytes.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
    }
    bytes.into()
}

fn date(now: Now) -> String {
    let seconds = i64::try_from(now.unix.as_secs()).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    timestamp.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The scope of a signature.
struct Scope<'a> {
    /// The time, such as `20261128T120000Z`.
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl Scope<'_> {
    /// Signs a POST request for the root path (Signature Version 4). Returns the header `Authorization`. The names of
    /// `headers` are in lower case and in order.
    fn sign(&self, keys: &AwsKeys, headers: &[(&str, &str)], body: &str) -> String {
        let Self { date, region, service } = *self;
        let day = date.split('T').next().unwrap_or_default();
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = canonical_request(headers, &names, body);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
        let first = Zeroizing::new([b"AWS4".as_slice(), text(&keys.secret).as_bytes()].concat());
        let mut key = hmac(&first, day);
        for part in [region, service, "aws4_request"] {
            key = hmac(&*key, part);
        }
        let signature = hex(&*hmac(&*key, &to_sign));
        let id = text(&keys.id);
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

/// Returns the hash of a POST request for the root path in canonical form. It is not put together in memory, where it
/// would leave copies of the session token.
fn canonical_request(headers: &[(&str, &str)], names: &str, body: &str) -> String {
    let mut hash = Sha256::new_with_prefix("POST\n/\n\n");
    for (name, value) in headers {
        hash.update(name);
        let mut before = ":";
        for word in value.split_ascii_whitespace() {
            hash.update(before);
            hash.update(word);
            before = " ";
        }
        hash.update("\n");
    }
    hash.update("\n");
    hash.update(names);
    hash.update("\n");
    hash.update(hex(&Sha256::digest(body)));
    hex(&hash.finalize())
}

fn hmac(key: &[u8], message: &str) -> Zeroizing<[u8; 32]> {
    // HMAC takes keys of every length, so there is no error.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(message).finalize().into_bytes().into());
    Zeroizing::new(mac.unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const XML: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleWithWebIdentityResult><Audience>sts.amazonaws.com</Audience><Credentials>\
        <SessionToken>AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE==</SessionToken>\
        <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>\
        <Expiration>2014-10-24T23:00:23Z</Expiration><AccessKeyId>ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>\
        </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

    fn example_keys(session_token: Option<&str>) -> AwsKeys {
        AwsKeys {
            id: Secret::from("AKIDEXAMPLE"),
            secret: Secret::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::from),
        }
    }

    /// Cases of AWS's test suite for Signature Version 4.
    #[test]
    fn signatures_are_those_of_aws() {
        let scope = Scope {
            date: "20150830T123600Z",
            region: "us-east-1",
            service: "service",
        };
        let (host, date) = (("host", "example.amazonaws.com"), ("x-amz-date", scope.date));
        for (headers, body, signature) in [
            (
                vec![host, date],
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                vec![host, ("my-header1", "value1"), date],
                "",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                vec![
                    ("content-length", "13"),
                    ("content-type", "application/x-www-form-urlencoded"),
                    host,
                    (
                        "x-amz-content-sha256",
                        "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
                    ),
                    date,
                ],
                "Param1=value1",
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
        ] {
            let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders={}, Signature={signature}",
                names.join(";")
            );
            assert_eq!(scope.sign(&example_keys(None), &headers, body), expected);
        }
    }

    #[test]
    fn login_carries_a_signed_request() {
        let sts = Sts::new("eu-central-1", Some("vault.example.com")).unwrap();
        let now = Now {
            monotonic: Duration::ZERO,
            unix: Duration::from_secs(1_440_938_160),
        };
        let signed = SignedRequest::new(&sts, &example_keys(Some("session")), now);
        let fields = signed.fields("web");
        assert_eq!((fields["role"], fields["iam_http_request_method"]), ("web", "POST"));
        let decoded = |field: &str| String::from_utf8(STANDARD.decode(fields[field]).unwrap()).unwrap();
        assert_eq!(decoded("iam_request_url"), "https://sts.eu-central-1.amazonaws.com/");
        assert_eq!(decoded("iam_request_body"), IDENTITY_REQUEST);
        let headers: serde_json::Value = serde_json::from_str(&decoded("iam_request_headers")).unwrap();
        for (name, value) in [
            ("host", "sts.eu-central-1.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            ("x-amz-security-token", "session"),
            ("x-vault-aws-iam-server-id", "vault.example.com"),
        ] {
            assert_eq!(headers[name], serde_json::json!([value]));
        }
        let authorization = headers["authorization"][0].as_str().unwrap();
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-vault-aws-iam-server-id";
        assert!(
            authorization.contains(&format!("SignedHeaders={names},")),
            "{authorization}"
        );
    }

    #[test]
    fn role_is_assumed_with_a_form() {
        let sts = Sts::new("cn-north-1", None).unwrap();
        let request = assume_role(
            &sts,
            "arn:aws-cn:iam::123456789012:role/a/b",
            &Secret::from("a.b_c-d\n"),
        );
        assert_eq!(request.http.uri(), "https://sts.cn-north-1.amazonaws.com.cn/");
        let body = std::str::from_utf8(request.http.body().as_bytes()).unwrap();
        let expected = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=vault-issuer\
            &RoleArn=arn%3Aaws-cn%3Aiam%3A%3A123456789012%3Arole%2Fa%2Fb&WebIdentityToken=a.b_c-d";
        assert_eq!(body, expected);
    }

    #[test]
    fn answers_of_aws_are_classified() {
        let reply = |status: u16, body: &str| {
            let body = Body::from(body.as_bytes().to_vec());
            Ok(http::Response::builder().status(status).body(body).unwrap())
        };
        let code = |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        let keys = read_keys(reply(200, XML)).unwrap();
        assert_eq!(keys.id.expose_str(), Some("ASgeIAIOSFODNN7EXAMPLE"));
        let token = keys.session_token.unwrap();
        assert_eq!(
            token.expose_str(),
            Some("AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE==")
        );
        let denied = |code: &str| StsError::Denied { code: code.to_owned() };
        for (status, body, error) in [
            (200, "<html>".to_owned(), StsError::Misbehaved),
            (200, XML.replace("AQoD", "\u{1}"), StsError::Misbehaved),
            (403, code("AccessDenied"), denied("AccessDenied")),
            (400, code("InvalidIdentityToken"), denied("InvalidIdentityToken")),
            (400, code("<b>x"), denied("400")),
            (404, "not XML".to_owned(), denied("404")),
            (400, code("Throttling"), StsError::Unavailable { status: 400 }),
            (
                400,
                code("IDPCommunicationError"),
                StsError::Unavailable { status: 400 },
            ),
            (503, String::new(), StsError::Unavailable { status: 503 }),
        ] {
            assert_eq!(read_keys(reply(status, &body)), Err(error), "{status} {body}");
        }
    }
}
