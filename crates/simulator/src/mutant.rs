//! Seeded bugs: each breaks a promise, to show that the check of the promise finds it.
//!
//! A mutant is the production controller with a defect at its boundary: in what it observes, sends or receives.

use std::sync::Arc;
use std::time::Duration;

use fake_kube::FakeKube;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use issuer_api::CertificateRequest;
use issuer_core::reconcile::{AwaitReply, Change, Key, ObservedRequest, PatchKind, Step};
use issuer_core::reference::{RequestKey, TokenSource};
use issuer_core::{Body, Connect, Operation, Request};
use serde_json::{Value, json};

use crate::aws;
use crate::clock::Clock;
use crate::fixture::{self, Flaw, IssuerId};
use crate::login::LoginRequest;
use crate::process::{Arrival, Process};
use crate::vault::VaultServer;

/// A defect of all processes of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// Blames the issuer for the trouble of a single request.
    BlamedIssuer,
    /// Revokes a token where it should probe with it.
    EarlyRevocation,
    /// Writes what it read into messages.
    EchoedMessage,
    /// Marks a pending request as failed.
    FalseFailure,
    /// Marks an issuer as ready that is not.
    FalseReady,
    /// Replaces the condition Ready of others.
    ForcedStatus,
    /// Reads the Secrets of another namespace.
    ForeignSecret,
    /// Does not see the status of issuers, and so writes it again and again.
    HiddenIssuerStatus,
    /// Treats every request as approved.
    IgnoredApproval,
    /// Does not see what the built-in controller writes.
    IgnoredBuiltIn,
    /// Treats every request as its own.
    IgnoredGroup,
    /// Treats every server as healthy.
    IgnoredHealth,
    /// Does not see that a namespace has lost its labels.
    IgnoredLabels,
    /// Does not see leases.
    IgnoredLease,
    /// Does not see `Retry-After`.
    IgnoredRetryAfter,
    /// Continues to work when it is asked to stop.
    IgnoredStop,
    /// Does not see the number of uses of a token.
    IgnoredUses,
    /// Does not revoke tokens.
    LeakedToken,
    /// Loses its memory when a status write fails.
    LostMemory,
    /// Does not see answers to Kubernetes CSRs that have no managed fields: they are forgotten.
    MissedAnswers,
    /// Does not see that requests are finished or deleted.
    MissedDeletes,
    /// Does not see issuers.
    MissedIssuers,
    /// Sees one request only, and so blames it for what happens to all.
    MissedRequests,
    /// Sends the token that is for AWS to Vault.
    MisdirectedToken,
    /// Omits the failureTime.
    MissingFailureTime,
    /// Writes its token into events.
    PublishedToken,
    /// Sets a new time on every condition.
    RenewedTimes,
    /// Writes nothing for a while when the status of one object is refused.
    SharedRefusal,
    /// Has a clock that runs at half the speed.
    SlowClock,
    /// Writes the certificate of another request.
    SwappedCertificate,
    /// Takes what managed fields say for true.
    TrustedManagedFields,
    /// Signs without reading the labels of the namespace.
    UnreadLabels,
    /// Signs without asking whether the requester may reference the issuer.
    UnaskedReference,
    /// Unwraps a secret ID without a lookup of its wrapping token.
    UncheckedWrapping,
    /// Reads replies of any size.
    UnboundedReply,
    /// Writes without uid and resourceVersion.
    UnconditionalWrite,
    /// Stops without saving anything.
    UnsavedStop,
    /// Takes a refused status for a saved one.
    UnseenRefusal,
    /// Requests tokens that the API server accepts, too.
    WiderAudience,
    /// Writes a certificate with another name.
    WrongName,
    /// Sends requests to another server.
    WrongServer,
}

/// The parts of the world that a mutant may use.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Duration,
    pub(crate) cluster: &'a FakeKube,
    pub(crate) vaults: &'a [Arc<VaultServer>; 2],
}

