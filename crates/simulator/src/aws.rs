//! AWS's STS, which exchanges a service account token for access keys.

use http::{Response, StatusCode};
use issuer_api::Base64;
use issuer_core::{Body, ConnectError, Reply, Request, TransportError};
use serde_json::Value;

use crate::fixture::aws::{ACCESS_KEY, ROLE, STS, secret_key, session_token};
use crate::fixture::{self, IssuerId};
use crate::transition::StepFault;

/// Returns `true` if a request goes to STS.
pub(crate) fn is_sts(request: &Request) -> bool {
    request.http.uri().host() == STS.strip_prefix("https://")
}

/// Returns the reply of STS as the driver sees it. Nothing remains of the request, whose keys expire by themselves.
pub(crate) fn exchange(request: &Request, fault: Option<StepFault>) -> Reply {
    match fault {
        Some(StepFault::Broken) => Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")),
        Some(StepFault::Forbidden) => Ok(refusal(StatusCode::FORBIDDEN, "AccessDenied")),
        Some(StepFault::Garbage) => Ok(reply(StatusCode::OK, "not XML".to_owned())),
        Some(StepFault::Lost) => Err(TransportError::Timeout),
        Some(StepFault::Refused) => Err(TransportError::Connect(ConnectError::Refused)),
        Some(StepFault::Throttled) => Ok(refusal(StatusCode::BAD_REQUEST, "Throttling")),
        _ => Ok(assume_role(request)),
    }
}

fn assume_role(request: &Request) -> Response<Body> {
    let body = String::from_utf8_lossy(request.http.body().as_bytes());
    let escaped = |value: &str| value.replace(':', "%3A").replace('/', "%2F");
    let given = |field: &str, value: &str| {
        body.split('&')
            .any(|pair| pair == format!("{field}={}", escaped(value)))
    };
    if !given("Action", "AssumeRoleWithWebIdentity") {
        return refusal(StatusCode::BAD_REQUEST, "InvalidAction");
    }
    if !given("WebIdentityToken", &fixture::service_account_token(IssuerId::Aws)) {
        return refusal(StatusCode::BAD_REQUEST, "InvalidIdentityToken");
    }
    if !given("RoleArn", ROLE) {
        return refusal(StatusCode::FORBIDDEN, "AccessDenied");
    }
    let (secret, session) = (secret_key(), session_token());
    let keys = format!(
        "<AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{session}</SessionToken>"
    );
    let result =
        format!("<AssumeRoleWithWebIdentityResult><Credentials>{keys}</Credentials></AssumeRoleWithWebIdentityResult>");
    let response = format!("<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResponse>");
    reply(StatusCode::OK, response)
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    reply(
        status,
        format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"),
    )
}

fn reply(status: StatusCode, body: String) -> Response<Body> {
    let mut reply = Response::new(Body::from(body.into_bytes()));
    *reply.status_mut() = status;
    reply
}

/// Returns `true` if the body of a login carries a request that is signed with the keys of the role.
pub(crate) fn is_signed(login: &str) -> bool {
    let body: Option<Value> = serde_json::from_str(login).ok();
    let headers = body.and_then(|mut body| serde_json::from_value(body.get_mut("iam_request_headers")?.take()).ok());
    let headers = headers.and_then(|headers: Base64| headers.decode());
    headers.is_some_and(|headers| String::from_utf8_lossy(&headers).contains(&session_token()))
}
