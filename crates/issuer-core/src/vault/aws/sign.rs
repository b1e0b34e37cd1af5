//! Signature Version 4 of the request that tells Vault who has signed it:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::json;
use super::{AwsKeys, FORM, text};
use crate::Now;
use crate::target::Sts;

/// The body of the request that Vault sends to AWS.
const IDENTITY_REQUEST: &str = "Action=GetCallerIdentity&Version=2011-06-15";

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
    /// Signs a POST request for the root path. Returns the header `Authorization`. The names of `headers` are in lower
    /// case and in order.
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
        // The canonical form of a value has single blanks.
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
    use crate::Secret;

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
}
