//! The requests that are not finished. What is finished takes no room.

use std::sync::Arc;

use issuer_api::CertificateRequest;

use super::claim::{Holder, Seen};
use super::controller::{Controller, Lane};
use super::status::StatusPatch;
use super::{Key, request, status};
use crate::Now;
use crate::reference::{IssuerKey, RequestKey};

/// A request that is not finished.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Tracked {
    pub(super) object: Arc<CertificateRequest>,
    pub(super) issuer: IssuerKey,
    attempts: u32,
    /// Whether it waits for its issuer and nothing else.
    parked: bool,
    claim: Option<Seen>,
}

impl Controller {
    pub(super) fn observe_request(&mut self, now: Now, request: CertificateRequest) {
        let key = request::key(&request);
        let issuer = IssuerKey::of(&request.spec.issuer_ref, &key.namespace);
        let Some(issuer) = issuer.filter(|_| !status::is_terminal(&request)) else {
            self.drop_request(&key);
            self.ledger.forget(request::uid(&request));
            self.ledger.caught_up(&key);
            return;
        };
        if self.ledger.is_finished(&key, request::uid(&request)) {
            return;
        }
        self.ledger.caught_up(&key);
        let (mut attempts, mut parked, mut claim) = (0, false, None);
        match self.tracked(&key, request::uid(&request)) {
            Some(known) => (attempts, parked, claim) = (known.attempts, known.parked, known.claim.take()),
            None => self.drop_request(&key),
        }
        self.by_issuer.entry(issuer.clone()).or_default().insert(key.clone());
        // A request that waits has its own time; that its status was written changes nothing about it.
        let waits = (parked || attempts > 0) && !request.is("Denied");
        let tracked = Tracked {
            object: Arc::new(request),
            issuer: issuer.clone(),
            attempts,
            parked,
            claim,
        };
        self.requests.insert(key.clone(), tracked);
        if !waits {
            self.queue
                .push(Lane::Requests(issuer), Key::Request(key), now.monotonic);
        }
    }

    /// Returns the request of this name if it still is the one with this uid.
    fn tracked(&mut self, key: &RequestKey, uid: &str) -> Option<&mut Tracked> {
        self.requests
            .get_mut(key)
            .filter(|tracked| request::uid(&tracked.object) == uid)
    }

    pub(super) fn drop_request(&mut self, key: &RequestKey) {
        let Some(tracked) = self.requests.remove(key) else {
            return;
        };
        if let Some(by_issuer) = self.by_issuer.get_mut(&tracked.issuer) {
            by_issuer.remove(key);
            if by_issuer.is_empty() {
                self.by_issuer.remove(&tracked.issuer);
            }
        }
        self.queue.cancel(&Key::Request(key.clone()));
        self.ledger.forget(request::uid(&tracked.object));
    }

    /// Takes the request as a read has shown it. Returns the request as it counts, or `None` if the watch has shown
    /// meanwhile that it is finished or gone: the answer to a read may be older than what the watch has told.
    pub(super) fn refresh(&mut self, key: &RequestKey, read: CertificateRequest) -> Option<Arc<CertificateRequest>> {
        let tracked = self.tracked(key, request::uid(&read))?;
        if !tracked.object.is("Denied") {
            tracked.object = Arc::new(read);
        }
        Some(Arc::clone(&tracked.object))
    }

    /// A request is finished or gone: no more than its uid is kept, until the watch shows it.
    pub(super) fn finished(&mut self, key: &RequestKey, uid: &str) {
        if self.tracked(key, uid).is_some() {
            self.drop_request(key);
            self.ledger.finish(key.clone(), uid);
        }
        self.ledger.forget(uid);
    }

    /// Counts a failed attempt, and returns how many there are.
    pub(super) fn failed_attempt(&mut self, key: &RequestKey, uid: &str) -> u32 {
        let Some(tracked) = self.tracked(key, uid) else {
            return 1;
        };
        tracked.attempts = tracked.attempts.saturating_add(1);
        tracked.attempts
    }

    /// Notes whether a request waits for nothing but its issuer.
    pub(super) fn park(&mut self, key: &RequestKey, uid: &str, parked: bool) {
        if let Some(tracked) = self.tracked(key, uid) {
            tracked.parked = parked;
        }
    }

    /// Says whose the request is: ours, where nothing is claimed.
    pub(super) fn holder(&mut self, key: &RequestKey, object: &CertificateRequest, now: Now) -> Holder {
        let Some(claim) = self.config.claim.clone() else {
            return Holder::Us;
        };
        match self.tracked(key, request::uid(object)) {
            Some(tracked) => claim.holder(object, &mut tracked.claim, now),
            None => Holder::Nobody,
        }
    }

    /// Returns the write that claims the request, if it is still there to be claimed.
    pub(super) fn claim(&mut self, key: &RequestKey, object: &CertificateRequest, now: Now) -> Option<StatusPatch> {
        let (patch, seen) = self.config.claim.as_ref()?.make(object, now);
        self.tracked(key, request::uid(object))?.claim = Some(seen);
        Some(patch)
    }

    /// Makes the requests that wait for nothing but this issuer due.
    pub(super) fn wake(&mut self, issuer: &IssuerKey, now: Now) {
        let by_issuer = self.by_issuer.get(issuer).into_iter().flatten();
        for key in by_issuer {
            if let Some(tracked) = self.requests.get_mut(key).filter(|tracked| tracked.parked) {
                tracked.parked = false;
                let lane = Lane::Requests(issuer.clone());
                self.queue.push(lane, Key::Request(key.clone()), now.monotonic);
            }
        }
    }
}
