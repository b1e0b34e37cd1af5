//! Faults, without a connection.

use std::time::Duration;

use fake_vault::{Authority, CaDefect, Fault, Handled, Redirect, RetryAfter};
use http::Method;
use issuer_core::{Limits, Operation, Reply, TransportError};
use serde_json::{Value, json};
use x509_parser::pem::parse_x509_pem;

use crate::harness::{Harness, answer, csr, request};

fn sign(harness: &mut Harness, token: &str) -> Handled {
    let body = json!({ "csr": csr(&["www.example.com"]) });
    harness
        .vault
        .exchange(harness.now, request(Method::POST, "pki/sign/web", token, &body))
}

fn spoilt(fault: Fault) -> (Harness, Handled) {
    let mut harness = Harness::new();
    let token = harness.login();
    harness.vault.faults_mut().script(Operation::Sign, fault);
    let handled = sign(&mut harness, &token);
    (harness, handled)
}

fn reply(fault: Fault) -> Reply {
    spoilt(fault).1.reply(Limits::default())
}

fn body(fault: Fault) -> Value {
    answer(&reply(fault).unwrap()).1
}

#[test]
fn every_fault_is_visible() {
    let mut honest = Harness::new();
    let token = honest.login();
    let honest = answer(&sign(&mut honest, &token).reply(Limits::default()).unwrap());
    for fault in Fault::ALL {
        let (harness, handled) = spoilt(fault);
        assert_eq!(harness.vault.counts().signs, u64::from(fault.is_handled()), "{fault:?}");
        assert_eq!(harness.vault.counts().requests, 2, "{fault:?}");
        assert_eq!(harness.vault.counts().sign_attempts, 1, "{fault:?}");
        let shows = match &handled {
            Handled::Reply(response) => {
                let plain = response.headers()["content-type"] == "text/plain";
                plain || answer(response) != honest
            }
            Handled::Closed | Handled::Cut(..) | Handled::Late(..) | Handled::Silent => true,
        };
        assert!(shows, "{fault:?}");
    }
}

#[test]
fn limits_turn_faults_into_errors() {
    use TransportError::{Reset, Timeout, TooLarge};
    for (fault, expected) in [
        (Fault::Dropped, Err(Reset)),
        (Fault::Lost, Err(Reset)),
        (Fault::Cut(10), Err(Reset)),
        (Fault::Silent, Err(Timeout)),
        (Fault::Late(Duration::from_secs(29)), Ok(200)),
        (Fault::Late(Duration::from_secs(30)), Err(Timeout)),
        (Fault::Huge, Err(TooLarge)),
        (Fault::Forbidden, Ok(403)),
        (Fault::Gateway(400), Ok(400)),
        (Fault::MissingState, Ok(412)),
        (Fault::RateLimited(RetryAfter::None), Ok(429)),
        (Fault::InternalError, Ok(500)),
        (Fault::Html, Ok(502)),
        (Fault::Unavailable, Ok(503)),
        (Fault::NoContent, Ok(204)),
        (Fault::NotJson, Ok(200)),
    ] {
        let status = reply(fault).map(|response| response.status().as_u16());
        assert_eq!(status, expected, "{fault:?}");
    }
}

#[test]
fn retry_after_has_three_forms() {
    for (form, expected) in [
        (RetryAfter::Seconds(7), Some("7")),
        (RetryAfter::Date(60), Some("Fri, 15 Jan 2027 08:01:00 GMT")),
        (RetryAfter::None, None),
    ] {
        let response = reply(Fault::RateLimited(form)).unwrap();
        let value = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap());
        assert_eq!(value, expected);
    }
}

#[test]
fn redirects_have_targets() {
    for (to, expected) in [
        (Redirect::SameOrigin, "https://vault.test:8200/v1/pki/sign/web"),
        (Redirect::Elsewhere, "https://elsewhere.invalid/v1/pki/sign/web"),
        (
            Redirect::Port { tls: true, port: 1 },
            "https://127.0.0.1:1/v1/pki/sign/web",
        ),
        (
            Redirect::Port { tls: false, port: 1 },
            "http://127.0.0.1:1/v1/pki/sign/web",
        ),
    ] {
        let mut harness = Harness::new();
        harness.vault.faults_mut().script(None, Fault::Redirected(to));
        let mut request = request(Method::POST, "pki/sign/web", "root", &json!({}));
        *request.uri_mut() = "https://vault.test:8200/v1/pki/sign/web".parse().unwrap();
        let response = harness
            .vault
            .exchange(harness.now, request)
            .reply(Limits::default())
            .unwrap();
        assert_eq!(response.status(), 307);
        assert_eq!(response.headers()["location"], expected);
    }
}

#[test]
fn reflections_leak_the_token() {
    for (fault, status) in [
        (Fault::Reflected(400), 400),
        (Fault::Reflected(200), 200),
        (Fault::Html, 502),
    ] {
        let response = reply(fault).unwrap();
        let body = String::from_utf8_lossy(response.body().as_bytes()).into_owned();
        assert_eq!(response.status(), status);
        assert!(body.contains("token hvs.") && body.contains("csr"), "{body}");
    }
}

