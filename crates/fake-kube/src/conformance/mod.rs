//! Tables of operations that [`FakeKube`](crate::FakeKube) and a real API server must answer alike: one for each [`Subject`].
//!
//! A [`Suite`] issues the calls one after the other and describes the replies by what must be the same on every server:
//! uids and versions are numbered in the order in which they first appear. [`expected`] runs it against the model.

mod apply;
mod cases;
mod csr;
mod model;

use std::fmt;

use serde_json::{Value, json};

use crate::managed;
use crate::object::merge;

pub use model::expected;

/// The kind of the object that a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// cert-manager's `CertificateRequest`.
    CertificateRequest,
    /// Kubernetes' `CertificateSigningRequest`.
    CertificateSigningRequest,
    /// A kind with the schema of cert-manager's `Issuer`, which no controller serves.
    Issuer,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 3] = [Self::CertificateRequest, Self::CertificateSigningRequest, Self::Issuer];

    /// Returns the API group and version.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::CertificateRequest => "cert-manager.io/v1",
            Self::CertificateSigningRequest => "certificates.k8s.io/v1",
            Self::Issuer => "conformance.example.com/v1",
        }
    }

    /// Returns the kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::CertificateRequest => "CertificateRequest",
            Self::CertificateSigningRequest => "CertificateSigningRequest",
            Self::Issuer => "Issuer",
        }
    }

    /// Returns `true` if its objects are in a namespace.
    pub fn is_namespaced(self) -> bool {
        self != Self::CertificateSigningRequest
    }

    /// Returns the table, in the order in which the operations follow each other.
    pub fn cases(self) -> Vec<ApiCase> {
        match self {
            Self::CertificateRequest => cases::cases(),
            Self::CertificateSigningRequest => csr::cases(),
            Self::Issuer => apply::cases(),
        }
    }

    /// Returns the spec of a new object.
    fn spec(self) -> Value {
        match self {
            Self::CertificateRequest => {
                json!({ "request": "Q1NS", "issuerRef": { "name": "nobody", "kind": "Nobody", "group": "example.com" } })
            }
            Self::CertificateSigningRequest => csr::spec(),
            Self::Issuer => json!({}),
        }
    }
}

/// Another field manager than the controller.
pub const OTHER: &str = "cert-manager-issuers";

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiCase {
    /// The name of the row.
    pub name: &'static str,
    /// The operation.
    pub operation: ApiOperation,
    /// The status in the reply of kube-apiserver 1.36; 200 stands for any success.
    pub status: u16,
}

/// An operation on the object [`NAME`].
#[derive(Clone, Debug, PartialEq)]
pub enum ApiOperation {
    /// Applies a part of the `status` subresource as the field manager [`CONTROLLER`](crate::CONTROLLER).
    Apply {
        /// The metadata.
        given: Preconditions,
        /// The rest.
        body: Value,
        /// Whether fields are taken from other managers.
        force: bool,
    },
    /// Creates it with these additional fields.
    Create(Value),
    /// Deletes it, with a precondition on the uid.
    Delete(Option<Earlier>),
    /// Reads it.
    Get,
    /// Lists its namespace.
    List,
    /// Sends a merge patch.
    Patch(Preconditions, Value),
    /// Sends a merge patch to the `approval` subresource.
    PatchApproval(Preconditions, Value),
    /// Sends a merge patch to the `status` subresource.
    PatchStatus(Preconditions, Value),
    /// Sends a merge patch to the `status` subresource as the field manager [`OTHER`].
    PatchStatusAsOther(Value),
    /// Replaces the `status` subresource by this part of an object.
    ReplaceStatus(Preconditions, Value),
    /// Watches from the version of an earlier list; `None` is a version that the server has compacted.
    Watch(Option<Earlier>),
}

/// The metadata in a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Its uid.
    pub uid: Option<Earlier>,
    /// Its resourceVersion.
    pub version: Option<Earlier>,
}

/// A state or a list in an earlier reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The first.
    First,
    /// The last.
    Last,
}

/// A call of the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Apply this part of the `status` subresource of [`NAME`], by force or not.
    Apply(Value, bool),
    /// Create this object.
    Create(Value),
    /// Delete [`NAME`], with a precondition on the uid.
    Delete(Option<String>),
    /// Read [`NAME`].
    Get,
    /// List the namespace.
    List,
    /// Apply this merge patch to [`NAME`].
    Patch(Value),
    /// Apply this merge patch to the `approval` subresource of [`NAME`].
    PatchApproval(Value),
    /// Apply this merge patch to the `status` subresource of [`NAME`].
    PatchStatus(Value),
    /// Apply this merge patch to it as the field manager [`OTHER`].
    PatchStatusAsOther(Value),
    /// Replace the `status` subresource of [`NAME`] with this object.
    ReplaceStatus(Value),
    /// Return the watch events after this version of a list; `None` is a version that the server has compacted.
    Watch(Option<String>),
}

