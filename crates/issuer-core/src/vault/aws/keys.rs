//! The access keys that AWS gives to the owner of a service account token.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;

use super::{AwsError, AwsKeys, FORM, text};
use crate::target::AllowedServers;
use crate::{Body, Connect, Limits, Operation, Origin, Proxy, Reply, Request, Roots, Secret};

/// The name of the session of an assumed role, which AWS shows in its logs.
const SESSION_NAME: &str = "vault-issuer";

/// Who gives access keys for a service account token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) enum KeySource {
    /// The endpoint of EKS Pod Identity on the controller's node, a URL with a path:
    /// <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>.
    PodIdentity(Origin),
    /// STS at this origin, which lets the service account assume an IAM role (`AssumeRoleWithWebIdentity`):
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>.
    Role {
        sts: Origin,
        proxy: Option<Proxy>,
        arn: String,
    },
}

/// Returns the request for keys that a token is exchanged for.
pub(crate) fn begin(source: &KeySource, token: &Secret) -> Request {
    match source {
        KeySource::PodIdentity(endpoint) => {
            let mut request = request(endpoint, None, endpoint.to_string());
            if let Ok(mut token) = HeaderValue::from_str(text(token)) {
                token.set_sensitive(true);
                request.http.headers_mut().insert(AUTHORIZATION, token);
            }
            request
        }
        KeySource::Role { sts, proxy, arn } => {
            let mut request = request(sts, proxy.clone(), format!("{sts}/"));
            *request.http.method_mut() = Method::POST;
            *request.http.body_mut() = form(&[
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", "2011-06-15"),
                ("RoleSessionName", SESSION_NAME),
                ("RoleArn", arn),
                ("WebIdentityToken", text(token)),
            ]);
            let headers = request.http.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
            request
        }
    }
}

fn request(origin: &Origin, proxy: Option<Proxy>, url: String) -> Request {
    let connect = Connect {
        origin: origin.clone(),
        // The host is AWS's or the operator's choice, so the list of servers that issuers may name does not apply.
        allowed_servers: AllowedServers::All,
        proxy,
        server_name: None,
        roots: Roots::System,
        identity: None,
        limits: Limits::default(),
    };
    let mut http = http::Request::new(Body::default());
    // An origin with a path is a URL.
    if let Ok(uri) = url.parse() {
        *http.uri_mut() = uri;
    }
    Request {
        timeout: connect.limits.exchange,
        connect: Arc::new(connect),
        operation: Operation::Login,
        http,
    }
}

impl KeySource {
    /// Reads the answer to the request for keys.
    pub(crate) fn read(&self, reply: Reply) -> Result<AwsKeys, AwsError> {
        let reply = reply.map_err(AwsError::Transport)?;
        let status = reply.status();
        let body = std::str::from_utf8(reply.body().as_bytes()).unwrap_or_default();
        if status == StatusCode::OK {
            let keys = match self {
                Self::PodIdentity(_) => keys_in_json(body),
                Self::Role { .. } => keys_in_xml(body),
            };
            return keys.ok_or(AwsError::Misbehaved);
        }
        let letters =
            |code: &&str| (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let code = match self {
            // The agent's errors are text for people.
            Self::PodIdentity(_) => None,
            Self::Role { .. } => element(body, "Code").filter(letters),
        };
        let status = status.as_u16();
        match code {
            // AWS answers 400 where it limits the rate, or cannot reach the cluster's OpenID provider.
            Some("IDPCommunicationError" | "RequestLimitExceeded" | "Throttling" | "ThrottlingException") => {
                Err(AwsError::Unavailable { status })
            }
            code if reply.status().is_client_error() && status != 429 => Err(AwsError::Denied {
                code: code.map_or_else(|| status.to_string(), str::to_owned),
            }),
            _ => Err(AwsError::Unavailable { status }),
        }
    }
}

/// The answer of the endpoint of EKS Pod Identity, as of every container credentials provider of AWS.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerCredentials<'a> {
    #[serde(borrow)]
    access_key_id: Cow<'a, str>,
    #[serde(borrow)]
    secret_access_key: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
}

fn keys_in_json(body: &str) -> Option<AwsKeys> {
    let credentials: ContainerCredentials<'_> = serde_json::from_str(body).ok()?;
    Some(AwsKeys {
        id: credential(&credentials.access_key_id)?,
        secret: credential(&credentials.secret_access_key)?,
        session_token: Some(credential(&credentials.token)?),
    })
}

fn keys_in_xml(body: &str) -> Option<AwsKeys> {
    Some(AwsKeys {
        id: credential(element(body, "AccessKeyId")?)?,
        secret: credential(element(body, "SecretAccessKey")?)?,
        session_token: Some(credential(element(body, "SessionToken")?)?),
    })
}

