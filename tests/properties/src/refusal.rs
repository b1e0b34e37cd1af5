//! Refusals of the server.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response};
use issuer_core::access;
use issuer_core::vault::{Sign, SignError};
use issuer_core::{Body, Flow, Request, Step};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{LEASE, NOW, PATH, VAULT, app_role, asked, check, sent, signatures, signing_request};
use crate::reply;
use crate::text::assert_shown;

/// Possible credentials: a service token, a token in the old format, a JWT, a secret ID, and a key.
const SECRETS: [&str; 5] = [
    "hvs.CAESIJzVnLGGR0mLkQJX4YkJ-canary",
    "s.canarycanarycanarycanary",
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJjYW5hcnkifQ.c2lnbmF0dXJl-_x",
    "bd84f1c1-86c0-0b55-3ecd-e4f60a3df2a3",
    "AKIA0canary0EXAMPLE0wJalrXUtnFEMI/K7MDENG",
];

/// The placeholder of a secret in an input.
const PLACE: &str = "{}";

/// The error body of any status: the message is one short line without the secrets that are words of the body.
pub fn refusal(data: &[u8]) {
    let refused = reply::read(data);
    shown(&refused);
    let body: Value = serde_json::from_slice(refused.body().as_bytes()).unwrap_or_default();
    let errors: Vec<&str> = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|error| !SECRETS.iter().any(|secret| error.contains(secret)))
        .collect();
    for secret in SECRETS {
        let errors: Vec<String> = errors.iter().map(|error| plant(error, secret)).collect();
        let body = json!({ "errors": errors }).to_string();
        for message in shown(&reply::with(refused.status().as_u16(), body)) {
            assert!(!message.contains(secret), "{secret} is shown: {message}");
        }
    }
}

/// Inserts a secret at all placeholders that are not part of a longer word.
fn plant(error: &str, secret: &str) -> String {
    let parts: Vec<&str> = error.split(PLACE).collect();
    let mut text = parts[0].to_owned();
    for part in &parts[1..] {
        let glued = text.ends_with(char::is_alphanumeric) || part.starts_with(char::is_alphanumeric);
        text += if glued { "" } else { secret };
        text += part;
    }
    text
}

/// Returns all messages for people after a login, a probe and a signature with this answer.
fn shown(refused: &Response<Body>) -> Vec<String> {
    let (_, sign) = signature();
    let (_, health) = check(app_role(), None, NOW);
    let (_, login) = asked(health.resume(NOW, reply::healthy()));
    let (_, probe) = asked(login.clone().resume(NOW, reply::granted()));
    let mut messages = Vec::new();
    if let Step::Done(Err(error)) = sign.resume(NOW, Ok(refused.clone())) {
        if let SignError::Refused(reason) = &error {
            assert!(reason.to_string().len() <= 256 + '…'.len_utf8(), "{reason}");
        }
        messages.push(error.to_string());
    }
    for check in [login, probe] {
        if let access::Step::Done(outcome) = check.resume(NOW, Ok(refused.clone())) {
            messages.extend(outcome.verdict.err().map(|error| error.to_string()));
        }
    }
    messages.iter().for_each(|message| assert_shown(message));
    messages
}

/// `Retry-After`: the wait is from one second to ten minutes, and the given value if that is well-formed.
pub fn retry_after(data: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let digits = !data.is_empty() && data.iter().all(u8::is_ascii_digit);
        let wait = wait(value);
        assert!(wait.is_some() || !digits || data.len() > 19, "seconds are not read");
        if let Some(wait) = wait {
            assert!((1..=600).contains(&wait.as_secs()), "{wait:?}");
        }
    }
    if let Some(offset) = data.first_chunk() {
        let offset = i64::from(i32::from_le_bytes(*offset));
        let expected = Some(Duration::from_secs(offset.clamp(1, 600).unsigned_abs()));
        let date = Timestamp::from_second(NOW.timestamp().as_second() + offset).unwrap();
        for zone in ["GMT", "UTC"] {
            let date = date.strftime("%a, %d %b %Y %H:%M:%S").to_string();
            assert_eq!(
                wait(format!("{date} {zone}").parse().unwrap()),
                expected,
                "{date} {zone}"
            );
        }
        if offset >= 0 {
            assert_eq!(wait(offset.into()), expected, "{offset}");
        }
    }
}

/// Asks for a signature.
fn signature() -> (Request, Sign) {
    sent(Sign::begin(&VAULT, &PATH, &LEASE, signing_request(false), signatures()))
}

/// Returns the wait after a reply with status 429.
fn wait(value: HeaderValue) -> Option<Duration> {
    let mut throttled = reply::with(429, "");
    throttled.headers_mut().insert(RETRY_AFTER, value);
    let (_, sign) = signature();
    match sign.resume(NOW, Ok(throttled)) {
        Step::Done(Err(error)) => error.retry_after(),
        other => panic!("{other:?}"),
    }
}