#[test]
fn certificates_have_one_defect() {
    let harness = Harness::new();
    let key = fake_vault::key(fake_vault::KeyType::Ec, "a test");
    let authority = Authority::root("root").intermediate("int");
    let (_, issuer) = x509_parser::parse_x509_certificate(&authority.certificate().der).unwrap();
    for fault in [
        Fault::Certificate(CaDefect::AnotherIssuer),
        Fault::Certificate(CaDefect::AnotherKey),
        Fault::Certificate(CaDefect::AnotherName),
        Fault::Certificate(CaDefect::CaCertificate),
        Fault::Certificate(CaDefect::FarExpiry),
    ] {
        let body = body(fault);
        let (_, pem) = parse_x509_pem(body["data"]["certificate"].as_str().unwrap().as_bytes()).unwrap();
        let leaf = pem.parse_x509().unwrap();
        let end = leaf.validity().not_after.timestamp();
        let month = i64::try_from(harness.now.unix.as_secs()).unwrap() + 31 * 86_400;
        let same_key = leaf.public_key().subject_public_key.data.as_ref() == key.public_key_raw();
        let wrong = [
            (
                Fault::Certificate(CaDefect::AnotherIssuer),
                leaf.verify_signature(Some(issuer.public_key())).is_err(),
            ),
            (Fault::Certificate(CaDefect::AnotherKey), !same_key),
            (
                Fault::Certificate(CaDefect::AnotherName),
                leaf.subject().to_string() != "CN=www.example.com",
            ),
            (Fault::Certificate(CaDefect::CaCertificate), leaf.is_ca()),
            (Fault::Certificate(CaDefect::FarExpiry), end > month),
        ];
        let lies: Vec<_> = wrong.iter().filter(|(_, wrong)| *wrong).map(|(lie, _)| *lie).collect();
        assert_eq!(lies, [fault], "one lie at a time");
        assert_eq!(leaf.issuer(), issuer.subject());
    }
}

#[test]
fn altered_bodies() {
    let chain = |body: &Value| body["data"]["ca_chain"].as_array().unwrap().clone();
    let honest = chain(&body(Fault::ExtraFields));
    let reversed: Vec<_> = honest.iter().rev().cloned().collect();
    assert_eq!(chain(&body(Fault::ChainShuffled)), reversed);
    assert_eq!(chain(&body(Fault::ChainDoubled)).len(), 2 * honest.len());
    assert!(body(Fault::ExtraFields)["data"]["x_future"].is_object());
    assert_eq!(body(Fault::EmptyData)["data"], Value::Null);
    let wrong = body(Fault::WrongTypes);
    assert!(wrong["data"]["certificate"].is_number() && wrong["data"]["ca_chain"].is_string());
    let deep = reply(Fault::DeepJson).unwrap();
    assert_eq!(deep.body().as_bytes().len(), 20_000);
    assert!(serde_json::from_slice::<Value>(deep.body().as_bytes()).is_err());
    let (_, huge) = spoilt(Fault::Huge);
    let Handled::Reply(huge) = huge else { panic!("{huge:?}") };
    assert!(huge.body().as_bytes().len() > 10 << 20);
}

#[test]
fn script_waits_for_its_operation() {
    let mut harness = Harness::new();
    let token = harness.login();
    let faults = harness.vault.faults_mut();
    faults.script(Operation::Renew, Fault::InternalError);
    faults.script(Operation::Sign, Fault::Forbidden);
    faults.script(Operation::Sign, Fault::Unavailable);
    let statuses = [(); 3].map(|()| {
        sign(&mut harness, &token)
            .reply(Limits::default())
            .unwrap()
            .status()
            .as_u16()
    });
    assert_eq!(statuses, [403, 503, 200]);
    assert_eq!(harness.vault.faults_mut().scripted(), 1);
    harness.vault.faults_mut().clear();
    assert_eq!(harness.vault.faults_mut().scripted(), 0);
}

#[test]
fn random_faults_are_fair_and_reproducible() {
    let run = |seed| {
        let mut harness = Harness::new();
        harness.vault.faults_mut().hostile(seed, 50);
        let outcomes = (0..2_000).map(|_| {
            let health = request(Method::GET, "sys/health", "", &Value::Null);
            let handled = harness.vault.exchange(harness.now, health);
            handled
                .reply(Limits::default())
                .map_or(0, |response| response.status().as_u16())
        });
        outcomes.collect::<Vec<_>>()
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
    let share = |status| first.iter().filter(|got| **got == status).count();
    for (status, expected) in [(0, 100), (307, 100), (403, 100), (412, 100), (429, 300), (503, 100)] {
        assert!(
            share(status).abs_diff(expected) < expected / 2,
            "{status}: {}",
            share(status)
        );
    }
}
