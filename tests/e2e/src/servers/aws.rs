//! A fake AWS: STS `GetCallerIdentity` for Vault, STS `AssumeRoleWithWebIdentity` for service accounts, and the EKS Pod
//! Identity agent for pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_vault::AwsMethod;
use issuer_core::Now;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::acceptor::Acceptor;

/// The largest request that is read, in bytes.
const REQUEST_LIMIT: usize = 1 << 16;

/// Where the agent of EKS Pod Identity gives keys.
const CREDENTIALS: &str = "/v1/credentials";

/// A server on loopback that says who has signed a request, and gives the keys of its first identity to the owners of some
/// tokens, until it is dropped.
pub(crate) struct Aws(Acceptor);

impl Aws {
    /// The IAM role that a service account may assume.
    pub(crate) const ROLE_ARN: &str = "arn:aws:iam::123456789012:role/web";

    /// The token of the pod that gets keys.
    pub(crate) const POD_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.the-token-of-a-pod.signature";

    /// Starts a server that knows the identities of `aws`.
    pub(crate) async fn start(aws: AwsMethod) -> anyhow::Result<Self> {
        let aws = Arc::new(aws);
        let answer = move |client| answer(client, Arc::clone(&aws));
        Ok(Self(Acceptor::start(answer).await?))
    }

    /// Returns the URL of STS.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port())
    }

    /// Returns the URL at which a pod gets keys.
    pub(crate) fn credentials_url(&self) -> String {
        format!("{}{CREDENTIALS}", self.url())
    }
}

/// A status, a media type, and a body.
type Answer = (&'static str, &'static str, String);

async fn answer(mut stream: TcpStream, aws: Arc<AwsMethod>) -> anyhow::Result<()> {
    let request = read(&mut stream).await?;
    let (status, media_type, body) = if request.line.starts_with(&format!("GET {CREDENTIALS} ")) {
        keys(&request, &aws)?
    } else if request.body.starts_with(b"Action=AssumeRoleWithWebIdentity&") {
        role(&request, &aws)?
    } else {
        caller(request, &aws)?
    };
    let length = body.len();
    let headers = format!("Content-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close");
    let reply = format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n{body}");
    stream.write_all(reply.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// Answers a pod: <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>.
fn keys(request: &Request, aws: &AwsMethod) -> anyhow::Result<Answer> {
    if request.headers.get("authorization").map(String::as_str) != Some(Aws::POD_TOKEN) {
        return Ok(("403 Forbidden", "text/plain", "AccessDeniedException".to_owned()));
    }
    let (id, identity) = aws.identities.first_key_value().context("no identity")?;
    let keys = json!({
        "AccessKeyId": id,
        "SecretAccessKey": identity.secret,
        "Token": identity.session_token,
        "AccountId": "123456789012",
        "Expiration": "2059-12-31T23:59:59Z",
    });
    Ok(("200 OK", "application/json", keys.to_string()))
}

/// Answers a service account: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>. The
/// role's trust policy permits one name in every namespace.
fn role(request: &Request, aws: &AwsMethod) -> anyhow::Result<Answer> {
    let refused = |code: &str| {
        let xml = format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        Ok(("400 Bad Request", "text/xml", xml))
    };
    let form = str::from_utf8(&request.body)?;
    let field = |name: &str| {
        form.split('&')
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let arn = Aws::ROLE_ARN.replace(':', "%3A").replace('/', "%2F");
    if field("RoleArn") != Some(arn.as_str()) {
        return refused("AccessDenied");
    }
    let payload = field("WebIdentityToken").and_then(|token| token.split('.').nth(1));
    let payload = URL_SAFE_NO_PAD.decode(payload.context("no token")?)?;
    let claims: Value = serde_json::from_slice(&payload)?;
    let is_for_aws = claims["aud"] == json!(["sts.amazonaws.com"]);
    let subject = claims["sub"].as_str().unwrap_or_default();
    if !(is_for_aws && subject.starts_with("system:serviceaccount:") && subject.ends_with(":vault-login")) {
        return refused("InvalidIdentityToken");
    }
    let (id, identity) = aws.identities.first_key_value().context("no identity")?;
    let keys = format!(
        "<AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>",
        identity.secret,
        identity.session_token.as_deref().unwrap_or_default()
    );
    let xml =
        format!("<AssumeRoleWithWebIdentityResult><Credentials>{keys}</Credentials></AssumeRoleWithWebIdentityResult>");
    Ok(("200 OK", "text/xml", xml))
}

/// Answers Vault: <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>.
fn caller(request: Request, aws: &AwsMethod) -> anyhow::Result<Answer> {
    let unix = Duration::from_secs(u64::try_from(Timestamp::now().as_second())?);
    let monotonic = Duration::ZERO;
    let Some(identity) = aws.caller(Now { monotonic, unix }, request.headers, request.body) else {
        let code = "<Code>SignatureDoesNotMatch</Code>";
        let xml = format!("<ErrorResponse><Error>{code}</Error></ErrorResponse>");
        return Ok(("403 Forbidden", "text/xml", xml));
    };
    let account = identity.arn.split(':').nth(4).unwrap_or_default();
    let result = format!(
        "<Arn>{}</Arn><UserId>AIDAEXAMPLE</UserId><Account>{account}</Account>",
        identity.arn
    );
    let result = format!("<GetCallerIdentityResult>{result}</GetCallerIdentityResult>");
    let xml = format!("<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>");
    Ok(("200 OK", "text/xml", xml))
}

/// A request. The names of its headers are in lower case.
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Parses a request; `None` if it is not complete.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Request>> {
    let text = str::from_utf8(bytes)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: BTreeMap<String, String> = headers.collect();
    let length: usize = headers.get("content-length").map_or("0", String::as_str).parse()?;
    Ok((body.len() >= length).then(|| Request {
        line,
        headers,
        body: body.as_bytes().to_vec(),
    }))
}

/// Reads a request, until `Content-Length` bytes of the body have arrived.
async fn read(stream: &mut TcpStream) -> anyhow::Result<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(request) = parse(&bytes)? {
            return Ok(request);
        }
        anyhow::ensure!(bytes.len() < REQUEST_LIMIT, "the request is too large");
        let read = stream.read_buf(&mut bytes).await?;
        (read > 0).then_some(()).context("the request is incomplete")?;
    }
}
