//! A process: the production controller with its steps in flight, its watches and its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fake_kube::{Kind, Object, PerKind};
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{Controller, Key, ObservedRequest, Step, WriteError};
use issuer_core::reference::RequestKey;
use issuer_core::target::NamespaceLabels;
use issuer_core::{Reply, Secret};

use crate::clock::Clock;
use crate::digest::{Digest, EPOCH};
use crate::fixture::{self, IssuerId};

/// How long a stopping process waits until its certificates are saved (L9). Shorter than the driver's 35 seconds, so that the
/// promise is checked with less time than there is.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long it then waits until its tokens are revoked. Equal to the driver's.
pub const REVOKE: Duration = Duration::from_secs(10);

/// The driver's timeout for each answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer that takes longer excuses a process that stops with unsaved certificates.
pub(crate) const PROMPT: Duration = Duration::from_millis(500);

/// How far clocks may differ. A write of the built-in controller that is dated up to this long after the start of a process
/// may have happened before it was switched off.
const CLOCK_SKEW: Duration = Duration::from_secs(6);

/// How long after the start of a process an answer to a Kubernetes CSR may be of an earlier process, if no managed fields
/// name the writer.
const PREDECESSOR: Duration = Duration::from_secs(60);

/// An answer in flight.
#[derive(Clone)]
pub(crate) enum Answer {
    Namespace(Result<NamespaceLabels, ReadError>),
    Published,
    Reply(Arrival),
    Request(Result<ObservedRequest, ReadError>),
    Reviewed(Result<bool, ReadError>),
    Secret(Result<SecretData, ReadError>),
    Token(Result<Secret, ReadError>),
    Written(Result<(), WriteError>),
}

impl fmt::Debug for Answer {
    /// Omits the contents, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace(_) => "Namespace",
            Self::Published => "Published",
            Self::Reply(_) => "Reply",
            Self::Request(_) => "Request",
            Self::Reviewed(_) => "Reviewed",
            Self::Secret(_) => "Secret",
            Self::Token(_) => "Token",
            Self::Written(_) => "Written",
        })
    }
}

impl Hash for Answer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Published => 0_u8.hash(state),
            Self::Reply(arrival) => {
                let status = arrival.reply.as_ref().map(|reply| reply.status().as_u16());
                (1_u8, status.map_err(|error| *error)).hash(state);
                (arrival.tag, arrival.lost, arrival.wrong).hash(state);
            }
            // Versions stand for contents.
            Self::Request(answer) => {
                let answer = answer.as_ref().map(|request| (request.uid(), request.version()));
                (2_u8, answer).hash(state);
            }
            Self::Secret(answer) => {
                let answer = answer.as_ref().map(|secret| &secret.resource_version);
                (3_u8, answer).hash(state);
            }
            Self::Token(answer) => (4_u8, answer).hash(state),
            Self::Written(answer) => (5_u8, answer).hash(state),
            Self::Namespace(answer) => (6_u8, answer).hash(state),
            Self::Reviewed(answer) => (7_u8, answer).hash(state),
        }
    }
}

/// A reply of Vault in flight.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) reply: Reply,
    /// Distinguishes replies with the same status.
    pub(crate) tag: u64,
    /// Whether a certificate or token was created that the reply does not contain.
    pub(crate) lost: bool,
    /// Whether it contains a certificate that does not match the request.
    pub(crate) wrong: bool,
    /// The number of the token that it grants.
    pub(crate) grants: Option<u32>,
}

/// A step in flight.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) step: Arc<Step>,
    /// When it was sent and when its task began, by the clock of the world.
    pub(crate) sent: Duration,
    pub(crate) begun: Duration,
    pub(crate) answer: Option<Answer>,
    /// Whether timers may fire before it is answered.
    pub(crate) slow: bool,
}

impl InFlight {
    fn digest(&self, state: &mut Digest<'_>) {
        match &*self.step {
            Step::Exchange(request, waits) => (0_u8, request.operation, waits).hash(state),
            Step::MintToken(_, waits) => (1_u8, waits).hash(state),
            Step::Publish(_, waits) => (2_u8, waits).hash(state),
            Step::ReadRequest(_, waits) => (3_u8, waits).hash(state),
            Step::ReadSecret(_, waits) => (4_u8, waits).hash(state),
            Step::WriteStatus(_, waits) => (5_u8, waits).hash(state),
            Step::Done(outcome) => (6_u8, outcome).hash(state),
            Step::ReadConfigMap(_, waits) => (7_u8, waits).hash(state),
            Step::ReadNamespace(_, waits) => (8_u8, waits).hash(state),
            Step::ReviewReference(_, waits) => (9_u8, waits).hash(state),
        }
        self.answer.hash(state);
    }
}

/// The phase of the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It saves its certificates, until this time at most.
    Draining(Duration),
    /// It has ended.
    Ended,
    /// It revokes its tokens, until this time at most.
    Revoking(Duration),
    /// It works normally.
    Working,
}

/// A running process.
#[derive(Clone, Debug)]
pub struct Process {
    pub(crate) controller: Controller,
    pub(crate) in_flight: BTreeMap<Key, InFlight>,
    pub(crate) clock: Clock,
    pub(crate) phase: Phase,
    /// The revision up to which each watch has delivered.
    pub(crate) cursors: PerKind<u64>,
    /// The newest version of each request that it has seen in a watch or a read.
    pub(crate) views: Arc<BTreeMap<RequestKey, Arc<Object>>>,
    /// Every server that it has seen in the spec of an issuer.
    pub(crate) servers: BTreeSet<(IssuerId, usize)>,
    /// The uid and the generation of each issuer that it has seen last.
    pub(crate) specs: BTreeMap<IssuerId, (String, Option<i64>)>,
    /// The numbers of the tokens that it received.
    pub(crate) tokens: BTreeSet<u32>,
    /// Whether a status write failed or an answer was slow.
    pub(crate) hindered: bool,
    /// When it began to serve cert-manager's issuers; `None` if it does not.
    pub(crate) serving_since: Option<Duration>,
    /// Whether it has seen that the built-in controller signs for them too.
    pub(crate) saw_built_in: bool,
}

