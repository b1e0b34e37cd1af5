//! AWS's Security Token Service, as far as Vault asks it: who has signed this request?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fake_vault::AwsMethod;
use issuer_core::Now;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The largest request that is read, in bytes.
const REQUEST_LIMIT: usize = 1 << 16;

/// A server on loopback that answers `GetCallerIdentity`, until it is dropped.
pub(crate) struct Sts {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Sts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sts {
    /// Starts a server that knows the identities of `aws`.
    pub(crate) async fn start(aws: AwsMethod) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let aws = Arc::new(aws);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Vault repeats a request whose connection breaks.
                drop(answer(stream, &aws).await);
            }
        });
        Ok(Self { port, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn answer(mut stream: TcpStream, aws: &AwsMethod) -> anyhow::Result<()> {
    let (headers, body) = read(&mut stream).await?;
    let unix = Duration::from_secs(u64::try_from(Timestamp::now().as_second())?);
    let monotonic = Duration::ZERO;
    let (status, xml) = match aws.caller(Now { monotonic, unix }, headers, body) {
        Some(identity) => {
            let account = identity.arn.split(':').nth(4).unwrap_or_default();
            let result = format!(
                "<Arn>{}</Arn><UserId>AIDAEXAMPLE</UserId><Account>{account}</Account>",
                identity.arn
            );
            let result = format!("<GetCallerIdentityResult>{result}</GetCallerIdentityResult>");
            (
                "200 OK",
                format!("<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"),
            )
        }
        None => {
            let code = "<Code>SignatureDoesNotMatch</Code>";
            (
                "403 Forbidden",
                format!("<ErrorResponse><Error>{code}</Error></ErrorResponse>"),
            )
        }
    };
    let length = xml.len();
    let headers = format!("Content-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close");
    let reply = format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n{xml}");
    stream.write_all(reply.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// The headers and the body of a request.
type Request = (BTreeMap<String, String>, Vec<u8>);

/// Parses a request; `None` if it is not complete.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Request>> {
    let text = str::from_utf8(bytes)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: BTreeMap<String, String> = headers.collect();
    let length: usize = headers.get("content-length").map_or("0", String::as_str).parse()?;
    Ok((body.len() >= length).then(|| (headers, body.as_bytes().to_vec())))
}

/// Reads a request.
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
