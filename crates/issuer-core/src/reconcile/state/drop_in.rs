//! What changes about cert-manager's own issuers.

use super::State;
use crate::Now;
use crate::reconcile::drop_in::{IssuerStatusMode, built_in_wrote};
use crate::reconcile::observed_request::ObservedRequest;
use crate::reconcile::outcome::Key;
use crate::reference::{IssuerKey, IssuerKind};

impl State {
    /// Notes when the first task may begin, if cert-manager's issuers are served.
    pub(in crate::reconcile) fn begin_serving(&mut self, now: Now) {
        if self.config.drop_in.is_some() {
            self.serving_since.get_or_insert(now.unix);
        }
    }

    /// Stops serving the kind of `issuer`, if it is one of cert-manager's and another controller has answered this request
    /// since the kind is served: a certificate must not be signed twice.
    pub(in crate::reconcile) fn yield_to_built_in(
        &mut self,
        request: &ObservedRequest,
        issuer: Option<&IssuerKey>,
        now: Now,
    ) {
        let Some(issuer) = issuer.filter(|issuer| issuer.kind.is_drop_in()) else {
            return;
        };
        let signs = self.issuers.get(issuer).is_some() && !self.withdrawn.contains(&issuer.kind);
        let since = self.serving_since.filter(|_| signs);
        if since.is_some_and(|since| built_in_wrote(request, since)) {
            self.withdraw(issuer.kind, now);
        }
    }

    /// Signs nothing for a kind from now on. What is signed is saved; a check of each issuer, which publishes why, becomes
    /// due.
    fn withdraw(&mut self, kind: IssuerKind, now: Now) {
        self.withdrawn.insert(kind);
        let keys: Vec<_> = self.issuers.keys().filter(|key| key.kind == kind).cloned().collect();
        for key in keys {
            let access = self.issuers.withdraw(&key);
            self.supersede(&key, access, now);
            self.sources.forget(&key);
            self.gate(&key);
            self.due(&Key::Issuer(key), now.monotonic, now.monotonic);
        }
        self.leave_requests_to_others();
    }

    /// Returns how the condition Ready of cert-manager's issuers is written; `None` for our own kinds.
    pub(in crate::reconcile) fn status_mode(&self, key: &IssuerKey) -> Option<IssuerStatusMode> {
        let mode = self.config.drop_in.as_ref().map(|drop_in| drop_in.issuer_status);
        key.kind.is_drop_in().then(|| mode.unwrap_or(IssuerStatusMode::Leave))
    }

    /// Returns the namespace of the Secrets of cert-manager's cluster issuers.
    pub(super) fn drop_in_namespace(&self) -> String {
        let drop_in = self.config.drop_in.as_ref();
        drop_in.map_or_else(String::new, |drop_in| drop_in.cluster_resource_namespace.clone())
    }
}
