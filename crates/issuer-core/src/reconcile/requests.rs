//! The requests that have not finished. Nothing is kept of a request that has.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::observed_request::ObservedRequest;
use super::recovery::Recovery;
use super::snapshot::Snapshot;
use super::tally::Tally;
use super::texts;
use super::tracked::Tracked;
use crate::reference::{IssuerKey, ListScope, RequestKey, RequestKind};

/// The room for all requests that are kept whole, in bytes. While it is taken up, the CSRs of further ones are not kept
/// either: what waits behind thousands of others takes little memory, and is read again when its turn comes.
const ROOM: usize = 8 << 20;

/// How much of it one requester may take up: the crowd of one must not cost a read for each request of the others.
const REQUESTER_ROOM: usize = ROOM / 4;

/// All requests that have not finished. Its methods schedule nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Requests {
    by_key: BTreeMap<RequestKey, Box<Tracked>>,
    /// The number of requests that are open.
    open: usize,
    /// The size of those that are kept whole, in bytes, by requester.
    sizes: Tally<Arc<str>>,
}

impl Hash for Requests {
    /// Hashes the requests, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.by_key.hash(state);
    }
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Returns the number of requests that may be signed as soon as their issuers can.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn get(&self, key: &RequestKey) -> Option<&Tracked> {
        self.by_key.get(key).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, key: &RequestKey) -> Option<&mut Tracked> {
        self.by_key.get_mut(key).map(Box::as_mut)
    }

    /// Returns the requests that follow a key, or all.
    pub(super) fn after(&self, last: Option<&RequestKey>) -> impl Iterator<Item = (&RequestKey, &Tracked)> {
        let first = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.by_key.range::<RequestKey, _>((first, Bound::Unbounded));
        rest.map(|(key, tracked)| (key, tracked.as_ref()))
    }

    /// Returns the names of the requests that are `wanted`.
    pub(super) fn keys_of(&self, wanted: impl Fn(&Tracked) -> bool) -> Vec<RequestKey> {
        let wanted = self.by_key.iter().filter(|(_, tracked)| wanted(tracked));
        wanted.map(|(key, _)| key.clone()).collect()
    }

    /// Returns the names of the requests that are `wanted`, of those that may name an issuer: of one in a namespace, those of
    /// that namespace and those that have none. So the cost of deleting many issuers depends on the requests of their own
    /// namespace, and on all Kubernetes CSRs.
    pub(super) fn keys_near(&self, issuer: &IssuerKey, wanted: impl Fn(&Tracked) -> bool) -> Vec<RequestKey> {
        let first = |kind, namespace: &str| RequestKey {
            kind,
            namespace: namespace.into(),
            name: Arc::default(),
        };
        let near = RequestKind::ALL.into_iter().flat_map(|kind| {
            let namespace = match kind {
                RequestKind::CertificateRequest => &*issuer.namespace,
                RequestKind::CertificateSigningRequest => "",
            };
            let is_near =
                move |key: &RequestKey| key.kind == kind && (issuer.kind.is_cluster() || *key.namespace == *namespace);
            let range = self.by_key.range(first(kind, namespace)..);
            range.take_while(move |(key, _)| is_near(key))
        });
        let wanted = near.filter(|(_, tracked)| wanted(tracked));
        wanted.map(|(key, _)| key.clone()).collect()
    }

    /// Returns the request of this name if it still has this uid.
    pub(super) fn with_uid(&self, key: &RequestKey, uid: &str) -> Option<&Tracked> {
        self.get(key).filter(|tracked| tracked.object.uid() == uid)
    }

    /// Returns the request of this name, to change it, if it still has this uid.
    pub(super) fn with_uid_mut(&mut self, key: &RequestKey, uid: &str) -> Option<&mut Tracked> {
        self.get_mut(key).filter(|tracked| tracked.object.uid() == uid)
    }

    /// Returns the requests of a kind that a complete list covers and does not contain.
    pub(super) fn unlisted(
        &self,
        kind: RequestKind,
        scope: &ListScope,
        listed: &BTreeSet<RequestKey>,
    ) -> Vec<RequestKey> {
        // One pass over both, which are sorted: there may be tens of thousands.
        let mut listed = listed.iter().peekable();
        let mut is_listed = |key: &RequestKey| {
            while listed.next_if(|listed| *listed < key).is_some() {}
            listed.peek() == Some(&key)
        };
        let is_covered = |key: &&RequestKey| key.kind == kind && scope.covers(&key.namespace);
        let unlisted = self.by_key.keys().filter(is_covered).filter(|key| !is_listed(key));
        unlisted.cloned().collect()
    }

    /// Ends the backoff of a request, which was for a state of its issuer that is over.
    pub(super) fn recover(&mut self, key: &RequestKey, recovery: Recovery) {
        if let Some(tracked) = self.get_mut(key) {
            (tracked.attempts, tracked.not_before) = (0, Duration::ZERO);
            if recovery != Recovery::Recovered {
                (tracked.lost_answers, tracked.lost_at) = (0, None);
            }
        }
    }

    /// Tracks a request; what is known about it is kept, so one with another uid must be removed before.
    pub(super) fn observe(
        &mut self,
        key: &RequestKey,
        object: ObservedRequest,
        issuer: Option<IssuerKey>,
    ) -> &mut Tracked {
        let tracked = self.by_key.entry(key.clone());
        let tracked = tracked.or_insert_with(|| Box::new(Tracked::new(issuer)));
        if tracked.requester.is_none() {
            tracked.requester = object.requester().map(Arc::from);
        }
        // The new object may be open where the old one was not, or the other way round.
        self.open -= usize::from(tracked.is_open());
        let requester = tracked.requester(key);
        self.sizes.subtract(&requester, tracked.whole());
        let has_room = self.sizes.all() < ROOM && self.sizes.get(&requester) < REQUESTER_ROOM;
        tracked.show(object, has_room);
        self.sizes.add(requester, tracked.whole());
        self.open += usize::from(tracked.is_open());
        tracked
    }

    pub(super) fn remove(&mut self, key: &RequestKey) -> Option<Box<Tracked>> {
        let tracked = self.by_key.remove(key)?;
        self.open -= usize::from(tracked.is_open());
        self.sizes.subtract(&tracked.requester(key), tracked.whole());
        Some(tracked)
    }

    /// Returns the request that a task holds, or the denial that a watch has shown meanwhile. Returns `None` if the
    /// request has finished or is gone.
    pub(super) fn latest(&self, key: &RequestKey, held: &Snapshot) -> Option<Snapshot> {
        let tracked = self.with_uid(key, held.uid())?;
        if tracked.object.is_denied {
            tracked.object.decode(key)
        } else {
            Some(held.clone())
        }
    }

    /// Replaces the request by the result of a read, and returns it whole. Returns `None` if a watch has shown meanwhile
    /// that it has finished or is gone.
    ///
    /// A read may be older than what the watch has shown, so it never reverts a denial.
    pub(super) fn refresh(&mut self, key: &RequestKey, mut read: ObservedRequest) -> Option<Snapshot> {
        let tracked = self.with_uid_mut(key, read.uid())?;
        // Approval and denial are final, so the older answer is the one without the denial.
        if tracked.object.is_denied {
            return tracked.object.decode(key);
        }
        texts::cut(&mut read);
        tracked.keep_annotations(&mut read);
        let whole = Snapshot::from(read.clone());
        self.observe(key, read, None);
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use issuer_api::{Base64, CertificateRequest, CertificateSigningRequest};
    use serde_json::{Value, json};

    use super::*;
    use crate::digest::digest;
    use crate::fixture::at;
    use crate::reconcile::tracked::CSR_KEPT;
    use crate::reference::IssuerKind;

    #[test]
    fn requests_near_an_issuer() {
        let mut requests = Requests::default();
        for (kind, namespace) in [
            (RequestKind::CertificateRequest, "a"),
            (RequestKind::CertificateRequest, "team"),
            (RequestKind::CertificateRequest, "team-b"),
            (RequestKind::CertificateSigningRequest, ""),
        ] {
            let key = RequestKey {
                kind,
                namespace: namespace.into(),
                name: "web".into(),
            };
            requests.observe(&key, CertificateRequest::default().into(), None);
        }
        for (kind, namespace, near) in [
            (IssuerKind::DropInNamespaced, "team", &["team", ""][..]),
            (IssuerKind::DropInNamespaced, "z", &[""]),
            (IssuerKind::DropInCluster, "", &["a", "team", "team-b", ""]),
        ] {
            let issuer = IssuerKey {
                kind,
                namespace: namespace.into(),
                name: "vault".into(),
            };
            let seen = std::cell::Cell::new(0);
            let keys = requests.keys_near(&issuer, |_| {
                seen.set(seen.get() + 1);
                true
            });
            let namespaces: Vec<_> = keys.iter().map(|key| &*key.namespace).collect();
            assert_eq!((namespaces, seen.get()), (near.to_vec(), near.len()));
        }
    }

    #[test]
    fn requests_missing_from_a_list_are_found() {
        let key = |namespace: &str, name: &str| RequestKey {
            kind: RequestKind::CertificateRequest,
            namespace: namespace.into(),
            name: name.into(),
        };
        let mut requests = Requests::default();
        for (namespace, name) in [
            ("other", "a"),
            ("team", "a"),
            ("team", "b"),
            ("team", "c"),
            ("team", "d"),
        ] {
            requests.observe(&key(namespace, name), CertificateRequest::default().into(), None);
        }
        let listed = ["0", "b", "bb", "d"].map(|name| key("team", name)).into();
        let unlisted = |kind, scope| requests.unlisted(kind, &scope, &listed);
        let [a, c] = ["a", "c"].map(|name| key("team", name));
        let team = || ListScope::Namespace("team".to_owned());
        assert_eq!(
            unlisted(RequestKind::CertificateRequest, team()),
            [a.clone(), c.clone()]
        );
        assert_eq!(unlisted(RequestKind::CertificateSigningRequest, team()), []);
        assert_eq!(
            unlisted(RequestKind::CertificateRequest, ListScope::Cluster),
            [key("other", "a"), a, c]
        );
    }

    #[test]
    fn open_requests_are_counted_once() {
        let request = |conditions: Value| -> ObservedRequest {
            let status = json!({ "conditions": conditions });
            let request = CertificateRequest {
                status: serde_json::from_value(status).unwrap(),
                ..CertificateRequest::default()
            };
            request.into()
        };
        let approved = json!({ "type": "Approved", "status": "True" });
        let denied = json!({ "type": "Denied", "status": "True" });
        let key = request(json!([])).key();
        let mut requests = Requests::default();
        for (conditions, open) in [
            (json!([]), 0),
            (json!([approved]), 1),
            (json!([approved]), 1),
            (json!([approved, denied]), 0),
            (json!([approved]), 1),
        ] {
            requests.observe(&key, request(conditions), None);
            assert_eq!(requests.open(), open);
        }
        requests.remove(&key);
        assert_eq!(requests.open(), 0);
    }

    #[test]
    fn annotations_of_the_approval_are_kept() {
        let csr = |annotations: Value, conditions: Value| {
            let csr = json!({
                "metadata": { "name": "web", "uid": "u", "annotations": annotations },
                "spec": { "request": "", "signerName": "" },
                "status": { "conditions": conditions },
            });
            let csr: CertificateSigningRequest = serde_json::from_value(csr).unwrap();
            ObservedRequest::from(csr)
        };
        let duration = CertificateSigningRequest::DURATION;
        let seen = [
            (json!({ duration: "1h" }), Some("1h")),
            (json!({}), None),
            (json!(null), None),
        ];
        for (annotations, expected) in seen {
            let greedy = json!({ duration: "9000h", CertificateSigningRequest::IS_CA: "true" });
            let approved = json!([{ "type": "Approved", "status": "True" }]);
            let mut requests = Requests::default();
            let object = csr(greedy.clone(), json!([]));
            let key = object.key();
            requests.observe(&key, object, None);
            requests.observe(&key, csr(annotations, approved.clone()), None);
            requests.observe(&key, csr(greedy.clone(), approved.clone()), None);
            let waiting = requests.get(&key).unwrap().object.decode(&key).unwrap();
            assert_eq!((waiting.duration().as_deref(), waiting.is_ca()), (expected, false));
            let read = requests.refresh(&key, csr(greedy, approved)).unwrap();
            assert_eq!((read.duration().as_deref(), read.is_ca()), (expected, false));
        }
    }

    #[test]
    fn hash_depends_on_the_requests() {
        let of = |name: &str| {
            let mut requests = Requests::default();
            let object = CertificateRequest::default();
            let key = RequestKey {
                kind: RequestKind::CertificateRequest,
                namespace: "team".into(),
                name: name.into(),
            };
            requests.observe(&key, object.into(), None);
            digest(&requests)
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }

    #[test]
    fn wait_ends_when_it_is_over() {
        let mut requests = Requests::default();
        let object = ObservedRequest::from(CertificateRequest::default());
        let tracked = requests.observe(&object.key(), object, None);
        tracked.not_before = at(9).monotonic;
        tracked.end_wait(at(8));
        assert_eq!(tracked.not_before, at(9).monotonic);
        // A request that waits no more is equal to one that never waited.
        tracked.end_wait(at(9));
        assert_eq!(tracked.not_before, Duration::ZERO);
    }

    #[test]
    fn long_csrs_are_read_again() {
        for (length, lacks_csr) in [(CSR_KEPT / 4 * 3, false), (CSR_KEPT / 4 * 3 + 1, true)] {
            let mut object = CertificateRequest::default();
            object.spec.request = Base64::encode(vec![0; length]);
            let object = ObservedRequest::from(object);
            let tracked = Requests::default().observe(&object.key(), object, None).lacks_csr;
            assert_eq!(tracked, lacks_csr, "{length}");
        }
    }

    #[test]
    fn csrs_behind_a_backlog_are_not_kept() {
        const COUNT: usize = 4000;
        let mut requests = Requests::default();
        let mut object = CertificateRequest::default();
        object.spec.request = Base64::encode(vec![0; 3000]);
        let object = ObservedRequest::from(object);
        let keys = (0..COUNT).map(|number| RequestKey {
            kind: RequestKind::CertificateRequest,
            namespace: "team".into(),
            name: format!("web-{number}").into(),
        });
        let keys: Vec<_> = keys.collect();
        for key in &keys {
            requests.observe(key, object.clone(), None);
        }
        let lacks = |key| requests.get(key).unwrap().lacks_csr;
        assert!(!lacks(&keys[0]) && lacks(&keys[COUNT - 1]));
        let size: usize = requests.after(None).map(|(_, tracked)| tracked.object.size()).sum();
        assert!(size <= REQUESTER_ROOM + CSR_KEPT + COUNT * 200, "{size}");

        // The crowd of one requester takes no room of another.
        let other = RequestKey {
            namespace: "other".into(),
            ..keys[0].clone()
        };
        assert!(!requests.observe(&other, object.clone(), None).lacks_csr);
        requests.remove(&other).unwrap();

        // What is shown again once there is room is kept.
        for key in &keys[..COUNT - 1] {
            requests.remove(key).unwrap();
        }
        assert!(!requests.observe(&keys[COUNT - 1], object, None).lacks_csr);
        requests.remove(&keys[COUNT - 1]).unwrap();
        assert_eq!(requests, Requests::default());
    }
}