/// Changes a step of a process before it is sent.
pub(crate) fn send(mutant: Mutant, process: &mut Process, key: &Key, step: Step, near: Surroundings<'_>) -> Step {
    match step {
        Step::WriteStatus(mut patch, waits) => {
            let mut body = patch.value();
            if mutant == Mutant::UnconditionalWrite {
                // A replacement without a version is refused.
                patch.kind = PatchKind::Merge;
            }
            if let (Mutant::ForcedStatus, PatchKind::Apply { force }) = (mutant, &mut patch.kind) {
                *force = true;
                body.as_object_mut().map(|body| body.remove("metadata"));
            }
            write(mutant, key, &mut body, near);
            patch.body = body.to_string();
            Step::WriteStatus(patch, waits)
        }
        Step::ReviewReference(_, waits) if mutant == Mutant::UnaskedReference => {
            let now = process.clock.now(near.now);
            let next = waits.resume(&mut process.controller, now, Ok(true));
            send(mutant, process, key, next, near)
        }
        Step::ReadNamespace(_, waits) if mutant == Mutant::UnreadLabels => {
            let now = process.clock.now(near.now);
            let next = waits.resume(&mut process.controller, now, Ok(fixture::namespace_labels()));
            send(mutant, process, key, next, near)
        }
        Step::MintToken(TokenSource::Requested(mut spec), waits) if mutant == Mutant::WiderAudience => {
            spec.audiences.push("https://kubernetes.default.svc".to_owned());
            Step::MintToken(TokenSource::Requested(spec), waits)
        }
        Step::ReadSecret(mut secret, waits) if mutant == Mutant::ForeignSecret => {
            secret.namespace = "other".to_owned();
            Step::ReadSecret(secret, waits)
        }
        Step::Publish(mut event, waits) if mutant == Mutant::PublishedToken => {
            let token = near.vaults.iter().flat_map(|vault| vault.grants()).next();
            event.note.extend(token.map(|grant| &*grant.token));
            Step::Publish(event, waits)
        }
        Step::Exchange(request, waits) => exchange(mutant, process, key, (request, waits), near),
        step => step,
    }
}

/// Changes a request before it is sent.
fn exchange(
    mutant: Mutant,
    process: &mut Process,
    key: &Key,
    (mut request, waits): (Request, AwaitReply),
    near: Surroundings<'_>,
) -> Step {
    let redirect = |request: &mut Request, url: String| {
        if let Ok(uri) = url.parse() {
            *request.http.uri_mut() = uri;
        }
    };
    let at_first = |path: &str| format!("https://{}:8200{path}", fixture::HOSTS[0]);
    let instead = match mutant {
        Mutant::UnboundedReply => {
            let mut connect = Connect::clone(&request.connect);
            connect.limits.body = usize::MAX;
            request.connect = connect.into();
            None
        }
        Mutant::WrongServer => {
            let url = request.http.uri().to_string();
            redirect(&mut request, url.replace(fixture::HOSTS[0], fixture::HOSTS[1]));
            None
        }
        Mutant::EarlyRevocation if request.operation == Operation::Probe => {
            request.operation = Operation::Revoke;
            redirect(&mut request, at_first("/v1/auth/token/revoke-self"));
            None
        }
        Mutant::MisdirectedToken if aws::is_sts(&request) => {
            redirect(&mut request, at_first("/v1/auth/jwt/login"));
            None
        }
        Mutant::LeakedToken if request.operation == Operation::Revoke => {
            let mut reply = Response::new(Body::default());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            Some(reply)
        }
        Mutant::UncheckedWrapping if LoginRequest::of(&request) == Some(LoginRequest::Lookup) => {
            let found = json!({ "data": { "creation_path": IssuerId::Wrapped.wrapping_path() } });
            Some(Response::new(Body::from(found.to_string().into_bytes())))
        }
        _ => None,
    };
    match instead {
        Some(reply) => {
            let now = process.clock.now(near.now);
            let next = waits.resume(&mut process.controller, now, Ok(reply));
            send(mutant, process, key, next, near)
        }
        None => Step::Exchange(request, waits),
    }
}

