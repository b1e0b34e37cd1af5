//! A request that has not finished.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::claim::Seen;
use super::observed_request::ObservedRequest;
use super::snapshot::Packed;
use super::texts;
use crate::Now;
use crate::reference::{IssuerKey, RequestKey};

/// A CSR that is longer than this, in base64, is not kept but read again when the request is signed.
pub(super) const CSR_KEPT: usize = 4096;

/// A request that has not finished.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Tracked {
    /// The request, reduced to the fields that signing and the status need.
    pub(super) object: Arc<Packed>,
    /// Whether its CSR is missing from `object`.
    pub(super) lacks_csr: bool,
    /// The issuer that it names; `None` if it cannot name one.
    pub(super) issuer: Option<IssuerKey>,
    /// Its requester, if that is not its namespace.
    pub(super) requester: Option<Arc<str>>,
    pub(super) claim: Option<Seen>,
    pub(super) reported: Reported,
    /// Failed attempts in a row, to sign or to save.
    pub(super) attempts: u32,
    /// The lost answers that are its own fault: its issuer passed the check after each.
    pub(super) lost_answers: u32,
    /// The number of signatures of its issuer when it last lost an answer.
    pub(super) lost_at: Option<u64>,
    /// The error of the last lost answer.
    pub(super) last_error: String,
    /// The earliest time of the next attempt to sign it.
    pub(super) not_before: Duration,
    /// Whether an event says that it waits for approval.
    pub(super) announced: bool,
    /// The annotations of a Kubernetes CSR when it was first shown as approved.
    approved: Option<BTreeMap<String, String>>,
}

/// Whether the status of a request says why it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Reported {
    /// Not at all.
    #[default]
    No,
    /// By an earlier process, with some cause.
    Before,
    /// With this cause, by its reason.
    Cause(&'static str),
}

impl Reported {
    fn of(request: &ObservedRequest) -> Self {
        let ready = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
        if ready == Some("Pending") {
            Self::Before
        } else {
            Self::No
        }
    }
}

impl Tracked {
    pub(super) fn new(issuer: Option<IssuerKey>) -> Self {
        Self {
            object: Arc::default(),
            lacks_csr: false,
            issuer,
            requester: None,
            claim: None,
            reported: Reported::No,
            attempts: 0,
            lost_answers: 0,
            lost_at: None,
            last_error: String::new(),
            not_before: Duration::ZERO,
            announced: false,
            approved: None,
        }
    }

    pub(super) fn show(&mut self, mut object: ObservedRequest, has_room: bool) {
        texts::cut(&mut object);
        self.keep_annotations(&mut object);
        if self.reported == Reported::No {
            self.reported = Reported::of(&object);
        }
        self.lacks_csr = !has_room || object.csr().len() > CSR_KEPT;
        if self.lacks_csr {
            object.drop_csr();
        }
        self.object = Arc::new(Packed::new(&object));
    }

    /// Returns the size of a request that is kept whole.
    pub(super) fn whole(&self) -> usize {
        if self.lacks_csr { 0 } else { self.object.size() }
    }

    /// Gives a Kubernetes CSR the annotations that it had when it was first shown as approved: what they ask for is what the
    /// approver has seen, though the requester may be able to change them.
    pub(super) fn keep_annotations(&mut self, object: &mut ObservedRequest) {
        let is_approved = object.is("Approved");
        let ObservedRequest::Kubernetes(csr) = object else {
            return;
        };
        match &self.approved {
            Some(approved) => csr.metadata.annotations = Some(approved.clone()),
            None if is_approved => self.approved = Some(csr.metadata.annotations.clone().unwrap_or_default()),
            None => {}
        }
    }

    /// Forgets a wait that is over.
    pub(super) fn end_wait(&mut self, now: Now) {
        if self.not_before <= now.monotonic {
            self.not_before = Duration::ZERO;
        }
    }

    /// Returns its requester, whose turns and room it takes, given its key.
    pub(super) fn requester(&self, key: &RequestKey) -> Arc<str> {
        self.requester.clone().unwrap_or_else(|| Arc::clone(&key.namespace))
    }

    /// Returns `true` if the request may be signed as soon as its issuer can.
    pub(super) fn is_open(&self) -> bool {
        let Packed {
            is_approved,
            is_denied,
            is_invalid,
            ..
        } = *self.object;
        is_approved && !is_denied && !is_invalid
    }
}
