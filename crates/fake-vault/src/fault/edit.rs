//! Replies that are altered after Vault has handled the request.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use issuer_core::Body;
use serde_json::{Value, json};

use super::handled::Handled;
use super::kind::Fault;
use crate::answer::{json_reply, reply};

impl Fault {
    /// Returns a reply as this fault lets it arrive.
    pub(crate) fn spoil(self, response: Response<Body>) -> Handled {
        match self {
            Self::Cut(length) => Handled::Cut(response, length),
            Self::Late(delay) => Handled::Late(delay, response),
            Self::Lost => Handled::Closed,
            Self::Silent => Handled::Silent,
            _ => Handled::Reply(altered(self, response)),
        }
    }
}

fn altered(fault: Fault, mut response: Response<Body>) -> Response<Body> {
    match fault {
        Fault::ChainDoubled => edited(response, |body| {
            chain(body, |all| {
                *all = all.iter().flat_map(|c| [c.clone(), c.clone()]).collect()
            });
        }),
        Fault::ChainShuffled => edited(response, |body| chain(body, |all| all.reverse())),
        Fault::DeepJson => {
            let body = "[".repeat(10_000) + &"]".repeat(10_000);
            reply(StatusCode::OK, body.into_bytes())
        }
        Fault::EmptyData => edited(response, |body| {
            for part in ["/data", "/auth"] {
                body.pointer_mut(part).into_iter().for_each(|part| *part = Value::Null);
            }
        }),
        Fault::ExtraFields => edited(response, extra_fields),
        Fault::Huge => {
            let body = json!({ "data": { "certificate": "A".repeat(10 << 20) } });
            json_reply(StatusCode::OK, &body)
        }
        Fault::NoContent => reply(StatusCode::NO_CONTENT, Vec::new()),
        Fault::NotJson => reply(StatusCode::OK, b"OK, here is your certificate:".to_vec()),
        Fault::WrongContentType => {
            let plain = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            response
        }
        Fault::WrongTypes => edited(response, wrong_types),
        _ => response,
    }
}

/// Changes a JSON object; any other body stays the same.
fn edited(response: Response<Body>, change: fn(&mut Value)) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let Ok(mut value) = serde_json::from_slice(body.as_bytes()) else {
        return Response::from_parts(parts, body);
    };
    if Value::is_object(&value) {
        change(&mut value);
    }
    Response::from_parts(parts, Body::from(format!("{value}\n").into_bytes()))
}

fn chain(body: &mut Value, change: fn(&mut Vec<Value>)) {
    if let Some(certificates) = body.pointer_mut("/data/ca_chain").and_then(Value::as_array_mut) {
        change(certificates);
    }
}

fn extra_fields(body: &mut Value) {
    let surprise = json!({ "a": [1, 2, { "b": null }], "certificate": "no" });
    for part in ["", "/data", "/auth"] {
        if let Some(part) = body.pointer_mut(part).and_then(Value::as_object_mut) {
            part.insert("x_future".to_owned(), surprise.clone());
        }
    }
}

fn wrong_types(body: &mut Value) {
    for part in ["", "/data", "/auth"] {
        let fields = body.pointer_mut(part).and_then(Value::as_object_mut);
        for (key, value) in fields.into_iter().flatten() {
            if key == "data" || key == "auth" {
                continue;
            }
            *value = match &value {
                Value::String(text) => json!(text.len()),
                Value::Array(_) => json!("a list"),
                Value::Number(number) => json!({ "value": number }),
                Value::Bool(flag) => json!(flag.to_string()),
                Value::Null | Value::Object(_) => json!([]),
            };
        }
    }
}
