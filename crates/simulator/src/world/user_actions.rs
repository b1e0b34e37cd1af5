//! The changes that users and other controllers make.

use std::sync::Arc;

use fake_kube::{Kind, Object};
use issuer_core::reconcile::Key;
use issuer_core::reference::{RequestKind, SecretRef};
use issuer_core::target::NamespaceLabels;
use serde_json::{Value, json};

use super::World;
use crate::clock::UNIX;
use crate::fixture::{self, HOSTS, IssuerId};
use crate::record::{RequestRecord, WrappingRecord};
use crate::transition::UserAction;

impl World {
    /// Returns `true` if an action would change anything.
    pub(crate) fn is_possible(&self, action: UserAction) -> bool {
        let request = |number| {
            self.request_key(number)
                .and_then(|key| self.cluster.get(&key).ok()?.observed())
        };
        match action {
            UserAction::Create(number) | UserAction::CreateApproved(number) => request(number).is_none(),
            UserAction::Delete(number) | UserAction::Recreate(number) | UserAction::Touch(number) => {
                request(number).is_some()
            }
            // cert-manager's webhook does not admit the removal of an approval or denial.
            UserAction::Approve(number) => request(number).is_some_and(|r| !r.is("Approved") && !r.is("Denied")),
            UserAction::Deny(number) => request(number).is_some_and(|r| !r.is("Denied")),
            UserAction::BuiltInFails(number) | UserAction::BuiltInSigns(number) => self.awaits_built_in(number),
            UserAction::Forge(number) => self.forges(number).is_some(),
            UserAction::LabelNamespace(number) => self.has_labels(number) == Some(false),
            UserAction::UnlabelNamespace(number) => self.has_labels(number) == Some(true),
            UserAction::CreateIssuer(issuer) => self.issuer(issuer).is_none(),
            UserAction::DeleteIssuer(issuer)
            | UserAction::EditIssuer(issuer)
            | UserAction::MoveIssuer(issuer)
            | UserAction::TouchIssuer(issuer)
            | UserAction::WriteReady(issuer)
            | UserAction::Rotate(issuer) => self.issuer(issuer).is_some(),
        }
    }

    /// Performs the action of a user.
    pub(crate) fn act(&mut self, action: UserAction) {
        if let UserAction::CreateIssuer(issuer)
        | UserAction::DeleteIssuer(issuer)
        | UserAction::EditIssuer(issuer)
        | UserAction::MoveIssuer(issuer)
        | UserAction::Rotate(issuer) = action
        {
            Arc::make_mut(&mut self.record).change(issuer, self.now);
        }
        match action {
            UserAction::Create(number) => self.create(number),
            UserAction::CreateApproved(number) => self.create_approved(number),
            UserAction::Approve(number) => self.decide(number, "Approved"),
            UserAction::Deny(number) => self.decide(number, "Denied"),
            UserAction::BuiltInFails(number) => self.answer_as_built_in(number, false),
            UserAction::BuiltInSigns(number) => self.answer_as_built_in(number, true),
            UserAction::Forge(number) => {
                if let Some((key, body)) = self.forges(number) {
                    self.patch(&key, &body);
                }
            }
            UserAction::WriteReady(issuer) => self.write_ready(issuer),
            UserAction::LabelNamespace(number) => self.set_labels(number, fixture::namespace_labels()),
            UserAction::UnlabelNamespace(number) => self.set_labels(number, NamespaceLabels::new()),
            UserAction::Delete(number) => self.delete(number),
            UserAction::Recreate(number) => {
                self.delete(number);
                self.create_approved(number);
            }
            UserAction::Touch(number) => {
                if let Some(key) = self.request_key(number) {
                    self.touch(&key);
                }
            }
            UserAction::TouchIssuer(issuer) => self.touch(&Key::Issuer(issuer.key())),
            UserAction::CreateIssuer(issuer) => {
                let unset = |secret: &SecretRef| self.cluster.secret(secret).is_none();
                if issuer == IssuerId::Wrapped {
                    // The token in the Secret of an issuer that existed before is used up.
                    self.rotate(issuer);
                } else if let Some(secret) = issuer.secret().filter(unset) {
                    self.set_secret(secret, &issuer.secret_id(0));
                }
                self.create_object(issuer.object());
            }
            UserAction::DeleteIssuer(issuer) => {
                let _gone = Arc::make_mut(&mut self.cluster).delete(&Key::Issuer(issuer.key()), None);
            }
            UserAction::EditIssuer(issuer) => self.edit(issuer, |host, path| (host, 1 - path)),
            UserAction::MoveIssuer(issuer) => self.edit(issuer, |host, path| (1 - host, path)),
            UserAction::Rotate(issuer) => self.rotate(issuer),
        }
    }

