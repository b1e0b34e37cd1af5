//! A process: the production controller, its questions on their way, its watches and its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fake_kube::{Kind, Object};
use issuer_api::CertificateRequest;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{Controller, Key, Step, WriteError};
use issuer_core::reference::RequestKey;
use issuer_core::{Now, Reply, Secret};

use crate::digest::{Digest, EPOCH};
use crate::fixture::IssuerId;
use crate::vault::UNIX;

/// How long a stopping process waits for its certificates to be saved, and then for its tokens to be revoked, as the
/// driver does.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long a driver waits for any answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An answer that takes longer hinders a process that has to be done with something.
pub(crate) const PROMPT: Duration = Duration::from_millis(500);

/// A process's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// How far the monotonic clock is ahead of the world's.
    pub monotonic: Duration,
    /// How far the wall clock is ahead of the world's, in seconds.
    pub unix: i64,
    /// How much faster it runs, in thousandths.
    pub rate: i32,
}

impl Clock {
    /// Returns the time that it shows.
    pub fn now(self, world: Duration) -> Now {
        let unix = (UNIX + world).as_secs().saturating_add_signed(self.unix);
        Now {
            monotonic: EPOCH + self.monotonic + self.scaled(world),
            unix: Duration::from_secs(unix),
        }
    }

    fn scaled(self, world: Duration) -> Duration {
        let nanos = i128::try_from(world.as_nanos()).unwrap_or(i128::MAX);
        let nanos = nanos + nanos * i128::from(self.rate) / 1000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the world's time at which it shows this moment.
    pub fn when(self, monotonic: Duration) -> Duration {
        let shown = monotonic.saturating_sub(EPOCH + self.monotonic);
        if self.rate == 0 {
            return shown;
        }
        let nanos = i128::try_from(shown.as_nanos()).unwrap_or(i128::MAX);
        let nanos = nanos * 1000 / (1000 + i128::from(self.rate)) + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// An answer on its way.
#[derive(Clone)]
pub(crate) enum Answer {
    Published,
    Reply(Arrival),
    Request(Result<CertificateRequest, ReadError>),
    Secret(Result<SecretData, ReadError>),
    Token(Result<Secret, ReadError>),
    Written(Result<(), WriteError>),
}

impl fmt::Debug for Answer {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "Published",
            Self::Reply(_) => "Reply",
            Self::Request(_) => "Request",
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
            Self::Request(answer) => (2_u8, answer).hash(state),
            Self::Secret(answer) => (3_u8, answer).hash(state),
            Self::Token(answer) => (4_u8, answer).hash(state),
            Self::Written(answer) => (5_u8, answer).hash(state),
        }
    }
}

/// A reply of Vault on its way.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) reply: Reply,
    /// Tells replies of one status apart.
    pub(crate) tag: u64,
    /// Whether a certificate or token was made that it tells nothing of.
    pub(crate) lost: bool,
    /// Whether it holds another certificate than was asked for.
    pub(crate) wrong: bool,
    /// The token that it grants.
    pub(crate) grants: Option<u32>,
}

/// A question on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) step: Arc<Step>,
    /// When it was asked, and when its task began, by the world's clock.
    pub(crate) sent: Duration,
    pub(crate) begun: Duration,
    pub(crate) answer: Option<Answer>,
    /// Whether timers may run out before it is answered.
    pub(crate) slow: bool,
}

impl Flight {
    fn digest(&self, state: &mut Digest<'_>) {
        match &*self.step {
            Step::Exchange(request, waits) => (0_u8, request.operation, waits).hash(state),
            Step::MintToken(_, waits) => (1_u8, waits).hash(state),
            Step::Publish(_, waits) => (2_u8, waits).hash(state),
            Step::ReadRequest(_, waits) => (3_u8, waits).hash(state),
            Step::ReadSecret(_, waits) => (4_u8, waits).hash(state),
            Step::WriteStatus(_, waits) => (5_u8, waits).hash(state),
            Step::Done(outcome) => (6_u8, outcome).hash(state),
        }
        self.answer.hash(state);
    }
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// It saves what is signed, until this time at the latest.
    Draining(Duration),
    /// It has done all that it could.
    Ended,
    /// It revokes its tokens, until this time at the latest.
    Revoking(Duration),
    /// It works.
    Working,
}

