//! Changes of cert-manager's own issuers, and the work that follows.

use jiff::Timestamp;

use super::State;
use crate::Now;
use crate::reconcile::drop_in::{
    IssuerStatusMode, PREDECESSOR, alleged_write, has_built_in_message, is_since, shown_write,
};
use crate::reconcile::ledger::Entry;
use crate::reconcile::observed_request::ObservedRequest;
use crate::reconcile::outcome::Key;
use crate::reference::{IssuerKey, IssuerKind, RequestKey};

impl State {
    /// Notes when the first task may begin, if cert-manager's issuers are served.
    pub(in crate::reconcile) fn begin_serving(&mut self, now: Now) {
        if self.config.drop_in.is_some() {
            self.serving_since.get_or_insert(now.unix);
        }
    }

    /// Stops serving the kind of `issuer`, if it is one of cert-manager's and another controller has answered this request
    /// since the kind is served: a certificate must not be signed twice.
    ///
    /// Only the status is proof of that, since requesters cannot write it. Managed fields, which they can, count only where
    /// the status shows an answer that is not ours. So nobody stops a kind by forging them. A Kubernetes CSR mostly has none,
    /// so there such an answer is enough, once no earlier leader of this controller can have written it.
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
        let Some(since) = self.serving_since.filter(|_| signs) else {
            return;
        };
        let is_late = |write: Option<Timestamp>| write.is_some_and(|write| is_since(since, write));
        let is_of_others = is_late(alleged_write(request))
            || matches!(request, ObservedRequest::Kubernetes(_)) && now.unix > since + PREDECESSOR;
        if is_late(shown_write(request)) || is_of_others && self.shows_answer_of_others(request) {
            self.withdraw(issuer.kind, now);
        }
    }

    /// Returns `true` if a request that was open when it was last shown has an answer now that is not ours.
    fn shows_answer_of_others(&self, request: &ObservedRequest) -> bool {
        let key = request.key();
        let Some(tracked) = self.requests.with_uid(&key, request.uid()) else {
            // Finished and forgotten: it may be ours.
            return false;
        };
        if request.is_answered() {
            return match self.ledger.find(request.uid()) {
                Some(Entry::Concluded(ours)) => !ours.is_shown_by(request),
                Some(Entry::Signing) | None => true,
            };
        }
        let had_message = || {
            tracked
                .object
                .decode(&key)
                .is_some_and(|before| has_built_in_message(&before))
        };
        has_built_in_message(request) && !had_message()
    }

    /// Returns `true` if a request is left to the built-in controller, which writes its status, as its managed fields say. If
    /// that is forged, it costs the forger this request and nobody else anything.
    pub(in crate::reconcile) fn is_left_to_built_in(&self, key: &RequestKey) -> bool {
        let tracked = self.requests.get(key).filter(|tracked| {
            let issuer = tracked.issuer.as_ref();
            issuer.is_some_and(|issuer| issuer.kind.is_drop_in())
        });
        let alleged = tracked.and_then(|tracked| tracked.object.alleged_write);
        self.serving_since
            .zip(alleged)
            .is_some_and(|(since, write)| is_since(since, write))
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