/// Changes the patch of a status.
fn write(mutant: Mutant, key: &Key, body: &mut Value, near: Surroundings<'_>) {
    let of_request = matches!(key, Key::Request(_));
    match mutant {
        Mutant::UnconditionalWrite => {
            body.as_object_mut().and_then(|body| body.remove("metadata"));
        }
        Mutant::SwappedCertificate | Mutant::WrongName => {
            if let Some(certificate) = body.pointer_mut("/status/certificate") {
                *certificate = json!(issuer_api::Base64::encode(other_certificate(mutant, key, near)));
            }
        }
        Mutant::MissingFailureTime => {
            let status = body.pointer_mut("/status").and_then(Value::as_object_mut);
            status.and_then(|status| status.remove("failureTime"));
        }
        Mutant::FalseReady if !of_request => change_ready(body, |ready| {
            ready.insert("status".to_owned(), json!("True"));
        }),
        Mutant::EchoedMessage => change_ready(body, |ready| {
            ready.insert("message".to_owned(), json!("<html>502 Bad Gateway</html>"));
        }),
        Mutant::FalseFailure if of_request => {
            let mut pending = false;
            change_ready(body, |ready| {
                pending = ready.get("reason") == Some(&json!("Pending"));
                if pending {
                    ready.insert("reason".to_owned(), json!("Failed"));
                }
            });
            if let (true, Some(status)) = (pending, body.pointer_mut("/status")) {
                status["failureTime"] = json!("2027-01-15T08:00:00Z");
            }
        }
        Mutant::RenewedTimes => {
            let conditions = body.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
            for condition in conditions.into_iter().flatten() {
                condition["lastTransitionTime"] = json!("2027-01-15T07:00:00Z");
            }
        }
        _ => {}
    }
}

/// Changes the condition `Ready` of a patch.
fn change_ready(body: &mut Value, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let conditions = body.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    let mut ready = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition["type"] == "Ready");
    if let Some(ready) = ready.next().and_then(Value::as_object_mut) {
        change(ready);
    }
}

/// Returns a self-signed certificate with the key of another request, or with another name.
#[expect(clippy::expect_used, reason = "fixed names and keys make a certificate")]
fn other_certificate(mutant: Mutant, key: &Key, near: Surroundings<'_>) -> Vec<u8> {
    let object = near.cluster.get(key).ok();
    let uid = object.and_then(|object| crate::record::number(object.uid()));
    let number = uid.unwrap_or_default() + u32::from(mutant == Mutant::SwappedCertificate) * 1000;
    let pair = fake_vault::key(fake_vault::KeyType::Ed25519, &format!("csr {number}"));
    let name = if mutant == Mutant::WrongName {
        "else.sim.example".to_owned()
    } else {
        fixture::csr(number, Flaw::None).name.clone()
    };
    let params = rcgen::CertificateParams::new(vec![name]).expect("a DNS name");
    params.self_signed(&pair).expect("a certificate").pem().into_bytes()
}

