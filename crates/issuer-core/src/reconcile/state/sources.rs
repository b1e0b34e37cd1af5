//! Changes of Secrets and ConfigMaps, and the work that follows.

use super::State;
use crate::Now;
use crate::access::{Access, ReadError};
use crate::reconcile::sources::{Next, SourceEvent};
use crate::reference::{IssuerKey, SourceRef};

impl State {
    /// Takes the next Secret or ConfigMap that is to be watched. A state that is stopping has none.
    pub(in crate::reconcile) fn next_watch(&mut self, now: Now) -> Option<SourceRef> {
        if self.stopping { None } else { self.sources.begin(now) }
    }

    /// Records what a watch shows; returns `true` if it goes on. Takes time for each issuer that uses the object.
    pub(in crate::reconcile) fn observe_source(
        &mut self,
        source: &SourceRef,
        now: Now,
        answer: Result<SourceEvent, ReadError>,
    ) -> bool {
        let next = self.sources.note(source, now, answer);
        if next == Next::Changed && !self.stopping {
            for issuer in self.sources.users(source) {
                if self.is_outdated(&issuer, source) {
                    self.check_now(&issuer, now);
                }
            }
        }
        next != Next::Close && !self.stopping
    }

    /// Returns `true` if an issuer has no access, or one that was made from another version of the object.
    fn is_outdated(&self, issuer: &IssuerKey, source: &SourceRef) -> bool {
        let access = self.issuers.get(issuer).and_then(|issuer| issuer.access.as_ref());
        let version = self.sources.version(source);
        access.and_then(|access| access.version(source)) != version
    }

    /// Compares an access with what watches show, so that its next check reads the Secrets if they have changed.
    pub(in crate::reconcile) fn compare(&self, access: &mut Access) {
        access.compare(|source| self.sources.version(source));
    }
}
