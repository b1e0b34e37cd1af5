//! The requests that have not finished. Nothing is kept of a request that has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use issuer_api::CertificateRequest;

use super::claim::Seen;
use crate::reference::{IssuerKey, RequestKey};

/// All requests that have not finished. Its methods schedule nothing.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Requests {
    by_key: BTreeMap<RequestKey, Tracked>,
    by_issuer: BTreeMap<IssuerKey, BTreeSet<RequestKey>>,
}

/// A request that has not finished.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Tracked {
    pub(super) object: Arc<CertificateRequest>,
    pub(super) issuer: IssuerKey,
    pub(super) claim: Option<Seen>,
    /// Failed attempts in a row, to sign or to save.
    pub(super) attempts: u32,
    /// Whether it waits for its issuer and for nothing else.
    pub(super) waits_for_issuer: bool,
}

impl Tracked {
    /// Returns `true` if a watch event about it changes nothing: it waits for its issuer or for its next attempt.
    pub(super) fn waits(&self) -> bool {
        (self.waits_for_issuer || self.attempts > 0) && !self.object.is("Denied")
    }
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, key: &RequestKey) -> Option<&Tracked> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RequestKey, &Tracked)> {
        self.by_key.iter()
    }

    /// Returns the request of this name if it still has this uid.
    pub(super) fn with_uid(&mut self, key: &RequestKey, uid: &str) -> Option<&mut Tracked> {
        self.by_key.get_mut(key).filter(|tracked| tracked.object.uid() == uid)
    }

    /// Returns the requests that a complete list does not contain.
    pub(super) fn unlisted(&self, listed: &BTreeSet<RequestKey>) -> Vec<RequestKey> {
        self.by_key
            .keys()
            .filter(|key| !listed.contains(key))
            .cloned()
            .collect()
    }

    /// Tracks a request; what is known about it is kept if it still has the same uid.
    pub(super) fn observe(&mut self, key: &RequestKey, object: CertificateRequest, issuer: IssuerKey) -> &Tracked {
        let by_issuer = &mut self.by_issuer;
        let tracked = self.by_key.entry(key.clone()).or_insert_with(|| {
            by_issuer.entry(issuer.clone()).or_default().insert(key.clone());
            Tracked {
                object: Arc::default(),
                issuer,
                claim: None,
                attempts: 0,
                waits_for_issuer: false,
            }
        });
        tracked.object = Arc::new(object);
        tracked
    }

    pub(super) fn remove(&mut self, key: &RequestKey) -> Option<Tracked> {
        let tracked = self.by_key.remove(key)?;
        if let Some(by_issuer) = self.by_issuer.get_mut(&tracked.issuer) {
            by_issuer.remove(key);
            if by_issuer.is_empty() {
                self.by_issuer.remove(&tracked.issuer);
            }
        }
        Some(tracked)
    }

    /// Replaces the request by the result of a read. Returns `None` if a watch has shown meanwhile that it has finished
    /// or is gone.
    ///
    /// A read may be older than what the watch has shown, so it never reverts a denial.
    pub(super) fn refresh(&mut self, key: &RequestKey, read: CertificateRequest) -> Option<Arc<CertificateRequest>> {
        let tracked = self.with_uid(key, read.uid())?;
        if !tracked.object.is("Denied") {
            tracked.object = Arc::new(read);
        }
        Some(Arc::clone(&tracked.object))
    }

    /// Takes the requests that wait for nothing but this issuer.
    pub(super) fn take_waiting(&mut self, issuer: &IssuerKey) -> Vec<RequestKey> {
        let by_key = &mut self.by_key;
        let of_issuer = self.by_issuer.get(issuer).into_iter().flatten();
        of_issuer
            .filter(|key| {
                by_key
                    .get_mut(key)
                    .is_some_and(|tracked| std::mem::take(&mut tracked.waits_for_issuer))
            })
            .cloned()
            .collect()
    }
}