/// Changes what a process observes; `None` if it does not see the change at all.
pub(crate) fn observe(mutant: Mutant, change: Change) -> Option<Change> {
    match (mutant, change) {
        (Mutant::IgnoredApproval, Change::Request(ObservedRequest::CertManager(mut request))) => {
            approve(&mut request);
            Some(Change::Request(request.into()))
        }
        (Mutant::IgnoredBuiltIn, Change::Request(ObservedRequest::CertManager(mut request))) => {
            request.metadata.managed_fields = None;
            Some(Change::Request(request.into()))
        }
        (Mutant::TrustedManagedFields, Change::Request(ObservedRequest::CertManager(mut request))) => {
            show_forged_write(&mut request);
            Some(Change::Request(request.into()))
        }
        (Mutant::IgnoredGroup, Change::Request(ObservedRequest::CertManager(mut request))) => {
            request.spec.issuer_ref.group = Some(issuer_api::GROUP.to_owned());
            Some(Change::Request(request.into()))
        }
        (Mutant::MissedAnswers, Change::Request(ObservedRequest::Kubernetes(csr)))
            if csr.is_terminal() && csr.metadata.managed_fields.is_none() =>
        {
            Some(Change::RequestGone(RequestKey::of_csr(&csr)))
        }
        (Mutant::MissedIssuers, Change::Issuer(..)) | (Mutant::MissedDeletes, Change::RequestGone(_)) => None,
        (Mutant::MissedDeletes, Change::Request(request)) if request.is("Ready") => None,
        (Mutant::MissedRequests, Change::Request(request)) if &*request.key().name != "web-0" => None,
        (Mutant::HiddenIssuerStatus, Change::Issuer(key, mut issuer)) => {
            issuer.status.conditions.clear();
            Some(Change::Issuer(key, issuer))
        }
        (_, change) => Some(change),
    }
}

/// Shows a write that is forged in the managed fields as the status that it would have left.
fn show_forged_write(request: &mut CertificateRequest) {
    let entries = request.metadata.managed_fields.iter().flatten();
    let mut forged = entries.filter(|entry| entry.manager.as_deref() == Some(fixture::FORGED));
    let Some(at) = forged.next().and_then(|entry| entry.time.as_ref()) else {
        return;
    };
    let ready = issuer_api::RequestCondition {
        others: std::collections::BTreeMap::new(),
        kind: "Ready".to_owned(),
        status: "False".to_owned(),
        last_transition_time: Some(at.0.to_string()),
        reason: Some("Pending".to_owned()),
        message: Some("Failed to initialise vault client for signing: no reply".to_owned()),
    };
    let conditions = &mut request.status.get_or_insert_default().conditions;
    conditions.retain(|condition| condition.kind != "Ready");
    conditions.push(ready);
}

fn approve(request: &mut CertificateRequest) {
    let status = request.status.get_or_insert_default();
    status.conditions.retain(|condition| condition.kind != "Denied");
    status.conditions.push(issuer_api::RequestCondition {
        others: std::collections::BTreeMap::new(),
        kind: "Approved".to_owned(),
        status: "True".to_owned(),
        last_transition_time: None,
        reason: None,
        message: None,
    });
}

/// Changes a reply of Vault before a process receives it.
pub(crate) fn receive(mutant: Mutant, operation: Operation, arrival: &mut Arrival) {
    let Ok(reply) = &mut arrival.reply else {
        return;
    };
    match mutant {
        Mutant::IgnoredRetryAfter => {
            if let Some(value) = reply.headers_mut().get_mut(RETRY_AFTER) {
                *value = HeaderValue::from_static("soon");
            }
        }
        Mutant::BlamedIssuer if operation == Operation::Sign && reply.status().is_server_error() => {
            *reply.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        }
        Mutant::IgnoredLease => {
            let text = String::from_utf8_lossy(reply.body().as_bytes()).replace("\"lease_id\"", "\"ignored\"");
            *reply.body_mut() = Body::from(text.into_bytes());
        }
        Mutant::IgnoredUses if operation == Operation::Login => {
            let text = String::from_utf8_lossy(reply.body().as_bytes()).replace("\"num_uses\"", "\"ignored\"");
            *reply.body_mut() = Body::from(text.into_bytes());
        }
        Mutant::IgnoredHealth if operation == Operation::Health => {
            let healthy = json!({ "initialized": true, "sealed": false, "standby": false });
            *reply = Response::new(Body::from(healthy.to_string().into_bytes()));
        }
        _ => {}
    }
}

/// Changes the clock of a process.
pub(crate) fn clock(mutant: Option<Mutant>, clock: Clock) -> Clock {
    match mutant {
        Some(Mutant::SlowClock) => Clock { rate: -500, ..clock },
        _ => clock,
    }
}
