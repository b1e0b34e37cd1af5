//! The answers of the model.

use std::sync::Arc;

use issuer_core::reconcile::Key;
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey, RequestKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Call, NAME, OTHER, Subject, Suite};
use crate::{FakeKube, Kind, Object, Refusal, WatchEvent};

const NAMESPACE: &str = "default";

/// Returns the answers of the model to the table of a subject.
pub fn expected(subject: Subject) -> Vec<(&'static str, Answer)> {
    let mut cluster = FakeKube::default();
    let mut suite = Suite::new(subject, NAMESPACE);
    while let Some(call) = suite.next_call() {
        let reply = serve(&mut cluster, subject, call).map_err(Refusal::status);
        suite.record(&reply);
    }
    suite.answers()
}

impl Subject {
    fn key(self) -> Key {
        let name = Arc::from(NAME);
        let namespace: Arc<str> = if self.is_namespaced() { NAMESPACE } else { "" }.into();
        let request = |kind| {
            let (name, namespace) = (Arc::clone(&name), Arc::clone(&namespace));
            Key::Request(RequestKey { kind, namespace, name })
        };
        match self {
            Self::CertificateRequest => request(RequestKind::CertificateRequest),
            Self::CertificateSigningRequest => request(RequestKind::CertificateSigningRequest),
            Self::Issuer => Key::Issuer(IssuerKey {
                kind: IssuerKind::DropInNamespaced,
                namespace,
                name,
            }),
        }
    }

    fn read(self, mut object: Value) -> Option<Object> {
        Some(match self {
            Self::CertificateRequest => Object::Request(serde_json::from_value(object).ok()?),
            Self::CertificateSigningRequest => Object::Csr(serde_json::from_value(object).ok()?),
            Self::Issuer => {
                // The model has the spec of cert-manager's Issuers with Vault alone.
                let spec = json!({ "server": "https://vault", "path": "pki/sign/web", "auth": {} });
                object.as_object_mut()?.insert("spec".to_owned(), spec);
                Object::DropInIssuer(serde_json::from_value(object).ok()?)
            }
        })
    }
}

fn show(object: &Object) -> Value {
    match object {
        Object::ClusterIssuer(issuer) => json!(issuer),
        Object::DropInIssuer(issuer) | Object::Issuer(issuer) => json!(issuer),
        Object::Request(request) => json!(request),
        Object::Csr(csr) => json!(csr),
    }
}

fn serve(cluster: &mut FakeKube, subject: Subject, call: Call) -> Result<Value, Refusal> {
    let key = subject.key();
    let kind = Kind::of(&key);
    match call {
        Call::Apply(body, force) => cluster.apply_status(&key, &body, force),
        Call::Create(object) => cluster.create(subject.read(object).ok_or(Refusal::Invalid)?),
        Call::Delete(uid) => return cluster.delete(&key, uid.as_deref()).map(|()| Value::Null),
        Call::Get => cluster.get(&key).cloned(),
        Call::List => {
            let items: Vec<Value> = cluster.list(kind).map(|object| show(object)).collect();
            let version = cluster.revision().to_string();
            return Ok(json!({ "metadata": { "resourceVersion": version }, "items": items }));
        }
        Call::Patch(body) => cluster.patch(&key, &body),
        Call::PatchApproval(body) => cluster.patch_approval(&key, &body),
        Call::PatchStatus(body) => cluster.patch_status(&key, &body),
        Call::PatchStatusAsOther(body) => {
            let at = Time(Timestamp::UNIX_EPOCH);
            cluster.patch_status_as(&key, &body, (OTHER, at))
        }
        Call::ReplaceStatus(body) => cluster.replace_status(&key, &body),
        Call::Watch(since) => {
            let since = match since {
                Some(since) => since.parse().unwrap_or_default(),
                None => {
                    cluster.compact(kind, cluster.revision());
                    0
                }
            };
            let events = cluster.watch(kind, since)?;
            let event = |event: &WatchEvent| json!({ "type": event.change.as_str(), "object": show(&event.object) });
            return Ok(events.map(event).collect());
        }
    }
    .map(|object| show(&object))
}
