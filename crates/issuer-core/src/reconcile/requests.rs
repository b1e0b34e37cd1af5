//! The requests that have not finished. Nothing is kept of a request that has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use issuer_api::{Base64, CertificateRequest};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::claim::Seen;
use super::snapshot::Snapshot;
use crate::Now;
use crate::reference::{IssuerKey, RequestKey};

/// A CSR that is longer than this, in base64, is not kept but read again when the request is signed.
const CSR_KEPT: usize = 4096;

/// All requests that have not finished. Its methods schedule nothing.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Requests {
    by_key: BTreeMap<RequestKey, Tracked>,
    /// The number of requests that are open.
    open: usize,
}

/// A request that has not finished.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Tracked {
    /// The request, reduced to the fields that signing and the status need.
    pub(super) object: Snapshot,
    /// Whether its CSR is missing from `object`.
    pub(super) lacks_csr: bool,
    /// The issuer that it names; `None` if `spec.issuerRef.kind` is not a kind of this group.
    pub(super) issuer: Option<IssuerKey>,
    pub(super) claim: Option<Seen>,
    pub(super) told: Told,
    /// Failed attempts in a row, to sign or to save.
    pub(super) attempts: u32,
    /// Answers that it has cost while its issuer was well.
    pub(super) lost_answers: u32,
    /// The number of signatures of its issuer when it last lost an answer.
    pub(super) lost_at: Option<u64>,
    /// What happened instead of the last of them.
    pub(super) last_error: String,
    /// The earliest time of the next attempt to sign it.
    pub(super) not_before: Duration,
    /// Whether an event says that it waits for approval.
    pub(super) announced: bool,
}

/// What the status of a request says about why it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// Something that an earlier process wrote.
    Something,
    /// This cause, by its reason.
    Cause(&'static str),
}

impl Told {
    fn of(request: &CertificateRequest) -> Self {
        let ready = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
        if ready == Some("Pending") {
            Self::Something
        } else {
            Self::Nothing
        }
    }
}

impl Tracked {
    fn new(issuer: Option<IssuerKey>) -> Self {
        Self {
            object: Snapshot::default(),
            lacks_csr: false,
            issuer,
            claim: None,
            told: Told::Nothing,
            attempts: 0,
            lost_answers: 0,
            lost_at: None,
            last_error: String::new(),
            not_before: Duration::ZERO,
            announced: false,
        }
    }

    fn show(&mut self, object: CertificateRequest) {
        if self.told == Told::Nothing {
            self.told = Told::of(&object);
        }
        self.lacks_csr = object.spec.request.len() > CSR_KEPT;
        self.object = stripped(object, self.lacks_csr).into();
    }

    /// Forgets a wait that is over.
    pub(super) fn end_wait(&mut self, now: Now) {
        if self.not_before <= now.monotonic {
            self.not_before = Duration::ZERO;
        }
    }

    /// Returns `true` if the request may be signed as soon as its issuer can.
    pub(super) fn is_open(&self) -> bool {
        let is = |kind| self.object.is(kind);
        is("Approved") && !is("Denied") && !is("InvalidRequest")
    }
}

/// Drops what neither signing nor the status needs: tenants choose how large it is.
fn stripped(mut object: CertificateRequest, lacks_csr: bool) -> CertificateRequest {
    let meta = std::mem::take(&mut object.metadata);
    object.metadata = ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        creation_timestamp: meta.creation_timestamp,
        ..ObjectMeta::default()
    };
    if lacks_csr {
        object.spec.request = Base64::default();
    }
    if let Some(status) = &mut object.status {
        (status.certificate, status.ca) = (None, None);
    }
    object
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
        self.by_key.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &RequestKey) -> Option<&mut Tracked> {
        self.by_key.get_mut(key)
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

    /// Tracks a request; what is known about it is kept, so one with another uid must be removed before.
    pub(super) fn observe(
        &mut self,
        key: &RequestKey,
        object: CertificateRequest,
        issuer: Option<IssuerKey>,
    ) -> &mut Tracked {
        let tracked = self.by_key.entry(key.clone()).or_insert_with(|| Tracked::new(issuer));
        // The new object may be open where the old one was not, or the other way round.
        self.open -= usize::from(tracked.is_open());
        tracked.show(object);
        self.open += usize::from(tracked.is_open());
        tracked
    }

    pub(super) fn remove(&mut self, key: &RequestKey) -> Option<Tracked> {
        let tracked = self.by_key.remove(key)?;
        self.open -= usize::from(tracked.is_open());
        Some(tracked)
    }

    /// Replaces the request by the result of a read, and returns it whole. Returns `None` if a watch has shown meanwhile
    /// that it has finished or is gone.
    ///
    /// A read may be older than what the watch has shown, so it never reverts a denial.
    pub(super) fn refresh(&mut self, key: &RequestKey, read: CertificateRequest) -> Option<Snapshot> {
        let tracked = self.with_uid(key, read.uid())?;
        // Approval and denial are final, so the older answer is the one without the denial.
        if tracked.object.is("Denied") {
            return Some(tracked.object.clone());
        }
        let whole = Snapshot::from(read.clone());
        self.observe(key, read, None);
        Some(whole)
    }
}