/// The object, the list, an array of watch events, or null for a deletion; otherwise the HTTP status of the refusal.
pub type ApiReply = Result<Value, u16>;

/// The name of the object that every operation is about.
pub const NAME: &str = "conformance";

/// The parts of a reply that must be the same on every server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status; 200 stands for any success.
    pub status: u16,
    /// Descriptions of the objects in it, in a watch preceded by the type of the event.
    pub objects: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        self.objects.iter().try_for_each(|object| write!(f, " [{object}]"))
    }
}

/// A run of the table against one API server.
#[derive(Clone, Debug)]
pub struct Suite {
    subject: Subject,
    namespace: String,
    open: std::vec::IntoIter<ApiCase>,
    asked: Option<&'static str>,
    states: Vec<State>,
    lists: Vec<String>,
    uids: Vec<String>,
    versions: Vec<String>,
    answers: Vec<(&'static str, Answer)>,
}

/// The uid and version of an object.
#[derive(Clone, Debug)]
struct State {
    uid: String,
    version: String,
}

impl Suite {
    /// Begins a run in a namespace without such objects.
    pub fn new(subject: Subject, namespace: &str) -> Self {
        Self {
            subject,
            namespace: namespace.to_owned(),
            open: subject.cases().into_iter(),
            asked: None,
            states: Vec::new(),
            lists: Vec::new(),
            uids: Vec::new(),
            versions: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Returns the next call. Its reply must be recorded before the call after it is taken.
    pub fn next_call(&mut self) -> Option<Call> {
        let case = self.open.next()?;
        self.asked = Some(case.name);
        let state = |which| pick(&self.states, which);
        let uid = |which| state(which).map(|state| state.uid.clone());
        let list = |which| pick(&self.lists, which).cloned().unwrap_or_default();
        let patch = |given: Preconditions, mut body: Value| {
            let version = given.version.and_then(state).map(|state| &state.version);
            let named = [("uid", given.uid.and_then(uid)), ("resourceVersion", version.cloned())];
            for (field, value) in named {
                if let Some((fields, value)) = body.as_object_mut().zip(value) {
                    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
                    merge(metadata, &json!({ field: value }));
                }
            }
            body
        };
        Some(match case.operation {
            ApiOperation::Apply { given, mut body, force } => {
                merge(&mut body, &self.head());
                Call::Apply(patch(given, body), force)
            }
            ApiOperation::Create(more) => Call::Create(self.object(&more)),
            ApiOperation::Delete(of) => Call::Delete(of.and_then(uid)),
            ApiOperation::Get => Call::Get,
            ApiOperation::List => Call::List,
            ApiOperation::Patch(given, body) => Call::Patch(patch(given, body)),
            ApiOperation::PatchApproval(given, body) => Call::PatchApproval(patch(given, body)),
            ApiOperation::PatchStatus(given, body) => Call::PatchStatus(patch(given, body)),
            ApiOperation::PatchStatusAsOther(body) => Call::PatchStatusAsOther(body),
            ApiOperation::ReplaceStatus(given, mut body) => {
                merge(&mut body, &self.head());
                Call::ReplaceStatus(patch(given, body))
            }
            ApiOperation::Watch(since) => Call::Watch(since.map(list)),
        })
    }

    /// Records the reply to the last call.
    pub fn record(&mut self, reply: &ApiReply) {
        let Some(name) = self.asked.take() else {
            return;
        };
        let answer = match reply {
            Ok(body) => Answer {
                status: 200,
                objects: self.objects(body),
            },
            Err(status) => Answer {
                status: *status,
                objects: Vec::new(),
            },
        };
        self.answers.push((name, answer));
    }

    /// Returns all answers with the names of their cases.
    pub fn answers(self) -> Vec<(&'static str, Answer)> {
        self.answers
    }

    fn object(&self, more: &Value) -> Value {
        let mut object = self.head();
        merge(&mut object, &json!({ "spec": self.subject.spec() }));
        merge(&mut object, more);
        object
    }

    /// Returns the kind and the name of the object.
    fn head(&self) -> Value {
        let namespace = self.subject.is_namespaced().then_some(&self.namespace);
        json!({
            "apiVersion": self.subject.api_version(),
            "kind": self.subject.kind(),
            "metadata": { "name": NAME, "namespace": namespace },
        })
    }

    fn objects(&mut self, body: &Value) -> Vec<String> {
        if let Value::Array(events) = body {
            let event = |event| format!("{} {}", text(event, "/type"), self.describe(&part(event, "/object")));
            return events.iter().map(event).collect();
        }
        if let Some(items) = body.get("items").and_then(Value::as_array) {
            self.lists.push(text(body, "/metadata/resourceVersion"));
            return items.iter().map(|item| self.describe(item)).collect();
        }
        if body.is_null() {
            return Vec::new();
        }
        self.states.push(State {
            uid: text(body, "/metadata/uid"),
            version: text(body, "/metadata/resourceVersion"),
        });
        vec![self.describe(body)]
    }

    /// Returns the status, without the times that an API server sets by its clock.
    fn status(&self, object: &Value) -> Value {
        let mut status = part(object, "/status");
        let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
        if self.subject == Subject::CertificateSigningRequest {
            for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
                condition.retain(|field, _| !matches!(field.as_str(), "lastTransitionTime" | "lastUpdateTime"));
            }
        }
        status
    }

    /// Returns the owners of the fields of an issuer's condition `Ready`, sorted. Of other objects the model does not know
    /// them.
    fn owners(&self, object: &Value) -> Value {
        if self.subject != Subject::Issuer {
            return Value::Null;
        }
        let entries = part(object, "/metadata/managedFields");
        let entries = entries.as_array().into_iter().flatten();
        let owned = entries.filter_map(|entry| {
            let fields: Vec<String> = managed::owned_fields(&part(entry, "/fieldsV1")).into_iter().collect();
            (!fields.is_empty()).then(|| format!("{}: {}", text(entry, "/manager"), fields.join(" ")))
        });
        let mut owned: Vec<String> = owned.collect();
        owned.sort();
        if owned.is_empty() { Value::Null } else { json!(owned) }
    }

    /// Returns the managers that have written the status of a CertificateSigningRequest, of which the model knows [`OTHER`]
    /// alone; nothing if it has no managers at all.
    fn managers(&self, object: &Value) -> Value {
        let entries = part(object, "/metadata/managedFields");
        let entries = entries.as_array().filter(|entries| !entries.is_empty());
        let Some(entries) = entries.filter(|_| self.subject == Subject::CertificateSigningRequest) else {
            return Value::Null;
        };
        let writes = |entry: &&Value| text(entry, "/manager") == OTHER && text(entry, "/subresource") == "status";
        entries.iter().filter(writes).map(|_| OTHER).collect()
    }

    /// Describes an object by the fields that the table can change.
    fn describe(&mut self, object: &Value) -> String {
        let uid = place(&mut self.uids, text(object, "/metadata/uid"));
        let version = place(&mut self.versions, text(object, "/metadata/resourceVersion"));
        let generation = part(object, "/metadata/generation");
        let mut described = format!("object {uid}, version {version}, generation {generation}");
        for (name, value) in [
            ("annotations", part(object, "/metadata/annotations")),
            ("duration", part(object, "/spec/duration")),
            ("status", self.status(object)),
            ("owners of Ready", self.owners(object)),
            ("managers", self.managers(object)),
        ] {
            if !is_empty(&value) {
                described += &format!(", {name} {value}");
            }
        }
        described
    }
}

fn pick<T>(all: &[T], which: Earlier) -> Option<&T> {
    match which {
        Earlier::First => all.first(),
        Earlier::Last => all.last(),
    }
}

/// Returns the position of a text in the order of first appearance, from 1.
fn place(known: &mut Vec<String>, text: String) -> usize {
    if let Some(place) = known.iter().position(|known| *known == text) {
        return place + 1;
    }
    known.push(text);
    known.len()
}

fn part(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_its_recorded_status() {
        for subject in Subject::ALL {
            let (answers, cases) = (expected(subject), subject.cases());
            assert_eq!(answers.len(), cases.len());
            for ((name, answer), case) in answers.iter().zip(&cases) {
                assert_eq!((*name, answer.status), (case.name, case.status), "{answer}");
            }
            let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
            assert_eq!(names.len(), cases.len());
        }
    }

    #[test]
    fn most_signers_are_unknown() {
        let answers = expected(Subject::CertificateSigningRequest);
        let managers = |name: &str| {
            let answer = answers.iter().find(|(of, _)| *of == name).unwrap().1.to_string();
            answer.split_once("managers ").map(|(_, managers)| managers.to_owned())
        };
        for (name, expected) in [
            ("another signs the unmanaged one", None),
            ("create one with an annotation", Some("[]]")),
            ("another adds a condition to the managed one", Some("[]]")),
            ("another signs the managed one", Some("[\"cert-manager-issuers\"]]")),
        ] {
            assert_eq!(managers(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn answers_distinguish_states() {
        let answers = expected(Subject::CertificateRequest);
        let answer = |name: &str| answers.iter().find(|(of, _)| *of == name).unwrap().1.to_string();
        assert_eq!(answer("read"), "200 [object 1, version 1, generation 1]");
        assert_eq!(answer("the same status"), answer("a first status"));
        assert!(answer("a status and more").starts_with("200 [object 1, version 3, generation 1, status {"));
        assert!(answer("a duration").starts_with("200 [object 1, version 8, generation 2, "));
        assert_eq!(answer("create a namesake"), "200 [object 2, version 11, generation 1]");
        assert_eq!(answer("watch from the beginning").matches(" [").count(), 15);
        assert_eq!(answer("watch from now"), "200");
    }
}
