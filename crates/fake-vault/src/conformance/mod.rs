//! A table of requests that the model and a real Vault must answer alike.
//!
//! A real server is configured by sending the calls of [`set_up`] with its root token, the model by [`fake`]; both are
//! made of the same values. Then [`run`] sends the requests of [`cases`] to either and returns the shapes of the
//! replies, which must be equal.

mod case;
mod jwt;
mod setup;
mod shape;
mod table;
mod wrapping;

use std::collections::BTreeMap;

use http::{HeaderValue, Method, Request, Response};
use issuer_core::{Body, Now};
use serde_json::{Value, json};

use crate::server::FakeVault;

pub use case::{Case, Phase, TokenKind, WRAPPING_TOKEN};
pub use setup::{SetUp, fake, set_up};
pub use shape::Shape;
pub use table::cases;

/// The limit of repetitions of a request whose answer the server prepares in the background.
const REPETITIONS: u32 = 10_000;

/// Sends all cases and returns the shapes of their replies, by name. The requests that `exchange` sends have no origin.
/// The server is sealed for the last ones, and stays so.
pub fn run(root_token: &str, exchange: &mut dyn FnMut(Request<Body>) -> Response<Body>) -> Vec<(&'static str, Shape)> {
    let mut tokens = BTreeMap::new();
    let mut wrapping = String::new();
    let dead = login("issuer", exchange);
    exchange(request(&Method::POST, "auth/token/revoke-self", Some(&dead), ""));
    let mut phase = Phase::Unsealed;
    let mut shapes = Vec::new();
    for case in cases() {
        if case.phase != phase {
            phase = case.phase;
            exchange(request(&Method::PUT, "sys/seal", Some(root_token), ""));
        }
        let token = match case.token {
            TokenKind::Dead => Some(dead.clone()),
            TokenKind::Fresh => Some(login("issuer", exchange)),
            TokenKind::None => None,
            TokenKind::Of(role) => {
                let token = tokens.entry(role).or_insert_with(|| login(role, exchange));
                Some(token.clone())
            }
            TokenKind::Root => Some(root_token.to_owned()),
            TokenKind::Wrapping => Some(wrapping.clone()),
        };
        let body = case.body.replace(WRAPPING_TOKEN, &wrapping);
        let mut send = || {
            let mut request = request(&case.method, case.path, token.as_deref(), &body);
            if case.is_wrapped {
                let ttl = HeaderValue::from_static("60");
                request.headers_mut().insert("x-vault-wrap-ttl", ttl);
            }
            let response = exchange(request);
            if let Some(token) = text_at(&response, "/wrap_info/token") {
                wrapping = token;
            }
            Shape::of(&response)
        };
        let mut shape = send();
        let mut repetitions = if case.is_eventual { REPETITIONS } else { 0 };
        while shape.status != case.status && repetitions > 0 {
            shape = send();
            repetitions -= 1;
        }
        shapes.push((case.name, shape));
    }
    shapes
}

/// Returns the shapes of the model's replies.
pub fn expected(now: Now) -> Vec<(&'static str, Shape)> {
    let mut vault = fake();
    run(FakeVault::ROOT_TOKEN, &mut |request| vault.handle(now, request))
}

/// Logs in and returns the token; an empty one if the login fails.
fn login(role: &str, exchange: &mut dyn FnMut(Request<Body>) -> Response<Body>) -> String {
    let credentials = json!({ "role_id": setup::role_id(role), "secret_id": setup::secret_id(role) });
    let login = request(&Method::POST, "auth/approle/login", None, &credentials.to_string());
    text_at(&exchange(login), "/auth/client_token").unwrap_or_default()
}

fn text_at(response: &Response<Body>, pointer: &str) -> Option<String> {
    let reply: Value = serde_json::from_slice(response.body().as_bytes()).ok()?;
    Some(reply.pointer(pointer)?.as_str()?.to_owned())
}

fn request(method: &Method, path: &str, token: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::new(Body::from(body.as_bytes().to_vec()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = format!("/v1/{path}").parse().unwrap_or_default();
    if let Some(Ok(mut token)) = token.map(HeaderValue::try_from) {
        token.set_sensitive(true);
        request.headers_mut().insert("x-vault-token", token);
    }
    request
        .headers_mut()
        .insert("x-vault-request", HeaderValue::from_static("true"));
    request
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = cases().into_iter().map(|case| case.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn model_gives_vaults_status() {
        let unix = Duration::from_secs(1_795_507_843);
        let shapes = expected(Now { unix, ..Now::default() });
        assert_eq!(shapes.len(), cases().len());
        for ((name, shape), case) in shapes.iter().zip(cases()) {
            assert_eq!((*name, shape.status), (case.name, case.status), "{shape}");
        }
    }
}
