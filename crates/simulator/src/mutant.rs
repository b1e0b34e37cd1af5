//! Processes that break a promise, to show that its check sees it.
//!
//! Each is the production controller with something wrong between it and the world: what it is shown, what it asks,
//! or what it is answered.

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use issuer_api::CertificateRequest;
use issuer_core::reconcile::{Change, Key, Step};
use issuer_core::{Body, Connect, Operation};
use serde_json::{Value, json};

use crate::fixture::{self, Flaw};
use crate::process::{Arrival, Clock, Process};
use crate::world::World;

/// What is wrong with the processes of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// Takes every request for one of its own.
    Adopts,
    /// Takes every request for approved.
    Approves,
    /// Takes every server for well.
    Blind,
    /// Calls an issuer ready that is not.
    Boasts,
    /// Reads the Secrets of another namespace.
    Borrows,
    /// Has a clock that runs at half the speed.
    Dawdles,
    /// Hears nothing of issuers.
    Deaf,
    /// Stops without saving anything.
    Drops,
    /// Writes what it read into messages.
    Echoes,
    /// Writes without uid and resourceVersion.
    Forces,
    /// Loses its memory when a status is not taken.
    Forgets,
    /// Calls a request failed that waits.
    GivesUp,
    /// Would read replies of any size.
    Gulps,
    /// Hears of no request's end.
    Hoards,
    /// Does not hear for how long to wait.
    Impatient,
    /// Revokes no token.
    Leaks,
    /// Works on when it is asked to stop.
    Lingers,
    /// Writes a certificate with another name.
    Renames,
    /// Gives every condition a new time.
    Restamps,
    /// Sees no issuer's status, and so writes it again and again.
    Restless,
    /// Sends requests to another server.
    Strays,
    /// Writes the certificate of another request.
    Swaps,
    /// Tells its token in events.
    Tells,
    /// Sets no time of failure.
    Unstamps,
}

/// Changes what a process asks.
pub(crate) fn ask(world: &World, process: &mut Process, key: &Key, step: Step) -> Step {
    let Some(mutant) = world.setup.mutant else {
        return step;
    };
    match step {
        Step::WriteStatus(mut patch, waits) => {
            write(world, mutant, key, &mut patch.body);
            Step::WriteStatus(patch, waits)
        }
        Step::ReadSecret(mut secret, waits) if mutant == Mutant::Borrows => {
            secret.namespace = "other".to_owned();
            Step::ReadSecret(secret, waits)
        }
        Step::Publish(mut event, waits) if mutant == Mutant::Tells => {
            let token = world.vaults.iter().flat_map(|vault| vault.grants()).next();
            event.note.extend(token.map(|grant| &*grant.token));
            Step::Publish(event, waits)
        }
        Step::Exchange(mut request, waits) => match mutant {
            Mutant::Gulps => {
                let mut connect = Connect::clone(&request.connect);
                connect.limits.body = usize::MAX;
                request.connect = connect.into();
                Step::Exchange(request, waits)
            }
            Mutant::Strays => {
                let url = request
                    .http
                    .uri()
                    .to_string()
                    .replace(fixture::HOSTS[0], fixture::HOSTS[1]);
                if let Ok(uri) = url.parse() {
                    *request.http.uri_mut() = uri;
                }
                Step::Exchange(request, waits)
            }
            Mutant::Leaks if request.operation == Operation::Revoke => {
                let mut reply = Response::new(Body::default());
                *reply.status_mut() = StatusCode::NO_CONTENT;
                let now = process.clock.now(world.now);
                let next = waits.resume(&mut process.controller, now, Ok(reply));
                ask(world, process, key, next)
            }
            _ => Step::Exchange(request, waits),
        },
        step => step,
    }
}

/// Changes the patch of a status.
fn write(world: &World, mutant: Mutant, key: &Key, body: &mut Value) {
    let of_request = matches!(key, Key::Request(_));
    match mutant {
        Mutant::Forces => {
            body.as_object_mut().and_then(|body| body.remove("metadata"));
        }
        Mutant::Swaps | Mutant::Renames => {
            if let Some(certificate) = body.pointer_mut("/status/certificate") {
                *certificate = json!(issuer_api::Base64::encode(other_certificate(world, mutant, key)));
            }
        }
        Mutant::Unstamps => {
            let status = body.pointer_mut("/status").and_then(Value::as_object_mut);
            status.and_then(|status| status.remove("failureTime"));
        }
        Mutant::Boasts if !of_request => set(body, |ready| {
            ready.insert("status".to_owned(), json!("True"));
        }),
        Mutant::Echoes => set(body, |ready| {
            ready.insert("message".to_owned(), json!("<html>502 Bad Gateway</html>"));
        }),
        Mutant::GivesUp if of_request => {
            let mut waits = false;
            set(body, |ready| {
                waits = ready.get("reason") == Some(&json!("Pending"));
                if waits {
                    ready.insert("reason".to_owned(), json!("Failed"));
                }
            });
            if let (true, Some(status)) = (waits, body.pointer_mut("/status")) {
                status["failureTime"] = json!("2027-01-15T08:00:00Z");
            }
        }
        Mutant::Restamps => {
            let conditions = body.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
            for condition in conditions.into_iter().flatten() {
                condition["lastTransitionTime"] = json!("2027-01-15T07:00:00Z");
            }
        }
        _ => {}
    }
}

