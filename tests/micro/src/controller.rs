//! A controller, and answers to all its questions that cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use issuer_core::access::SecretData;
use issuer_core::reconcile::{Change, Config, Controller, Key, Outcome, StatusPatch, Step};
use issuer_core::reference::{IssuerKey, IssuerKind, ListScope, Namespaces, RequestKind};
use issuer_core::target::IssuerPolicy;
use issuer_core::{Body, Now, Operation, Reply, Secret};
use serde_json::json;

use crate::fixture;

/// A controller and what answers it.
pub(crate) struct Driven {
    pub(crate) controller: Controller,
    /// Vault's answer to the signing of a certificate.
    signed: Vec<u8>,
    /// The number of logins.
    logins: u64,
    /// The last status of a request that was written.
    pub(crate) written: Option<StatusPatch>,
}

impl Driven {
    /// Returns a controller that has listed no issuer and no request.
    pub(crate) fn new() -> Self {
        let config = Config {
            claim: None,
            check_interval: Duration::from_secs(60),
            cluster_resource_namespace: "cert-manager".to_owned(),
            drop_in: None,
            event_rate: 10,
            kubernetes_csrs: false,
            max_concurrent_reconciles: 10,
            max_lost_answers: 3,
            namespaces: Namespaces::All,
            policy: IssuerPolicy::default(),
            sign_timeout: Duration::from_secs(60),
            verify: issuer_tls::signatures().into(),
        };
        let issued = fixture::issued();
        let signed = json!({ "lease_id": "", "data": {
            "certificate": issued.certificate,
            "issuing_ca": issued.issuing_ca,
            "ca_chain": issued.ca_chain,
            "serial_number": "01",
            "expiration": 1_772_323_200,
        } });
        let mut driven = Self {
            controller: Controller::new(config, 1),
            signed: signed.to_string().into_bytes(),
            logins: 0,
            written: None,
        };
        for kind in IssuerKind::ALL {
            driven.observe(Change::Issuers(kind, ListScope::Cluster, BTreeSet::new()));
        }
        for kind in RequestKind::ALL {
            driven.observe(Change::Requests(kind, ListScope::Cluster, BTreeSet::new()));
        }
        driven
    }

    /// Returns a controller with the issuer `team/vault`, which is ready.
    pub(crate) fn ready() -> Self {
        let mut driven = Self::new();
        driven.add_issuer(fixture::issuer_key("vault"));
        driven
    }

    /// Adds an issuer and checks it.
    pub(crate) fn add_issuer(&mut self, key: IssuerKey) {
        let uid = format!("uid-{}-{}", key.namespace, key.name);
        self.observe(Change::Issuer(key, fixture::issuer(uid)));
        assert_eq!(self.work(fixture::NOW).1, Outcome::Ready);
    }

    pub(crate) fn observe(&mut self, change: Change) {
        self.controller.observe(fixture::NOW, change);
    }

    /// Does the next task, which must be due.
    pub(crate) fn work(&mut self, now: Now) -> (Key, Outcome) {
        let (key, step) = self.controller.poll(now).expect("a task is due");
        (key, self.answer(now, step))
    }

    fn answer(&mut self, now: Now, mut step: Step) -> Outcome {
        let controller = &mut self.controller;
        loop {
            step = match step {
                Step::Done(outcome) => return outcome,
                Step::Exchange(request, task) => {
                    let reply = match request.operation {
                        Operation::Sign => reply(StatusCode::OK, self.signed.clone()),
                        Operation::Login => {
                            self.logins += 1;
                            login(self.logins)
                        }
                        operation => check_reply(operation),
                    };
                    task.resume(controller, now, reply)
                }
                Step::Publish(_, task) => task.resume(controller),
                Step::ReadSecret(_, task) => task.resume(controller, now, Ok(secret())),
                Step::WriteStatus(patch, task) => {
                    if matches!(patch.of, Key::Request(_)) {
                        self.written = Some(patch);
                    }
                    task.resume(controller, now, Ok(()))
                }
                other => panic!("no measured operation needs an answer to {other:?}"),
            };
        }
    }
}

fn reply(status: StatusCode, body: Vec<u8>) -> Reply {
    let mut reply = http::Response::new(Body::from(body));
    *reply.status_mut() = status;
    Ok(reply)
}

/// Returns the answer to a login: a token of its own, which never expires.
fn login(number: u64) -> Reply {
    let body = format!(r#"{{"auth":{{"client_token":"hvs.{number}","lease_duration":0,"renewable":false}}}}"#);
    reply(StatusCode::OK, body.into_bytes())
}

fn check_reply(operation: Operation) -> Reply {
    let (status, body) = match operation {
        Operation::Health => (StatusCode::OK, r#"{"initialized":true,"sealed":false,"standby":false}"#),
        Operation::Probe => (StatusCode::BAD_REQUEST, r#"{"errors":["\"csr\" is empty"]}"#),
        Operation::Revoke => (StatusCode::NO_CONTENT, ""),
        other => panic!("no answer for {}", other.as_str()),
    };
    reply(status, body.as_bytes().to_vec())
}

fn secret() -> SecretData {
    SecretData {
        resource_version: "1".to_owned(),
        data: BTreeMap::from([("token".to_owned(), Secret::from("credential"))]),
        servers: None,
    }
}