/// Returns a credential that fits into a header.
fn credential(value: &str) -> Option<Secret> {
    let fits = !value.is_empty() && HeaderValue::from_str(value).is_ok();
    fits.then(|| Secret::from(value))
}

/// Returns the text of the first element of this name. The texts that are read need no escapes.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text.trim())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Sts;

    const XML: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleWithWebIdentityResult><Audience>sts.amazonaws.com</Audience><Credentials>\
        <SessionToken>AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE==</SessionToken>\
        <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>\
        <Expiration>2014-10-24T23:00:23Z</Expiration><AccessKeyId>ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>\
        </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

    const JSON: &str = r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"x/y","Token":"z==",
        "AccountId":"123456789012","Expiration":"2026-11-28T18:00:00Z"}"#;

    fn role(region: &str) -> KeySource {
        KeySource::Role {
            sts: Sts::new(region, None).unwrap().origin,
            proxy: None,
            arn: "arn:aws-cn:iam::123456789012:role/a/b".to_owned(),
        }
    }

    fn pod_identity() -> KeySource {
        KeySource::PodIdentity(Origin::parse("http://169.254.170.23/v1/credentials").unwrap())
    }

    fn reply(status: u16, body: &str) -> Reply {
        let body = Body::from(body.as_bytes().to_vec());
        Ok(http::Response::builder().status(status).body(body).unwrap())
    }

    #[test]
    fn role_is_assumed_with_a_form() {
        let request = begin(&role("cn-north-1"), &Secret::from("a.b_c-d\n"));
        assert_eq!(request.http.method(), Method::POST);
        assert_eq!(request.http.uri(), "https://sts.cn-north-1.amazonaws.com.cn/");
        let body = std::str::from_utf8(request.http.body().as_bytes()).unwrap();
        let expected = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=vault-issuer\
            &RoleArn=arn%3Aaws-cn%3Aiam%3A%3A123456789012%3Arole%2Fa%2Fb&WebIdentityToken=a.b_c-d";
        assert_eq!(body, expected);
    }

    #[test]
    fn pod_identity_gets_the_token() {
        let request = begin(&pod_identity(), &Secret::from("a.b.c\n"));
        assert_eq!(request.http.method(), Method::GET);
        assert_eq!(request.http.uri(), "http://169.254.170.23/v1/credentials");
        let token = &request.http.headers()[AUTHORIZATION];
        assert!(token == "a.b.c" && token.is_sensitive());
        assert!(request.http.body().as_bytes().is_empty());
    }

    #[test]
    fn keys_are_read_from_both_sources() {
        for (source, body, keys) in [
            (
                role("eu-central-1"),
                XML,
                [
                    "ASgeIAIOSFODNN7EXAMPLE",
                    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY",
                    "AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE==",
                ],
            ),
            (pod_identity(), JSON, ["ASIAEXAMPLE", "x/y", "z=="]),
        ] {
            let read = source.read(reply(200, body)).unwrap();
            let read = [&read.id, &read.secret, read.session_token.as_ref().unwrap()];
            assert_eq!(read.map(|key| key.expose_str().unwrap()), keys);
        }
    }

    #[test]
    fn answers_of_aws_are_classified() {
        let code = |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        let denied = |code: &str| AwsError::Denied { code: code.to_owned() };
        for (status, body, error) in [
            (200, "<html>".to_owned(), AwsError::Misbehaved),
            (200, XML.replace("AQoD", "\u{1}"), AwsError::Misbehaved),
            (403, code("AccessDenied"), denied("AccessDenied")),
            (400, code("InvalidIdentityToken"), denied("InvalidIdentityToken")),
            (400, code("<b>x"), denied("400")),
            (404, "not XML".to_owned(), denied("404")),
            (400, code("Throttling"), AwsError::Unavailable { status: 400 }),
            (
                400,
                code("IDPCommunicationError"),
                AwsError::Unavailable { status: 400 },
            ),
            (503, String::new(), AwsError::Unavailable { status: 503 }),
        ] {
            let read = role("us-east-1").read(reply(status, &body));
            assert_eq!(read, Err(error), "{status} {body}");
        }
        for (status, body, error) in [
            (200, "{}", AwsError::Misbehaved),
            (200, "<html>", AwsError::Misbehaved),
            (404, "no association", denied("404")),
            (429, "", AwsError::Unavailable { status: 429 }),
            (500, "", AwsError::Unavailable { status: 500 }),
        ] {
            assert_eq!(pod_identity().read(reply(status, body)), Err(error), "{status} {body}");
        }
    }
}
