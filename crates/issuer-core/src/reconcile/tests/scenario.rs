//! A controller, an API server that keeps its objects, and a Vault that answers by script.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use issuer_api::{AppRole, Auth, CertificateRequest, CertificateSigningRequest, SecretKeySelector, VaultSpec};
use serde_json::{Value, json};

pub(super) use super::builder::{RequestBuilder, csr, request};
use super::vault_replies::sign_reply;
pub(super) use super::vault_replies::{Answer, check_reply};
use crate::access::{ReadError, SecretData};
use crate::fixture::{secret_data, signatures};
use crate::reconcile::{AwaitReply, AwaitWrite, Change, Config, Controller, Event, Key, ObservedIssuer};
use crate::reconcile::{ObservedRequest, Outcome, ReadyWriters, ReferenceReview, StatusPatch, Step, WriteError};
use crate::reference::{IssuerKey, IssuerKind, ListScope, Namespaces, RequestKey, RequestKind};
use crate::target::{IssuerPolicy, NamespaceLabels};
use crate::{Now, Operation};

/// The moment, in seconds since every scenario began.
pub(super) fn at(seconds: u64) -> Now {
    // The time of day at the beginning is 2026-01-01T00:00:00Z.
    let [monotonic, unix] = [1_000, 1_767_225_600].map(|begin| Duration::from_secs(begin + seconds));
    Now { monotonic, unix }
}

pub(super) fn config() -> Config {
    Config {
        claim: None,
        check_interval: Duration::from_secs(60),
        cluster_resource_namespace: "home".to_owned(),
        drop_in: None,
        event_rate: 10,
        kubernetes_csrs: false,
        namespaces: Namespaces::All,
        max_concurrent_reconciles: 10,
        max_lost_answers: 3,
        policy: IssuerPolicy::default(),
        sign_timeout: Duration::from_secs(30),
        verify: signatures().into(),
    }
}

/// The issuer that requests name unless they say otherwise: `team/vault`.
pub(super) fn issuer_key() -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".into(),
        name: "vault".into(),
    }
}

/// An issuer with a static token, of this generation.
pub(super) fn issuer(generation: i64) -> ObservedIssuer {
    let mut spec = VaultSpec {
        server: "https://vault".to_owned(),
        path: "pki/sign/web".to_owned(),
        ..VaultSpec::default()
    };
    spec.auth.token_secret_ref = Some(token_of("token"));
    ObservedIssuer {
        uid: "uid-issuer".to_owned(),
        generation,
        resource_version: format!("issuer-{generation}"),
        spec,
        status: issuer_api::IssuerStatus::default(),
        ready_writers: ReadyWriters::default(),
    }
}

fn token_of(name: &str) -> SecretKeySelector {
    SecretKeySelector {
        name: name.to_owned(),
        key: Some("token".to_owned()),
    }
}

/// A controller and everything that answers it.
pub(super) struct Scenario {
    pub(super) controller: Controller,
    pub(super) now: Now,
    /// How Vault answers health, lookup and probe.
    pub(super) checks: Answer,
    /// The hosts that answer nothing begin with this.
    pub(super) silent: Option<&'static str>,
    /// How Vault answers revocations.
    pub(super) revocations: Answer,
    /// The answer to a login and to a renewal.
    pub(super) auth: Value,
    /// The version of every Secret, and its content.
    pub(super) secret_version: &'static str,
    /// Whether certificates have leases.
    pub(super) leases: bool,
    /// How Vault answers the signing of requests; `Well` if a name is missing.
    pub(super) signs: BTreeMap<String, Answer>,
    /// The results of the next status writes of requests.
    pub(super) write_errors: VecDeque<WriteError>,
    /// Whether the watch shows the controller's own writes.
    pub(super) watch_lags: bool,
    pub(super) objects: BTreeMap<RequestKey, ObservedRequest>,
    /// The references that users may make, as `USER RESOURCE NAMESPACE/NAME`.
    pub(super) grants: BTreeSet<&'static str>,
    /// Why the API server does not answer the next reviews.
    pub(super) review_errors: VecDeque<ReadError>,
    pub(super) issuer: ObservedIssuer,
    pub(super) issuer_key: IssuerKey,
    /// The labels of every namespace.
    pub(super) labels: Result<NamespaceLabels, ReadError>,
    /// The notes of all events about requests.
    pub(super) notes: Vec<String>,
    /// The questions since the log was last taken: `sign NAME`, `check`, `write NAME REASON: MESSAGE`, ...
    log: Vec<String>,
    held: Vec<(String, AwaitReply, Value)>,
}

