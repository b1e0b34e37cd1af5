//! The controller with a fake API server, a fake Vault over TLS and a manual clock.

mod dice;
mod objects;
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use fake_kube::{FakeKube, Kind, Object, Verb};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use issuer_api::VaultSpec;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{AwaitReply, Change, Controller, Event, Key, Outcome, StatusPatch, Step, WriteError};
use issuer_core::reference::{IssuerKind, ListScope, RequestKey, RequestKind, SecretRef, TokenSource};
use issuer_core::{Now, Operation, Reply, Request, Secret};
use issuer_kube::{Metrics, Transport};
use serde_json::json;

pub(crate) use self::dice::Dice;
pub(crate) use self::objects::{config, create_issuer, create_request, csr, issuer, ready};
pub(crate) use self::vault::{AWS_SECRET, AWS_SESSION, BEGIN, JWT, Login, SECRET_ID, Vault};

/// The namespace of all objects.
pub(crate) const NAMESPACE: &str = "team";

/// A time by which every run has converged.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A request to Vault and the task that awaits the reply.
pub(crate) struct Open {
    pub(crate) request: Request,
    pub(crate) task: Task,
}

/// A task that awaits a reply of Vault.
pub(crate) struct Task {
    pub(crate) key: Key,
    operation: Operation,
    waits: AwaitReply,
}

/// The controller and its environment, except Vault's replies.
pub(crate) struct World<'v> {
    vault: &'v Vault,
    pub(crate) cluster: FakeKube,
    pub(crate) controller: Controller,
    secrets: BTreeMap<SecretRef, SecretData>,
    cursors: BTreeMap<Kind, u64>,
    requests: Vec<RequestKey>,
    pub(crate) events: Vec<Event>,
    pub(crate) patches: Vec<StatusPatch>,
    pub(crate) outcomes: Vec<(Key, Outcome)>,
    pub(crate) metrics: Metrics,
    /// The `Debug` output of the controller and its steps, if it is recorded.
    pub(crate) transcript: Option<String>,
}

