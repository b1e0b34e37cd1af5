//! The cost of a thousand idle issuers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::scenario::{Answer, at, check_reply, config, issuer, issuer_key};
use crate::access::{ReadError, SecretData};
use crate::reconcile::{AwaitSourceEvent, Change, Controller, Key, ObservedIssuer, SourceEvent, Step};
use crate::reference::{IssuerKey, IssuerKind, ListScope, RequestKind, SecretRef};
use crate::{Now, Operation, Secret};

const ISSUERS: usize = 1000;

/// Issuers of one server, each with a Secret of its own, and how often the servers were asked.
struct Fleet {
    controller: Controller,
    now: Now,
    issuers: BTreeMap<IssuerKey, ObservedIssuer>,
    /// Whether Secrets may be watched.
    may_watch: bool,
    watches: Vec<AwaitSourceEvent>,
    to_vault: usize,
    to_api_server: usize,
}

impl Fleet {
    fn new(may_watch: bool) -> Self {
        let mut controller = Controller::new(config(), 1);
        let issuers = (0..ISSUERS).map(|number| {
            let mut observed = issuer(1);
            let name = format!("vault-{number}");
            observed
                .spec
                .auth
                .token_secret_ref
                .as_mut()
                .unwrap()
                .name
                .clone_from(&name);
            let key = IssuerKey {
                name: name.into(),
                ..issuer_key()
            };
            (key, observed)
        });
        let issuers: BTreeMap<_, _> = issuers.collect();
        for (key, observed) in &issuers {
            controller.observe(at(0), Change::Issuer(key.clone(), observed.clone()));
        }
        for kind in IssuerKind::ALL {
            let listed = issuers.keys().filter(|key| key.kind == kind).cloned();
            controller.observe(at(0), Change::Issuers(kind, ListScope::Cluster, listed.collect()));
        }
        controller.observe(
            at(0),
            Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new()),
        );
        Self {
            controller,
            now: at(0),
            issuers,
            may_watch,
            watches: Vec::new(),
            to_vault: 0,
            to_api_server: 0,
        }
    }

    /// Lets time pass; returns the requests to Vault, and those to the API server without watches that were permitted.
    fn pass(&mut self, seconds: u64) -> (usize, usize) {
        (self.to_vault, self.to_api_server) = (0, 0);
        let end = self.now.monotonic + Duration::from_secs(seconds);
        loop {
            while let Some((key, step)) = self.controller.poll(self.now) {
                self.answer(&key, step);
            }
            while let Some((source, watch)) = self.controller.poll_watch(self.now) {
                assert!(source.name().starts_with("vault-"));
                self.open(watch);
            }
            let due = [self.controller.next_due(), self.controller.next_watch_due()];
            match due.into_iter().flatten().min().filter(|due| *due <= end) {
                Some(due) => self.now.monotonic = due.max(self.now.monotonic),
                None => break,
            }
        }
        self.now.monotonic = end;
        (self.to_vault, self.to_api_server)
    }

    fn open(&mut self, mut watch: AwaitSourceEvent) {
        if !self.may_watch {
            self.to_api_server += 1;
            let closed = watch.resume(&mut self.controller, self.now, Err(ReadError::Forbidden));
            return assert_eq!(closed, None);
        }
        for event in [SourceEvent::Opened, SourceEvent::Version("1".to_owned())] {
            watch = watch.resume(&mut self.controller, self.now, Ok(event)).unwrap();
        }
        self.watches.push(watch);
    }

    fn answer(&mut self, key: &Key, mut step: Step) {
        let (controller, now) = (&mut self.controller, self.now);
        loop {
            step = match step {
                Step::Exchange(request, waits) => {
                    self.to_vault += usize::from(request.operation != Operation::Renew);
                    waits.resume(
                        controller,
                        now,
                        check_reply(request.operation, &Answer::Well, &Value::Null),
                    )
                }
                Step::ReadSecret(SecretRef { .. }, waits) => {
                    self.to_api_server += 1;
                    let secret = SecretData {
                        resource_version: "1".to_owned(),
                        data: BTreeMap::from([("token".to_owned(), Secret::from("hvs.static"))]),
                        servers: None,
                    };
                    waits.resume(controller, now, Ok(secret))
                }
                Step::WriteStatus(patch, waits) => {
                    self.to_api_server += 1;
                    let Key::Issuer(key) = key else { panic!("{key:?}") };
                    let observed = self.issuers.get_mut(key).unwrap();
                    observed.status = serde_json::from_value(patch.value()["status"].clone()).unwrap();
                    observed.resource_version.push('+');
                    let step = waits.resume(controller, now, Ok(()));
                    controller.observe(now, Change::Issuer(key.clone(), observed.clone()));
                    step
                }
                Step::Publish(_, waits) => {
                    self.to_api_server += 1;
                    waits.resume(controller)
                }
                Step::Done(_) => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn thousand_idle_issuers_ask_little() {
    let mut fleet = Fleet::new(true);
    fleet.pass(600);
    assert_eq!(fleet.watches.len(), ISSUERS);
    assert!(fleet.controller.readiness().all(|(_, is_ready)| is_ready));
    let (to_vault, to_api_server) = fleet.pass(3600);
    assert!(to_vault <= 300, "{to_vault} requests to Vault");
    assert!(to_api_server <= 100, "{to_api_server} requests to the API server");
}

#[test]
fn secrets_without_watches_are_read_rarely() {
    let mut fleet = Fleet::new(false);
    fleet.pass(600);
    let (to_vault, to_api_server) = fleet.pass(3600);
    assert!(to_vault <= 300, "{to_vault} requests to Vault");
    assert!(to_api_server <= 2 * 3600, "{to_api_server} requests to the API server");
    // They are read all the same.
    assert!(
        to_api_server >= 4 * ISSUERS,
        "{to_api_server} requests to the API server"
    );
}