impl Process {
    pub(crate) fn new(controller: Controller, clock: Clock) -> Self {
        Self {
            controller,
            in_flight: BTreeMap::new(),
            clock,
            phase: Phase::Working,
            cursors: PerKind::default(),
            views: Arc::default(),
            servers: BTreeSet::new(),
            specs: BTreeMap::new(),
            tokens: BTreeSet::new(),
            hindered: false,
            serving_since: None,
            saw_built_in: false,
        }
    }

    pub(crate) fn cursor(&self, kind: Kind) -> u64 {
        *self.cursors.get(kind)
    }

    pub(crate) fn set_cursor(&mut self, kind: Kind, revision: u64) {
        *self.cursors.get_mut(kind) = revision;
    }

    /// Returns the time of its next timer, by the clock of the world.
    pub(crate) fn due(&self) -> Option<Duration> {
        let next = self.controller.next_due().map(|due| self.clock.when(due));
        match self.phase {
            Phase::Ended | Phase::Working => next,
            Phase::Draining(end) | Phase::Revoking(end) => Some(next.map_or(end, |next| next.min(end))),
        }
    }

    /// Returns the time of its next timer or answer timeout, by the clock of the world.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let slow = self.in_flight.values().filter(|flight| flight.slow);
        self.due()
            .into_iter()
            .chain(slow.map(|flight| flight.sent + ANSWER_TIMEOUT))
            .min()
    }

    /// Returns the position of a step whose answer has timed out.
    pub(crate) fn timed_out(&self, now: Duration) -> Option<u8> {
        let mut in_flight = (0..).zip(self.in_flight.values());
        let late = in_flight.find(|(_, flight)| flight.slow && flight.sent + ANSWER_TIMEOUT <= now);
        late.map(|(at, _)| at)
    }

    /// Returns the numbers of the tokens that it may hold, including those in flight.
    pub(crate) fn held(&self) -> impl Iterator<Item = u32> {
        let coming = self.in_flight.values().filter_map(|flight| match &flight.answer {
            Some(Answer::Reply(arrival)) => arrival.grants,
            _ => None,
        });
        self.tokens.iter().copied().chain(coming)
    }

    /// Records a version of a request that it sees.
    pub(crate) fn view(&mut self, object: &Arc<Object>, now: Duration) {
        let Key::Request(key) = object.key() else {
            return;
        };
        let serving = self.serving_since;
        self.saw_built_in |= serving.is_some_and(|since| self.shows_built_in(&key, object, (since, now)));
        let newer = self.views.get(&key).is_none_or(|seen| writes(seen) <= writes(object));
        if newer {
            Arc::make_mut(&mut self.views).insert(key, Arc::clone(object));
        }
    }

    /// Returns `true` if a version of a request, which it sees `now`, shows that the built-in controller signs too.
    ///
    /// Of a Kubernetes CSR, a failure in the words of that controller does. Another answer must appear on one that was open,
    /// and be of that controller by the managed fields or, since there mostly are none, be seen late enough.
    fn shows_built_in(&self, key: &RequestKey, object: &Object, (since, now): (Duration, Duration)) -> bool {
        let is_late = |write: Option<Duration>| write.is_some_and(|at| at > since + CLOCK_SKEW);
        let write = fixture::built_in_write(object);
        let Object::Csr(csr) = object else {
            return is_late(write);
        };
        let unix = |at| self.clock.now(at).unix;
        let is_seen_late = unix(now) > unix(since) + PREDECESSOR;
        let seen = self.views.get(key).filter(|seen| seen.uid() == object.uid());
        let was_open = seen.is_some_and(|seen| matches!(&**seen, Object::Csr(seen) if !seen.is_terminal()));
        let appears = was_open && fixture::is_answered_by_built_in(csr);
        is_late(fixture::built_in_failure(csr)) || appears && (is_late(write) || is_seen_late)
    }

    /// Adds the state to a digest of the world at `now`.
    pub(crate) fn digest(&self, now: Duration, history: (&[u32], &[u64]), state: &mut Digest<'_>) {
        let mut own = Digest::new(self.clock.now(now).monotonic).within(history);
        self.controller.hash(&mut own);
        own.value().hash(state);
        match self.phase {
            Phase::Ended | Phase::Working => 0_u8.hash(state),
            Phase::Draining(end) => (1_u8, EPOCH + end).hash(state),
            Phase::Revoking(end) => (2_u8, EPOCH + end).hash(state),
        }
        for (key, flight) in &self.in_flight {
            key.hash(state);
            // Times in the continuation are by the process's own clock.
            let mut own = Digest::new(self.clock.now(now).monotonic).within(history);
            flight.digest(&mut own);
            own.value().hash(state);
            flight.slow.hash(state);
            if flight.slow {
                (EPOCH + flight.sent).hash(state);
            }
        }
        for view in self.views.values() {
            (view.uid(), view.version()).hash(state);
        }
        (&self.tokens, &self.servers).hash(state);
        if let Some(since) = self.serving_since {
            (EPOCH + since, self.saw_built_in).hash(state);
        }
    }
}

/// Returns the number of writes in a version, which orders the versions of one name.
pub(crate) fn writes(object: &Object) -> u64 {
    let count = object.version().split('.').nth(1);
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}
