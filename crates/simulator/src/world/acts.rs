use std::sync::Arc;

use issuer_core::reconcile::Key;
use issuer_core::reference::SecretRef;
use serde_json::{Value, json};

use super::World;
use crate::cluster::{Kind, Object};
use crate::event::Act;
use crate::fixture::{self, HOSTS, IssuerId};
use crate::record::Request;
use crate::vault::UNIX;

impl World {
    /// Tells whether an act would change anything.
    pub(crate) fn can(&self, act: Act) -> bool {
        let request = |number| {
            self.request_key(number)
                .and_then(|key| self.cluster.get(&key).ok()?.request())
        };
        match act {
            Act::Create(number) | Act::CreateApproved(number) => request(number).is_none(),
            Act::Delete(number) | Act::Recreate(number) | Act::Touch(number) => request(number).is_some(),
            // The webhook of cert-manager lets nobody take an approval or a denial back.
            Act::Approve(number) => request(number).is_some_and(|r| !r.is("Approved") && !r.is("Denied")),
            Act::Deny(number) => request(number).is_some_and(|r| !r.is("Denied")),
            Act::CreateIssuer(issuer) => self.issuer(issuer).is_none(),
            Act::DeleteIssuer(issuer)
            | Act::EditIssuer(issuer)
            | Act::MoveIssuer(issuer)
            | Act::TouchIssuer(issuer)
            | Act::Rotate(issuer) => self.issuer(issuer).is_some(),
        }
    }

    /// Lets somebody else do something.
    pub(crate) fn act(&mut self, act: Act) {
        if let Act::CreateIssuer(issuer)
        | Act::DeleteIssuer(issuer)
        | Act::EditIssuer(issuer)
        | Act::MoveIssuer(issuer)
        | Act::Rotate(issuer) = act
        {
            Arc::make_mut(&mut self.record).change(issuer, self.now);
        }
        match act {
            Act::Create(number) => self.create(number),
            Act::CreateApproved(number) => self.create_approved(number),
            Act::Approve(number) => self.decide(number, "Approved"),
            Act::Deny(number) => self.decide(number, "Denied"),
            Act::Delete(number) => self.delete(number),
            Act::Recreate(number) => {
                self.delete(number);
                self.create_approved(number);
            }
            Act::Touch(number) => {
                if let Some(key) = self.request_key(number) {
                    self.touch(&key);
                }
            }
            Act::TouchIssuer(issuer) => self.touch(&Key::Issuer(issuer.key())),
            Act::CreateIssuer(issuer) => {
                if let Some(secret) = issuer.secret().filter(|secret| self.cluster.secret(secret).is_none()) {
                    self.set_secret(secret, &issuer.secret_id(0));
                }
                self.create_object(issuer.object());
            }
            Act::DeleteIssuer(issuer) => {
                let _gone = Arc::make_mut(&mut self.cluster).delete(&Key::Issuer(issuer.key()), None);
            }
            Act::EditIssuer(issuer) => self.edit(issuer, |host, path| (host, 1 - path)),
            Act::MoveIssuer(issuer) => self.edit(issuer, |host, path| (1 - host, path)),
            Act::Rotate(issuer) => {
                self.rotations += 1;
                let secret_id = issuer.secret_id(self.rotations);
                for host in [0, 1] {
                    self.vault_mut(host).rotate(issuer, &secret_id);
                }
                if let Some(secret) = issuer.secret() {
                    self.set_secret(secret, &secret_id);
                }
            }
        }
    }

    fn create_object(&mut self, object: Object) {
        let _exists = Arc::make_mut(&mut self.cluster).create(object);
    }

    fn set_secret(&mut self, secret: SecretRef, value: &str) {
        Arc::make_mut(&mut self.cluster).set_secret(secret, "secretId", value);
    }

    fn create(&mut self, number: u16) {
        let Some(want) = self.want(number) else {
            return;
        };
        let order = self.cluster.next_uid(&Key::Request(fixture::request_key(want, number)));
        self.create_object(Object::Request(fixture::request(want, number, order)));
        let overlaps = if self.setup.claims { 0 } else { self.record.overlaps };
        let credit = 1 + i16::try_from(overlaps).unwrap_or(i16::MAX);
        let request = Request {
            number,
            want,
            credit,
            refused: false,
            writes: 0,
        };
        Arc::make_mut(&mut self.record).requests.insert(order, request);
    }

    /// Creates a request and approves it; where only requests count, before any watch can tell that it is there.
    fn create_approved(&mut self, number: u16) {
        let before = self.cluster.revision();
        self.create(number);
        self.decide(number, "Approved");
        if self.setup.focus {
            Arc::make_mut(&mut self.cluster).coalesce(Kind::Requests, before);
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

    /// Sets a condition as an approver does.
    fn decide(&mut self, number: u16, kind: &str) {
        let Some(key) = self.request_key(number) else {
            return;
        };
        let Some(request) = self.cluster.get(&key).ok().and_then(|object| object.request()) else {
            return;
        };
        let mut conditions = request
            .status
            .as_ref()
            .map_or_else(Vec::new, |status| status.conditions.clone());
        let unix = UNIX + self.now;
        let now = issuer_core::Now {
            unix,
            ..issuer_core::Now::default()
        };
        conditions.push(issuer_api::RequestCondition {
            kind: kind.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(now.timestamp().to_string()),
            reason: Some("simulator".to_owned()),
            message: None,
        });
        let body = json!({ "status": { "conditions": conditions } });
        let _refused = Arc::make_mut(&mut self.cluster).patch_status(&key, &body);
    }
}