/// A process that runs.
#[derive(Clone, Debug)]
pub struct Process {
    pub(crate) controller: Controller,
    pub(crate) flights: BTreeMap<Key, Flight>,
    pub(crate) clock: Clock,
    pub(crate) stage: Stage,
    /// The revision up to which each watch has told.
    pub(crate) cursors: [u64; 3],
    /// The newest version of each request that it has been shown, by a watch or a read.
    pub(crate) views: Arc<BTreeMap<RequestKey, Arc<Object>>>,
    /// Every server that an issuer has been shown to be at.
    pub(crate) servers: BTreeSet<(IssuerId, usize)>,
    /// The numbers of the tokens that it was given.
    pub(crate) tokens: BTreeSet<u32>,
    /// Whether the API server has not taken a status of it, or an answer was slow.
    pub(crate) hindered: bool,
}

impl Process {
    pub(crate) fn new(controller: Controller, clock: Clock) -> Self {
        Self {
            controller,
            flights: BTreeMap::new(),
            clock,
            stage: Stage::Working,
            cursors: [0; 3],
            views: Arc::default(),
            servers: BTreeSet::new(),
            tokens: BTreeSet::new(),
            hindered: false,
        }
    }

    pub(crate) fn cursor(&self, kind: Kind) -> u64 {
        let [issuers, cluster_issuers, requests] = self.cursors;
        match kind {
            Kind::Issuers => issuers,
            Kind::ClusterIssuers => cluster_issuers,
            Kind::Requests => requests,
        }
    }

    pub(crate) fn set_cursor(&mut self, kind: Kind, revision: u64) {
        let [issuers, cluster_issuers, requests] = &mut self.cursors;
        *match kind {
            Kind::Issuers => issuers,
            Kind::ClusterIssuers => cluster_issuers,
            Kind::Requests => requests,
        } = revision;
    }

    /// Returns the world's time at which it has something to do if nothing happens.
    pub(crate) fn due(&self) -> Option<Duration> {
        let next = self.controller.next_due().map(|due| self.clock.when(due));
        match self.stage {
            Stage::Ended | Stage::Working => next,
            Stage::Draining(end) | Stage::Revoking(end) => Some(next.map_or(end, |next| next.min(end))),
        }
    }

    /// Returns when it has something to do if nothing happens, or gives up a question whose answer is slow.
    pub(crate) fn wakes(&self) -> Option<Duration> {
        let slow = self.flights.values().filter(|flight| flight.slow);
        self.due()
            .into_iter()
            .chain(slow.map(|flight| flight.sent + PATIENCE))
            .min()
    }

    /// Returns the place of a question that it gives up now.
    pub(crate) fn given_up(&self, now: Duration) -> Option<u8> {
        let mut flights = (0..).zip(self.flights.values());
        let late = flights.find(|(_, flight)| flight.slow && flight.sent + PATIENCE <= now);
        late.map(|(at, _)| at)
    }

    /// Returns the numbers of the tokens that it may hold, or that are on their way to it.
    pub(crate) fn held(&self) -> impl Iterator<Item = u32> {
        let coming = self.flights.values().filter_map(|flight| match &flight.answer {
            Some(Answer::Reply(arrival)) => arrival.grants,
            _ => None,
        });
        self.tokens.iter().copied().chain(coming)
    }

    /// Takes in the newest version of a request that it is shown.
    pub(crate) fn view(&mut self, object: &Arc<Object>) {
        let Key::Request(key) = object.key() else {
            return;
        };
        let newer = self.views.get(&key).is_none_or(|seen| writes(seen) <= writes(object));
        if newer {
            Arc::make_mut(&mut self.views).insert(key, Arc::clone(object));
        }
    }

    /// Writes it into a digest of a world at `now`.
    pub(crate) fn digest(&self, now: Duration, history: (&[u32], &[u64]), state: &mut Digest<'_>) {
        let mut own = Digest::new(self.clock.now(now).monotonic).within(history);
        self.controller.hash(&mut own);
        own.value().hash(state);
        match self.stage {
            Stage::Ended | Stage::Working => 0_u8.hash(state),
            Stage::Draining(end) => (1_u8, EPOCH + end).hash(state),
            Stage::Revoking(end) => (2_u8, EPOCH + end).hash(state),
        }
        for (key, flight) in &self.flights {
            key.hash(state);
            // Times in what waits are by the process's own clock.
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
    }
}

/// Returns how often the object of this name had been written when it was so.
pub(crate) fn writes(object: &Object) -> u64 {
    let count = object.version().split('.').nth(1);
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}
