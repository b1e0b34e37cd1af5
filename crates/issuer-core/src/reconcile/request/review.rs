//! Whether the requester of a Kubernetes CSR may use the issuer that it names.
//!
//! Who may create a CertificateRequest may use the issuers of its namespace. A CertificateSigningRequest has no namespace
//! and names any issuer: as cert-manager does, the controller asks the API server whether the requester may `reference` it
//! (<https://cert-manager.io/docs/usage/kube-csr/#referencing-issuers>).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use issuer_api::{CERT_MANAGER_GROUP, CertificateSigningRequestSpec, GROUP};

use super::{Step, Task};
use crate::Now;
use crate::access::ReadError;
use crate::reconcile::cause::Cause;
use crate::reconcile::ledger::Conclusion;
use crate::reconcile::observed_request::ObservedRequest;
use crate::reconcile::outcome::{Again, Outcome};
use crate::reconcile::state::State;
use crate::reference::{IssuerKey, IssuerKind};

/// The longest wait before the API server is asked again.
const REVIEW_FAILED: Duration = Duration::from_secs(60);

/// The name that stands for all issuers of a namespace.
const ALL: &str = "*";

/// A question for the API server: whether a user may `reference` an issuer
/// (a [SubjectAccessReview](https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReferenceReview {
    /// The user.
    pub requester: Requester,
    /// The API group of the resource.
    pub group: &'static str,
    /// The resource: the plural of the issuer's kind, or cert-manager's `signers`.
    pub resource: &'static str,
    /// The namespace of the issuer; empty for a cluster issuer.
    pub namespace: Arc<str>,
    /// The name of the issuer, or `*`.
    pub name: Arc<str>,
}

/// The user who has created a CertificateSigningRequest, as the API server has recorded it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requester {
    /// The name.
    pub username: String,
    /// The uid.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl From<&CertificateSigningRequestSpec> for Requester {
    fn from(spec: &CertificateSigningRequestSpec) -> Self {
        Self {
            username: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
        }
    }
}

impl ReferenceReview {
    /// Returns the first question about a request that names `issuer`; `None` if no permission is needed.
    fn of(request: &ObservedRequest, issuer: &IssuerKey) -> Option<Self> {
        let ObservedRequest::Kubernetes(request) = request else {
            return None;
        };
        let (group, resource) = match issuer.kind {
            IssuerKind::Cluster | IssuerKind::Namespaced => (GROUP, issuer.kind.plural()),
            IssuerKind::DropInNamespaced => (CERT_MANAGER_GROUP, "signers"),
            // cert-manager leaves these to the approver.
            IssuerKind::DropInCluster => return None,
        };
        Some(Self {
            requester: Requester::from(&request.spec),
            group,
            resource,
            namespace: Arc::clone(&issuer.namespace),
            name: Arc::clone(&issuer.name),
        })
    }

    /// Returns the message of a request that fails because the answer is no.
    fn refusal(&self) -> String {
        let Self {
            group,
            resource,
            namespace,
            ..
        } = self;
        let place = if namespace.is_empty() {
            String::new()
        } else {
            format!(" in namespace {namespace}")
        };
        format!(
            "The requester may not use this issuer: no role grants the verb reference on {resource}.{group}{place} with its \
             name"
        )
    }

    /// Returns the question that follows when this one was answered with no: cert-manager takes the name `*` in a role for
    /// all names, which to RBAC is a name like any other.
    fn widened(self) -> Option<Self> {
        (&*self.name != ALL).then(|| Self {
            name: ALL.into(),
            ..self
        })
    }
}

/// A request whose requester's permission is asked for.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(in crate::reconcile) struct Reviewing {
    task: Task,
    review: ReferenceReview,
}

impl Task {
    /// Returns what to ask the API server before the request is signed, if anything. The answer holds for one attempt: a
    /// permission may be taken away.
    pub(super) fn question(&self, issuer: &IssuerKey) -> Option<ReferenceReview> {
        ReferenceReview::of(&self.object, issuer).filter(|_| !self.may_reference)
    }

    pub(super) fn review(self, review: ReferenceReview) -> Step {
        let asked = review.clone();
        Step::Review(asked, Box::new(Reviewing { task: self, review }))
    }
}

impl Reviewing {
    pub(in crate::reconcile) fn resume(self, state: &mut State, now: Now, answer: Result<bool, ReadError>) -> Step {
        let Self { task, review } = self;
        let tracked = state.requests.with_uid(&task.key, task.uid());
        if tracked.is_none_or(|tracked| !tracked.is_open()) {
            // The watch has shown its end meanwhile.
            return task.end(state, Outcome::Idle, Again::Never);
        }
        match answer {
            Ok(true) => Task {
                may_reference: true,
                ..task
            }
            .decide(state, now),
            Ok(false) => {
                let message = review.refusal();
                match review.widened() {
                    Some(review) => task.review(review),
                    None => task.conclude(state, now, Conclusion::Failed("DeniedReference", message)),
                }
            }
            Err(error) => {
                let again = state.back_off(&task.key, task.uid(), REVIEW_FAILED, now);
                task.pend(state, now, Cause::ReferenceUnknown(error), Again::At(again))
            }
        }
    }
}