    fn rotate(&mut self, issuer: IssuerId) {
        self.rotations += 1;
        let secret_id = issuer.secret_id(self.rotations);
        let now = self.now;
        let [value, _] = [0, 1].map(|host| self.vault_mut(host).rotate(now, issuer, &secret_id));
        if issuer == IssuerId::Wrapped {
            let record = WrappingRecord::default();
            Arc::make_mut(&mut self.record)
                .wrapping
                .insert(Arc::clone(&value), record);
        }
        if let Some(secret) = issuer.secret() {
            self.set_secret(secret, &value);
        }
    }

    fn create_object(&mut self, object: Object) {
        let _exists = Arc::make_mut(&mut self.cluster).create(object);
    }

    /// Returns `true` if the namespace of a request has labels; `None` if the request is in none.
    fn has_labels(&self, number: u16) -> Option<bool> {
        let labels = self.cluster.namespace(self.fixture(number)?.namespace())?;
        Some(!labels.is_empty())
    }

    fn set_labels(&mut self, number: u16, labels: NamespaceLabels) {
        if let Some(fixture) = self.fixture(number) {
            Arc::make_mut(&mut self.cluster).set_namespace(fixture.namespace(), labels);
        }
    }

    fn set_secret(&mut self, secret: SecretRef, value: &str) {
        Arc::make_mut(&mut self.cluster).set_secret(secret, "secretId", value);
    }

    fn create(&mut self, number: u16) {
        let Some(fixture) = self.fixture(number) else {
            return;
        };
        let csr = self
            .cluster
            .next_uid(&Key::Request(fixture::request_key(fixture, number)));
        self.create_object(fixture::request(fixture, number, csr));
        let overlaps = if self.setup.claims { 0 } else { self.record.overlaps };
        let credit = 1 + i16::try_from(overlaps).unwrap_or(i16::MAX);
        let request = RequestRecord {
            number,
            fixture,
            credit,
            refused: false,
            unadmitted: false,
            unselected: false,
            unanswered: 0,
            writes: 0,
        };
        Arc::make_mut(&mut self.record).requests.insert(csr, request);
    }

    /// Creates and approves a request. If only requests are explored, watches see both as one event.
    fn create_approved(&mut self, number: u16) {
        let before = self.cluster.revision();
        self.create(number);
        self.decide(number, "Approved");
        if let (true, Some(key)) = (self.setup.requests_only, self.request_key(number)) {
            Arc::make_mut(&mut self.cluster).coalesce(Kind::of(&key), before);
        }
    }

    fn delete(&mut self, number: u16) {
        if let Some(key) = self.request_key(number) {
            let _gone = Arc::make_mut(&mut self.cluster).delete(&key, None);
        }
    }

    fn touch(&mut self, key: &Key) {
        let annotations = self
            .cluster
            .get(key)
            .ok()
            .and_then(|object| object.meta().annotations.as_ref());
        let touched = annotations.and_then(|all| all.get("touched"));
        let stamp = if touched.is_some_and(|stamp| stamp == "1") {
            "2"
        } else {
            "1"
        };
        self.patch(key, &json!({ "metadata": { "annotations": { "touched": stamp } } }));
    }

    fn edit(&mut self, issuer: IssuerId, change: impl Fn(usize, usize) -> (usize, usize)) {
        let Some(spec) = self.issuer(issuer).and_then(|object| object.spec()) else {
            return;
        };
        let host = usize::from(!spec.server.contains(HOSTS[0]));
        let path = usize::from(spec.path != fixture::PATHS[0]);
        let (host, path) = change(host, path);
        let spec = issuer.spec(host, path);
        let body = json!({ "spec": { "server": spec.server, "path": spec.path } });
        self.patch(&Key::Issuer(issuer.key()), &body);
    }

    fn patch(&mut self, key: &Key, body: &Value) {
        let _refused = Arc::make_mut(&mut self.cluster).patch(key, body);
    }

