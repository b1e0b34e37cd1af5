//! The replies that a hostile server, or a proxy in front of it, gives without handling the request.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, WARNING};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode};
use issuer_core::{Body, Now};
use serde_json::json;

use super::handled::Handled;
use super::kind::{Fault, Redirect, RetryAfter};
use crate::answer::{Refusal, json_reply, occurred, reply};

impl Fault {
    /// Returns the reply of a fault that does not let Vault handle the request.
    pub(crate) fn reply_instead(self, now: Now, request: &Request<Body>) -> Handled {
        let refusal = |status, error: &str| Refusal::new(status, error).into_response();
        Handled::Reply(match self {
            Self::Forbidden => Refusal::permission_denied().into_response(),
            Self::Gateway(status) => gateway(status),
            Self::Html => html(&quoted(request)),
            Self::InternalError => refusal(StatusCode::INTERNAL_SERVER_ERROR, &occurred(&["internal error"])),
            Self::MissingState => refusal(StatusCode::PRECONDITION_FAILED, "required index state not present"),
            Self::RateLimited(after) => {
                let path = request.uri().path().trim_start_matches("/v1/");
                let response = Refusal::rate_limited(path).into_response();
                with_header(response, RETRY_AFTER, after.value(now))
            }
            Self::Redirected(to) => {
                let response = reply(StatusCode::TEMPORARY_REDIRECT, Vec::new());
                with_header(response, LOCATION, Some(to.location(request)))
            }
            Self::Reflected(status) => reflected(status, &quoted(request)),
            Self::Unavailable => Refusal::sealed().into_response(),
            _ => return Handled::Closed,
        })
    }
}

impl RetryAfter {
    fn value(self, now: Now) -> Option<String> {
        match self {
            Self::Date(seconds) => {
                let unix = now.unix.saturating_add(Duration::from_secs(seconds));
                let date = Now { unix, ..now }.timestamp();
                Some(date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
            Self::None => None,
            Self::Seconds(seconds) => Some(seconds.to_string()),
        }
    }
}

impl Redirect {
    fn location(self, request: &Request<Body>) -> String {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        match self {
            Self::Elsewhere => format!("https://elsewhere.invalid{path}"),
            Self::Port { tls, port } => {
                let scheme = if tls { "https" } else { "http" };
                format!("{scheme}://127.0.0.1:{port}{path}")
            }
            Self::SameOrigin => origin_of(request) + path,
        }
    }
}

fn with_header(mut response: Response<Body>, name: http::HeaderName, value: Option<String>) -> Response<Body> {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Returns a text with the request's token and body.
fn quoted(request: &Request<Body>) -> String {
    let token = request.headers().get("x-vault-token").map(HeaderValue::as_bytes);
    let token = String::from_utf8_lossy(token.unwrap_or_default());
    let body = String::from_utf8_lossy(request.body().as_bytes());
    format!("token {token} is bad, and so is {body}")
}

fn html(quoted: &str) -> Response<Body> {
    let page = format!(
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
         <center><h1>502 Bad Gateway</h1></center>\r\n<pre>{quoted}</pre>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = reply(StatusCode::BAD_GATEWAY, page.into_bytes());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

fn gateway(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    json_reply(status, &json!({ "message": status.canonical_reason() }))
}

/// Returns a reply that has the text wherever a reply has room for text.
fn reflected(status: u16, quoted: &str) -> Response<Body> {
    let body = json!({
        "auth": { "accessor": quoted, "client_token": "" },
        "data": { "certificate": quoted, "issuing_ca": quoted, "ca_chain": [quoted] },
        "errors": [quoted],
        "warnings": [quoted],
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = json_reply(status, &body);
    for name in [LOCATION, RETRY_AFTER, WARNING] {
        response = with_header(response, name, Some(quoted.to_owned()));
    }
    response
}

/// Returns the origin that a request was sent to, as `https://host:port`.
fn origin_of(request: &Request<Body>) -> String {
    let host = request.headers().get(HOST).map(HeaderValue::to_str);
    let authority = request.uri().authority().map(Authority::as_str);
    let authority = authority.or_else(|| host.and_then(Result::ok)).unwrap_or("localhost");
    format!("{}://{authority}", request.uri().scheme_str().unwrap_or("https"))
}
