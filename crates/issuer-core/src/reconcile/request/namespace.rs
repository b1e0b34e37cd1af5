//! Requests of cluster issuers that sign for some namespaces only.

use std::sync::Arc;

use super::{SIGN_FAILED, Step, Task};
use crate::Now;
use crate::access::ReadError;
use crate::reconcile::cause::Cause;
use crate::reconcile::ledger::Conclusion;
use crate::reconcile::outcome::{Again, Outcome};
use crate::reconcile::state::State;
use crate::reference::{IssuerKey, RequestKind};
use crate::target::{Admission, NamespaceLabels};

impl Task {
    /// Returns whether the issuer signs requests of this namespace.
    ///
    /// The labels are read for each attempt, so a label that is removed counts at once.
    pub(super) fn admission(&self, state: &State, issuer: &IssuerKey) -> Admission {
        let known = state.issuers.get(issuer);
        known.map_or(Admission::Granted, |known| match self.key.kind {
            RequestKind::CertificateRequest => known.observed.admission(&self.key.namespace, self.labels.as_ref()),
            // It has no namespace.
            RequestKind::CertificateSigningRequest if known.observed.spec.allowed_namespaces.is_some() => {
                Admission::Refused
            }
            RequestKind::CertificateSigningRequest => Admission::Granted,
        })
    }

    pub(super) fn refuse_namespace(self, state: &mut State, now: Now, issuer: &IssuerKey) -> Step {
        let namespace = &self.key.namespace;
        let lacks = if self.labels.is_some() {
            "neither name it nor select its labels"
        } else {
            "do not name it"
        };
        let message = match self.key.kind {
            RequestKind::CertificateRequest => {
                format!("{issuer} does not sign for namespace {namespace}: its allowedNamespaces {lacks}")
            }
            RequestKind::CertificateSigningRequest => {
                format!("{issuer} signs for its allowedNamespaces only, and this request has no namespace")
            }
        };
        self.conclude(state, now, Conclusion::Failed("NamespaceNotAllowed", message))
    }

    /// Continues with the labels that the namespace has now.
    pub(in crate::reconcile) fn on_namespace(
        self,
        state: &mut State,
        now: Now,
        answer: Result<NamespaceLabels, ReadError>,
    ) -> Step {
        let Some(object) = state.requests.latest(&self.key, &self.object) else {
            return self.end(state, Outcome::Idle, Again::Never);
        };
        match answer {
            Ok(labels) => {
                let labels = Some(labels);
                Self { object, labels, ..self }.decide(state, now)
            }
            Err(ReadError::Forbidden) => {
                let Some(issuer) = self.object.issuer() else {
                    return self.retry_later(state, now);
                };
                let again = state.back_off(&self.key, self.uid(), SIGN_FAILED, now);
                let namespace = Arc::clone(&self.key.namespace);
                self.pend(
                    state,
                    now,
                    Cause::NamespaceForbidden(&issuer, &namespace),
                    Again::At(again),
                )
            }
            // A namespace that is gone takes its requests along; until the watch shows that, the API server may lag.
            Err(ReadError::Invalid | ReadError::NotFound | ReadError::Unavailable) => self.retry_later(state, now),
        }
    }
}