    /// Returns the patch that forges the managed fields of a request, unless they are forged.
    fn forges(&self, number: u16) -> Option<(Key, Value)> {
        let key = self.request_key(number)?;
        let object = self.cluster.get(&key).ok()?;
        let body = json!({ "metadata": { "managedFields": fixture::forged_fields(object, self.now) } });
        fixture::forged_write(object).is_none().then_some((key, body))
    }

    fn answer_as_built_in(&mut self, number: u16, signs: bool) {
        self.built_in = true;
        let Some(key) = self.request_key(number) else {
            return;
        };
        let Some(request) = self.cluster.get(&key).ok().and_then(|object| object.observed()) else {
            return;
        };
        let status = fixture::built_in_answer(&request, signs, self.now);
        self.patch_status_as(&key, &status, fixture::built_in(request.key().kind));
    }

    fn write_ready(&mut self, issuer: IssuerId) {
        let Some(object) = self.issuer(issuer) else {
            return;
        };
        let status = fixture::ready_status(object, self.now);
        self.patch_status_as(&Key::Issuer(issuer.key()), &status, fixture::ISSUERS);
    }

    fn patch_status_as(&mut self, key: &Key, status: &Value, manager: &str) {
        let body = json!({ "status": status });
        let by = (manager, fixture::time(self.now));
        let _refused = Arc::make_mut(&mut self.cluster).patch_status_as(key, &body, by);
    }

    /// Returns the next answer of the built-in controller, if it runs and a request waits for it.
    pub(crate) fn built_in_answer(&self) -> Option<UserAction> {
        let mut numbers = (0..).take(self.setup.requests.len()).filter(|_| self.built_in);
        numbers
            .find(|number| self.awaits_built_in(*number))
            .map(UserAction::BuiltInSigns)
    }

    /// Returns what users and other controllers do next by themselves.
    pub(crate) fn responses(&self) -> impl Iterator<Item = UserAction> {
        // Operators are slower than a check, so what is in flight is seen first.
        let rotation = self.rotation_due().filter(|_| self.is_quiescent());
        self.built_in_answer().into_iter().chain(rotation)
    }

    /// Returns the rotation that the condition of an issuer asks for: its wrapping token is used up.
    pub(crate) fn rotation_due(&self) -> Option<UserAction> {
        let issuer = IssuerId::Wrapped;
        let object = self.setup.issuers.contains(&issuer).then(|| self.issuer(issuer))??;
        let reported = object.ready().is_some_and(|ready| ready.reason == "WrappingTokenSpent");
        let secret = self.cluster.secret(&issuer.secret()?)?;
        let host = usize::from(!object.spec()?.server.contains(HOSTS[0]));
        let mut live = self.vault(host).wrapping().iter();
        // A condition may be older than the token.
        let is_spent = live.all(|token| **token != *secret.resource_version);
        (reported && is_spent).then_some(UserAction::Rotate(issuer))
    }

    /// Returns `true` if a request is open, and its issuer one of cert-manager's.
    fn awaits_built_in(&self, number: u16) -> bool {
        let issuer = self.fixture(number).map(|fixture| fixture.issuer);
        let served = issuer.filter(|issuer| issuer.key().kind.is_drop_in() && self.issuer(*issuer).is_some());
        let key = served.and_then(|_| self.request_key(number));
        let request = key.and_then(|key| self.cluster.get(&key).ok()?.observed());
        request.is_some_and(|request| request.is("Approved") && !request.is("Denied") && !request.is_terminal())
    }

    /// Sets a condition like an approver.
    fn decide(&mut self, number: u16, kind: &str) {
        let Some(key) = self.request_key(number) else {
            return;
        };
        let Some(request) = self.cluster.get(&key).ok().and_then(|object| object.observed()) else {
            return;
        };
        let mut conditions = request
            .status()
            .map_or_else(Vec::new, |status| status.conditions.clone());
        let unix = UNIX + self.now;
        let now = issuer_core::Now {
            unix,
            ..issuer_core::Now::default()
        };
        conditions.push(issuer_api::RequestCondition {
            others: std::collections::BTreeMap::new(),
            kind: kind.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(now.timestamp().to_string()),
            reason: Some("simulator".to_owned()),
            message: None,
        });
        let body = json!({ "status": { "conditions": conditions } });
        let cluster = Arc::make_mut(&mut self.cluster);
        let _refused = match request.key().kind {
            RequestKind::CertificateRequest => cluster.patch_status(&key, &body),
            RequestKind::CertificateSigningRequest => cluster.patch_approval(&key, &body),
        };
    }
}