/// Changes the condition `Ready` of a patch.
fn set(body: &mut Value, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let conditions = body.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    let mut ready = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition["type"] == "Ready");
    if let Some(ready) = ready.next().and_then(Value::as_object_mut) {
        change(ready);
    }
}

/// Makes a self-signed certificate: with the key of another request, or with another name.
#[expect(clippy::expect_used, reason = "fixed names and keys make a certificate")]
fn other_certificate(world: &World, mutant: Mutant, key: &Key) -> Vec<u8> {
    let uid = world
        .cluster
        .get(key)
        .ok()
        .and_then(|object| crate::record::number(object.uid()));
    let number = uid.unwrap_or_default() + u32::from(mutant == Mutant::Swaps) * 1000;
    let pair = fake_vault::key(fake_vault::KeyType::Ed25519, &format!("csr {number}"));
    let name = if mutant == Mutant::Renames {
        "else.sim.example".to_owned()
    } else {
        fixture::csr(number, Flaw::None).name.clone()
    };
    let params = rcgen::CertificateParams::new(vec![name]).expect("a DNS name");
    params.self_signed(&pair).expect("a certificate").pem().into_bytes()
}

/// Changes what a process is shown; `None` if it is shown nothing.
pub(crate) fn shown(world: &World, change: Change) -> Option<Change> {
    let Some(mutant) = world.setup.mutant else {
        return Some(change);
    };
    match (mutant, change) {
        (Mutant::Approves, Change::Request(mut request)) => {
            approve(&mut request);
            Some(Change::Request(request))
        }
        (Mutant::Adopts, Change::Request(mut request)) => {
            request.spec.issuer_ref.group = Some(issuer_api::GROUP.to_owned());
            Some(Change::Request(request))
        }
        (Mutant::Deaf, Change::Issuer(..)) | (Mutant::Hoards, Change::RequestGone(_)) => None,
        (Mutant::Hoards, Change::Request(request)) if request.is("Ready") => None,
        (Mutant::Restless, Change::Issuer(key, mut issuer)) => {
            issuer.status.conditions.clear();
            Some(Change::Issuer(key, issuer))
        }
        (_, change) => Some(change),
    }
}

fn approve(request: &mut CertificateRequest) {
    let status = request.status.get_or_insert_default();
    status.conditions.retain(|condition| condition.kind != "Denied");
    status.conditions.push(issuer_api::RequestCondition {
        kind: "Approved".to_owned(),
        status: "True".to_owned(),
        last_transition_time: None,
        reason: None,
        message: None,
    });
}

/// Changes what a process is answered.
pub(crate) fn replied(world: &World, operation: Operation, arrival: &mut Arrival) {
    let Ok(reply) = &mut arrival.reply else {
        return;
    };
    match world.setup.mutant {
        Some(Mutant::Impatient) => {
            if let Some(value) = reply.headers_mut().get_mut(RETRY_AFTER) {
                *value = HeaderValue::from_static("soon");
            }
        }
        Some(Mutant::Blind) if operation == Operation::Health => {
            let well = json!({ "initialized": true, "sealed": false, "standby": false });
            *reply = Response::new(Body::from(well.to_string().into_bytes()));
        }
        _ => {}
    }
}

/// Tells whether the processes lose their memory when a status is not taken.
pub(crate) fn forgets(world: &World) -> bool {
    world.setup.mutant == Some(Mutant::Forgets)
}

/// Tells whether the processes stop without saving anything.
pub(crate) fn drops(world: &World) -> bool {
    world.setup.mutant == Some(Mutant::Drops)
}

/// Tells whether the processes work on when they are asked to stop.
pub(crate) fn lingers(world: &World) -> bool {
    world.setup.mutant == Some(Mutant::Lingers)
}

/// Changes the clock of a process.
pub(crate) fn clock(world: &World, clock: Clock) -> Clock {
    match world.setup.mutant {
        Some(Mutant::Dawdles) => Clock { rate: -500, ..clock },
        _ => clock,
    }
}