impl<'v> World<'v> {
    /// Creates a controller and the issuer `team/vault`.
    pub(crate) fn new(vault: &'v Vault, login: Login) -> Self {
        let mut cluster = FakeKube::default();
        create_issuer(&mut cluster, vault, login);
        let mut world = Self {
            vault,
            cluster,
            controller: Controller::new(config(), 1),
            secrets: vault.secrets(),
            cursors: BTreeMap::new(),
            requests: Vec::new(),
            events: Vec::new(),
            patches: Vec::new(),
            outcomes: Vec::new(),
            metrics: Metrics::new(),
            transcript: None,
        };
        let lists = [
            Change::Issuers(IssuerKind::Cluster, ListScope::Cluster, BTreeSet::new()),
            Change::Issuers(IssuerKind::Namespaced, ListScope::Cluster, BTreeSet::new()),
            Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new()),
        ];
        lists.into_iter().for_each(|list| world.controller.observe(BEGIN, list));
        world
    }

    /// Changes the issuer's Vault or auth method.
    pub(crate) fn edit(&mut self, spec: &VaultSpec) {
        self.cluster.patch(&issuer(), &json!({ "spec": spec })).unwrap();
    }

    /// Creates or replaces a Secret with one key.
    pub(crate) fn set_secret(&mut self, name: &str, key: &str, value: &str) {
        let reference = SecretRef {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
        };
        let data = SecretData {
            resource_version: value.to_owned(),
            data: BTreeMap::from([(key.to_owned(), Secret::from(value))]),
            servers: None,
        };
        self.secrets.insert(reference, data);
    }

    /// Creates an approved request for `<name>.example.com`.
    pub(crate) fn request(&mut self, name: &str) -> RequestKey {
        let key = create_request(&mut self.cluster, name);
        self.requests.push(key.clone());
        key
    }

    /// Returns the reason and message of a request's condition `Ready`.
    pub(crate) fn ready(&self, key: &RequestKey) -> (String, String) {
        ready(&self.cluster, key)
    }

    /// Returns `true` if every request is issued or has failed.
    pub(crate) fn is_finished(&self) -> bool {
        self.requests
            .iter()
            .all(|key| matches!(self.ready(key).0.as_str(), "Issued" | "Failed"))
    }

    /// Returns `true` if the issuer is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.controller.readiness().any(|(_, ready)| ready)
    }

    pub(crate) fn now(&self) -> Now {
        self.vault.server.now()
    }

    /// Advances to the next request to Vault; `None` if nothing is due.
    pub(crate) fn next(&mut self) -> Option<Open> {
        loop {
            self.deliver();
            let (key, step) = self.controller.poll(self.now())?;
            let open = self.answer(key, step);
            if open.is_some() {
                return open;
            }
        }
    }

    /// Resumes the task with the reply; returns the task's next request.
    pub(crate) fn reply(&mut self, task: Task, reply: Reply) -> Option<Open> {
        self.metrics
            .record_exchange(task.operation, &reply, Duration::from_millis(1));
        let now = self.now();
        let step = task.waits.resume(&mut self.controller, now, reply);
        self.answer(task.key, step)
    }

    /// Runs everything that is due.
    pub(crate) fn work(&mut self, exchange: &mut impl FnMut(&Key, Request) -> Reply) {
        while let Some(mut open) = self.next() {
            loop {
                let reply = exchange(&open.task.key, open.request);
                let Some(next) = self.reply(open.task, reply) else {
                    break;
                };
                open = next;
            }
        }
    }

    /// Runs what is due and advances the clock until the condition holds.
    pub(crate) fn run(&mut self, exchange: &mut impl FnMut(&Key, Request) -> Reply, holds: impl Fn(&Self) -> bool) {
        let limit = self.now().monotonic + DAY;
        loop {
            self.work(exchange);
            if holds(self) {
                return;
            }
            self.pass(limit);
        }
    }

    /// Does the same with several requests to Vault in flight. Returns the replies with which a certificate may have
    /// been lost.
    pub(crate) async fn run_at_once(&mut self, transport: &Transport) -> u64 {
        let limit = self.now().monotonic + DAY;
        let mut open = FuturesUnordered::new();
        let mut lost = 0;
        loop {
            while let Some(next) = self.next() {
                open.push(send(transport.clone(), next));
            }
            match open.next().await {
                Some((task, reply)) => {
                    let signs = task.operation == Operation::Sign;
                    let unknown = reply.as_ref().is_err_and(|error| error.may_have_been_handled());
                    lost += u64::from(signs && unknown);
                    let next = self.reply(task, reply);
                    open.extend(next.map(|next| send(transport.clone(), next)));
                }
                None if self.is_finished() => return lost,
                None => self.pass(limit),
            }
        }
    }

    /// Stops the controller, which revokes its tokens.
    pub(crate) fn stop(&mut self, exchange: &mut impl FnMut(&Key, Request) -> Reply) {
        self.controller.stop(self.now());
        self.work(exchange);
        self.controller.retire_all();
        self.work(exchange);
        assert!(self.controller.is_drained() && self.controller.is_retired());
    }

    /// Advances the clock until something is due.
    pub(crate) fn pass(&mut self, limit: Duration) {
        let due = self.controller.next_due().expect("something is to come");
        assert!(due < limit, "no end is in sight: {:?}", self.outcomes);
        let wait = due.saturating_sub(self.now().monotonic);
        // Never too short: the clock counts milliseconds.
        self.vault.server.advance(wait + Duration::from_millis(1));
    }

    /// Delivers watch events.
    fn deliver(&mut self) {
        for kind in Kind::ALL {
            let cursor = self.cursors.get(&kind).copied().unwrap_or_default();
            let news: Vec<_> = self.cluster.watch(kind, cursor).unwrap().cloned().collect();
            for event in news {
                self.cursors.insert(kind, event.revision);
                let change = match (&*event.object, event.change) {
                    (Object::Request(request), Verb::Added | Verb::Modified) => Change::Request(request.clone().into()),
                    (Object::Issuer(issuer), Verb::Added | Verb::Modified) => {
                        Change::Issuer(objects::issuer_key(), issuer.clone().into())
                    }
                    other => panic!("{other:?}"),
                };
                self.controller.observe(self.now(), change);
            }
        }
    }

    /// Answers a task's steps up to its next request to Vault.
    fn answer(&mut self, key: Key, mut step: Step) -> Option<Open> {
        loop {
            self.write_down(&step);
            let now = self.now();
            let controller = &mut self.controller;
            step = match step {
                Step::Exchange(request, waits) => {
                    let url = request.http.uri().to_string();
                    assert!(url.starts_with(&format!("{}/v1/", request.connect.origin)), "{url}");
                    let operation = request.operation;
                    return Some(Open {
                        request,
                        task: Task { key, operation, waits },
                    });
                }
                Step::MintToken(TokenSource::File(path), _) => panic!("{path} is read"),
                Step::MintToken(TokenSource::Requested(spec), waits) => {
                    assert_eq!(
                        (spec.namespace.as_str(), spec.service_account.as_str()),
                        (NAMESPACE, "signer")
                    );
                    waits.resume(controller, now, Ok(Secret::from(JWT)))
                }
                Step::Publish(event, waits) => {
                    self.events.push(event);
                    waits.resume(controller)
                }
                Step::ReadRequest(request, waits) => {
                    let live = self.cluster.request(&request).cloned();
                    let live = live.map(Into::into).ok_or(ReadError::NotFound);
                    waits.resume(controller, now, live)
                }
                Step::ReadNamespace(_, waits) => waits.resume(controller, now, Err(ReadError::NotFound)),
                Step::ReadConfigMap(_, waits) => waits.resume(controller, now, Err(ReadError::NotFound)),
                Step::ReadSecret(secret, waits) => {
                    let found = self.secrets.get(&secret).cloned();
                    waits.resume(controller, now, found.ok_or(ReadError::NotFound))
                }
                Step::ReviewReference(review, _) => panic!("no CertificateSigningRequest exists: {review:?}"),
                Step::WriteStatus(patch, waits) => {
                    let written = self.cluster.write_status(&patch);
                    self.patches.push(patch);
                    let written = written.map(drop);
                    let written = written.map_err(|refusal| WriteError::of(Some(refusal.status())));
                    waits.resume(controller, now, written)
                }
                Step::Done(outcome) => {
                    self.metrics.record_task_result(&key, None, outcome);
                    self.metrics.observe(controller.report(now));
                    self.outcomes.push((key, outcome));
                    return None;
                }
            }
        }
    }

    fn write_down(&mut self, step: &Step) {
        if let Some(transcript) = &mut self.transcript {
            writeln!(transcript, "{step:?}").unwrap();
            if matches!(step, Step::Exchange(..) | Step::Done(_)) {
                writeln!(transcript, "{:?}", self.controller).unwrap();
            }
        }
    }
}

async fn send(transport: Transport, open: Open) -> (Task, Reply) {
    (open.task, transport.call(open.request).await)
}