impl Scenario {
    /// A controller that has listed no issuer and no request.
    pub(super) fn empty(config: Config) -> Self {
        let mut scenario = Self {
            controller: Controller::new(config, 1),
            now: at(0),
            checks: Answer::Well,
            silent: None,
            revocations: Answer::Well,
            auth: json!({ "client_token": "hvs.made", "lease_duration": 600, "renewable": true }),
            secret_version: "1",
            leases: false,
            signs: BTreeMap::new(),
            write_errors: VecDeque::new(),
            watch_lags: false,
            objects: BTreeMap::new(),
            grants: BTreeSet::new(),
            review_errors: VecDeque::new(),
            issuer: issuer(1),
            issuer_key: issuer_key(),
            labels: Ok(NamespaceLabels::new()),
            notes: Vec::new(),
            log: Vec::new(),
            held: Vec::new(),
        };
        for kind in IssuerKind::ALL {
            scenario.change(Change::Issuers(kind, ListScope::Cluster, BTreeSet::new()));
        }
        for kind in RequestKind::ALL {
            scenario.change(Change::Requests(kind, ListScope::Cluster, BTreeSet::new()));
        }
        scenario
    }

    /// A controller with the issuer `team/vault`, which is ready.
    pub(super) fn ready() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        let mut scenario = Self::empty(config);
        scenario.change(Change::Issuer(issuer_key(), issuer(1)));
        scenario.run();
        scenario
    }

    /// A controller with the issuer `team/vault`, which logs in with an AppRole and is answered with `auth`.
    pub(super) fn with_login(auth: Value) -> Self {
        let mut scenario = Self::empty(config());
        scenario.auth = auth;
        scenario.issuer.spec.auth = Auth {
            app_role: Some(AppRole {
                role_id: Some("r".to_owned()),
                secret_ref: Some(token_of("token")),
                ..AppRole::default()
            }),
            ..Auth::default()
        };
        scenario.modify_issuer(|_| {});
        scenario.run();
        scenario
    }

    /// Changes the spec of the issuer, and lets the watch show it.
    pub(super) fn modify_issuer(&mut self, change: impl FnOnce(&mut VaultSpec)) {
        change(&mut self.issuer.spec);
        self.issuer.generation += 1;
        self.issuer.resource_version.push('*');
        let observed = self.issuer.clone();
        self.change(Change::Issuer(self.issuer_key.clone(), observed));
    }

    pub(super) fn change(&mut self, change: Change) {
        self.controller.observe(self.now, change);
    }

    /// Creates a request, or replaces it by one with another uid, and lets the watch show it.
    pub(super) fn create(&mut self, request: RequestBuilder) {
        self.add(request.build().into());
    }

    /// Creates a request of either kind, and lets the watch show it.
    pub(super) fn add(&mut self, request: ObservedRequest) {
        self.objects.insert(request.key(), request.clone());
        self.change(Change::Request(request));
    }

    pub(super) fn object(&self, name: &str) -> &CertificateRequest {
        match &self.objects[&key(name)] {
            ObservedRequest::CertManager(request) => request,
            ObservedRequest::Kubernetes(csr) => panic!("{csr:?}"),
        }
    }

    pub(super) fn csr(&self, name: &str) -> &CertificateSigningRequest {
        match &self.objects[&csr_key(name)] {
            ObservedRequest::Kubernetes(csr) => csr,
            ObservedRequest::CertManager(request) => panic!("{request:?}"),
        }
    }

    pub(super) fn reason(&self, name: &str) -> &str {
        let ready = self.object(name).condition("Ready");
        ready.and_then(|ready| ready.reason.as_deref()).unwrap_or("none")
    }

    /// Lets the watch show a request as the API server has it.
    pub(super) fn show(&mut self, name: &str) {
        let object = self.object(name).clone();
        self.change(Change::Request(object.into()));
    }

    /// Lets time pass, running every task when it becomes due.
    pub(super) fn pass(&mut self, seconds: u64) -> Vec<String> {
        let end = Now {
            monotonic: self.now.monotonic + Duration::from_secs(seconds),
            unix: self.now.unix + Duration::from_secs(seconds),
        };
        let mut log = self.run();
        while let Some(due) = self.controller.next_due().filter(|due| *due <= end.monotonic) {
            let before = self.now.monotonic;
            self.now.monotonic = due.max(before);
            self.now.unix += self.now.monotonic - before;
            let asked = self.run();
            assert!(!asked.is_empty() || self.now.monotonic > before, "polling without end");
            log.extend(asked);
        }
        self.now = end;
        log
    }

    /// Runs every task that is due; returns what was asked.
    pub(super) fn run(&mut self) -> Vec<String> {
        while let Some((key, step)) = self.controller.poll(self.now) {
            self.answer(&key, step);
        }
        std::mem::take(&mut self.log)
    }

    /// Lets Vault answer a signature that it held back.
    pub(super) fn release(&mut self, name: &str, answer: &Answer) -> Vec<String> {
        let index = self.held.iter().position(|(held, ..)| held == name).unwrap();
        let (_, waits, body) = self.held.remove(index);
        let step = waits.resume(&mut self.controller, self.now, sign_reply(&body, answer, self.leases));
        self.answer(&Key::Request(key(name)), step);
        self.run()
    }

    /// Answers the questions of a task until it ends or Vault holds back its answer.
    pub(super) fn answer(&mut self, key: &Key, mut step: Step) {
        loop {
            step = match step {
                Step::Done(Outcome::Unsaved) => return self.log.push("unsaved".to_owned()),
                Step::Done(_) => return,
                Step::Exchange(request, _) if self.is_silent(&request) => {
                    return self.log.push(format!("unanswered {}", request.operation.as_str()));
                }
                Step::Exchange(request, waits) if request.operation == Operation::Sign => {
                    let name = name(key);
                    self.log.push(format!("sign {name}"));
                    let body = serde_json::from_slice(request.http.body().as_bytes()).unwrap();
                    let answer = self.signs.get(&name).cloned().unwrap_or(Answer::Well);
                    if answer == Answer::Held {
                        self.held.push((name, waits, body));
                        return;
                    }
                    waits.resume(&mut self.controller, self.now, sign_reply(&body, &answer, self.leases))
                }
                Step::Exchange(request, waits) => {
                    self.log.push(request.operation.as_str().to_owned());
                    let answer = match request.operation {
                        Operation::Revoke => &self.revocations,
                        _ => &self.checks,
                    };
                    let reply = check_reply(request.operation, answer, &self.auth);
                    waits.resume(&mut self.controller, self.now, reply)
                }
                Step::MintToken(_, waits) => waits.resume(&mut self.controller, self.now, Err(ReadError::NotFound)),
                Step::Publish(event, waits) => {
                    self.note_event(&event);
                    waits.resume(&mut self.controller)
                }
                Step::ReadRequest(key, waits) => {
                    self.log.push(format!("read {}", key.name));
                    let object = self.objects.get(&key).cloned().ok_or(ReadError::NotFound);
                    waits.resume(&mut self.controller, self.now, object)
                }
                Step::ReadNamespace(name, waits) => {
                    self.log.push(format!("read namespace {name}"));
                    waits.resume(&mut self.controller, self.now, self.labels.clone())
                }
                Step::ReadConfigMap(_, waits) => waits.resume(&mut self.controller, self.now, Err(ReadError::NotFound)),
                Step::ReadSecret(_, waits) => {
                    let secret = SecretData {
                        resource_version: self.secret_version.to_owned(),
                        ..secret_data("token", self.secret_version)
                    };
                    waits.resume(&mut self.controller, self.now, Ok(secret))
                }
                Step::ReviewReference(review, waits) => {
                    let answer = self.review(&review);
                    waits.resume(&mut self.controller, self.now, answer)
                }
                Step::WriteStatus(patch, waits) => self.write(&patch, waits),
            };
        }
    }

    fn review(&mut self, review: &ReferenceReview) -> Result<bool, ReadError> {
        let ReferenceReview {
            requester,
            group,
            resource,
            namespace,
            name,
        } = review;
        let asked = format!("{} {resource}.{group} {namespace}/{name}", requester.username);
        self.log.push(format!("review {asked}"));
        match self.review_errors.pop_front() {
            Some(error) => Err(error),
            None => Ok(self.grants.contains(&*asked)),
        }
    }

    fn note_event(&mut self, event: &Event) {
        if let Key::Request(key) = &event.regarding {
            let kind = if event.warning { "Warning" } else { "Normal" };
            self.log.push(format!("event {} {kind} {}", key.name, event.reason));
            self.notes.push(event.note.clone());
        } else if self.issuer_key.kind.is_drop_in() {
            self.log.push(format!("event issuer {}", event.reason));
        }
    }

    fn write(&mut self, patch: &StatusPatch, waits: AwaitWrite) -> Step {
        let body = patch.value();
        let Key::Request(key) = &patch.of else {
            let reason = &body["status"]["conditions"][0]["reason"];
            self.log.push(format!("write issuer {reason}"));
            self.issuer.status = serde_json::from_value(body["status"].clone()).unwrap();
            self.issuer.resource_version.push('+');
            let step = waits.resume(&mut self.controller, self.now, Ok(()));
            self.change(Change::Issuer(self.issuer_key.clone(), self.issuer.clone()));
            return step;
        };
        let answer = self.apply(key, patch);
        let conditions = body["status"]["conditions"].as_array().unwrap();
        let ends = |condition: &&Value| matches!(condition["type"].as_str(), Some("Failed" | "Ready"));
        let unended = if body["status"]["certificate"].is_null() {
            "Claimed"
        } else {
            "Issued"
        };
        let reason = conditions
            .iter()
            .rfind(ends)
            .map_or(unended, |end| end["reason"].as_str().unwrap());
        self.log.push(match answer {
            Ok(()) => format!("write {} {reason}", key.name),
            Err(error) => format!("write {} {reason}: {error:?}", key.name),
        });
        let step = waits.resume(&mut self.controller, self.now, answer);
        if answer.is_ok() && !self.watch_lags {
            let object = self.objects[key].clone();
            self.change(Change::Request(object));
        }
        step
    }

    fn apply(&mut self, key: &RequestKey, patch: &StatusPatch) -> Result<(), WriteError> {
        if let Some(error) = self.write_errors.pop_front() {
            return Err(error);
        }
        let object = self.objects.get_mut(key).ok_or(WriteError::NotFound)?;
        let mut body = patch.value();
        let precondition = &body["metadata"];
        assert_eq!(precondition["uid"], object.uid(), "a status for another object");
        if precondition["resourceVersion"] != object.version() {
            return Err(WriteError::Conflict);
        }
        let version: u32 = object.version().parse().unwrap();
        let (metadata, status) = match object {
            ObservedRequest::CertManager(request) => (&mut request.metadata, &mut request.status),
            ObservedRequest::Kubernetes(csr) => (&mut csr.metadata, &mut csr.status),
        };
        *status = serde_json::from_value(body["status"].take()).unwrap();
        metadata.resource_version = Some((version + 1).to_string());
        Ok(())
    }
}

/// Returns the key of the request `team/NAME`.
pub(super) fn key(name: &str) -> RequestKey {
    RequestKey {
        kind: RequestKind::CertificateRequest,
        namespace: "team".into(),
        name: name.into(),
    }
}

/// Returns the key of the Kubernetes CSR `NAME`.
pub(super) fn csr_key(name: &str) -> RequestKey {
    RequestKey {
        kind: RequestKind::CertificateSigningRequest,
        namespace: "".into(),
        name: name.into(),
    }
}

fn name(key: &Key) -> String {
    match key {
        Key::Request(key) => key.name.to_string(),
        key => panic!("{key:?} is signed"),
    }
}
