//! Leader election over a `coordination.k8s.io/v1` Lease, after client-go's `tools/leaderelection`.
//!
//! ```text
//!          absent ──▶ Create ─┐
//!  Read ──▶ free or expired ──▶ Update ──▶ held ──▶ Update (renew) ──▶ …
//!   ▲      held by another ─┐                 │ conflict, or no answer
//!   └──── wait, jittered ◀──┘◀────────────────┘
//! ```
//!
//! An elector never believes a time that another machine wrote: a lease has expired when it has not changed for its
//! duration as measured here. It leads from a confirmed write until the renew deadline after that write was *sent*,
//! and so stops by itself, without any answer, before another elector can take over. Its clock need only run at
//! about the same rate as the others'.
//!
//! No library serves: those for Kubernetes bring a client, a runtime and a clock of their own, so no test could explore
//! every order of their writes.

use std::mem;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::{Now, SplitMix64};

#[cfg(test)]
mod tests;

/// How long an elector leads, waits and retries; `lease > renew > 1.2 * retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew: Duration,
    retry: Duration,
}

impl Timing {
    /// Checks the relations that make the election safe, as client-go does.
    ///
    /// `lease` is how long the others wait for a renewal, in whole seconds; `renew` how long a leader goes on without
    /// one; `retry` the time between two attempts.
    ///
    /// # Errors
    ///
    /// [`TimingError`], which names the first relation that does not hold.
    pub fn new(lease: Duration, renew: Duration, retry: Duration) -> Result<Self, TimingError> {
        // The API counts in whole seconds.
        let lease = Duration::from_secs(lease.as_secs());
        if retry.is_zero() {
            return Err(TimingError::Retry);
        }
        if i32::try_from(lease.as_secs()).is_err() || lease <= renew {
            return Err(TimingError::Lease);
        }
        if renew <= stretch(retry, JITTER) {
            return Err(TimingError::Renew);
        }
        Ok(Self { lease, renew, retry })
    }

    /// Returns the time between two attempts.
    pub fn retry(self) -> Duration {
        self.retry
    }

    /// Returns how long a leader goes on without a renewal.
    pub fn renew(self) -> Duration {
        self.renew
    }
}

impl Default for Timing {
    /// Fifteen, ten and two seconds: Kubernetes' own.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            lease: seconds(15),
            renew: seconds(10),
            retry: seconds(2),
        }
    }
}

/// Why three durations do not make a safe election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimingError {
    /// The lease duration is not above the renew deadline.
    #[error("the lease duration, in whole seconds, must be greater than the renew deadline")]
    Lease,
    /// The renew deadline leaves no room for a retry.
    #[error("the renew deadline must be greater than 1.2 times the retry period")]
    Renew,
    /// The retry period is nothing.
    #[error("the retry period must be greater than zero")]
    Retry,
}

/// One candidate for the leadership that a lease stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Elector {
    identity: String,
    timing: Timing,
    random: SplitMix64,
    plan: Plan,
    /// When the plan is due.
    due: Duration,
    /// The lease as last seen, and when it was first seen so.
    seen: Option<(Lease, Duration)>,
    /// The end of our leadership unless renewed.
    held_until: Duration,
    releasing: bool,
}

/// The next action of an elector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Read the lease.
    Read,
    /// Create it.
    Create,
    /// Update it right after it was read.
    Take,
    /// Update it as we last wrote it.
    Renew,
    /// Nothing more.
    Rest,
}

/// A request of an elector to the API server, with the state that awaits the answer.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read the lease.
    Read(AwaitLease),
    /// Create this lease; its name and namespace are the driver's.
    Create(Lease, AwaitWrite),
    /// Replace the lease by this one, which carries a resourceVersion.
    Update(Lease, AwaitWrite),
    /// Poll again at this time on the monotonic clock.
    Wait(Duration),
    /// The lease is released, or was never ours; this elector does nothing more.
    Released,
}

/// Awaits the lease, or the answer that it does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitLease(());

/// Awaits the result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitWrite {
    sent: Duration,
    plan: Plan,
}

/// Why the lease could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFailed;

/// Why a write is not known to have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseWriteError {
    /// Nothing was written: the lease has changed, exists already or is gone.
    Conflict,
    /// Whether the lease was written is unknown.
    Unanswered,
}

impl Elector {
    /// Starts an elector.
    ///
    /// `identity` must differ from every other candidate's, those of earlier runs included; `seed` spreads the
    /// attempts of candidates that start together.
    pub fn new(identity: String, timing: Timing, seed: u64) -> Self {
        Self {
            identity,
            timing,
            random: SplitMix64::new(seed),
            plan: Plan::Read,
            due: Duration::ZERO,
            seen: None,
            held_until: Duration::ZERO,
            releasing: false,
        }
    }

    /// Returns `true` if this elector leads.
    ///
    /// This becomes false by itself at the renew deadline.
    pub fn is_leader(&self, now: Now) -> bool {
        now.monotonic < self.held_until
    }

    /// Returns the time on the monotonic clock at which the leadership ends unless it is renewed; zero if there is
    /// none.
    pub fn held_until(&self) -> Duration {
        self.held_until
    }

    /// Returns the holder that the lease named when last seen.
    pub fn holder(&self) -> Option<&str> {
        holder(&self.seen.as_ref()?.0)
    }

    /// Gives up the leadership from this moment on, and the lease at the next poll.
    pub fn release(&mut self) {
        self.releasing = true;
        self.held_until = Duration::ZERO;
        // The others should not have to wait for the retry period.
        self.due = Duration::ZERO;
    }

    /// Says what to do now. An answer that never comes need not be given: the next poll reads the lease again.
    pub fn poll(&mut self, now: Now) -> Step {
        // What was just read is not ours: there is nothing to give up.
        if self.releasing && matches!(self.plan, Plan::Create | Plan::Take) && !self.named() {
            self.plan = Plan::Rest;
        }
        if self.plan == Plan::Rest {
            return Step::Released;
        }
        if now.monotonic < self.due {
            return Step::Wait(self.due);
        }
        self.due = now.monotonic + self.timing.retry;
        // If no answer follows, the next poll reads: the write may have been done.
        let plan = mem::replace(&mut self.plan, Plan::Read);
        let write = AwaitWrite {
            sent: now.monotonic,
            plan,
        };
        match (plan, &self.seen) {
            (Plan::Create, _) => Step::Create(self.claim(Lease::default(), now), write),
            (Plan::Take | Plan::Renew, Some((lease, _))) => Step::Update(self.claim(lease.clone(), now), write),
            _ => Step::Read(AwaitLease(())),
        }
    }

    /// Returns `true` if the lease named this elector when last seen.
    fn named(&self) -> bool {
        self.holder() == Some(&self.identity)
    }

    /// Returns the lease as this elector wants it after `lease`.
    fn claim(&self, lease: Lease, now: Now) -> Lease {
        let ours = holder(&lease) == Some(&self.identity);
        let time = MicroTime(micros(now.unix));
        let old = lease.spec.unwrap_or_default();
        let mut spec = old.clone();
        spec.renew_time = Some(time.clone());
        if self.releasing {
            spec.holder_identity = Some(String::new());
            // As client-go releases: the others measure the duration from this write, so a long one would keep them
            // waiting.
            spec.lease_duration_seconds = Some(1);
            spec.acquire_time = Some(time);
        } else {
            spec.holder_identity = Some(self.identity.clone());
            spec.lease_duration_seconds = i32::try_from(self.timing.lease.as_secs()).ok();
            if !ours {
                spec.acquire_time = Some(time);
                // A transition is a change of the holder; a renewal is none.
                spec.lease_transitions = Some(old.lease_transitions.map_or(0, |n| n.saturating_add(1)));
            }
        }
        let metadata = ObjectMeta {
            // Omitted fields are kept by the API server; sent back, they would make every renewal as large as their
            // history.
            managed_fields: None,
            ..lease.metadata
        };
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    /// Plans by the lease just read.
    fn consider(&mut self, now: Now, lease: Option<Lease>) {
        let seen = self.seen.take();
        self.due = Duration::ZERO;
        self.plan = Plan::Create;
        if let Some(lease) = lease {
            let since = match seen {
                Some((seen, since)) if seen == lease || is_metadata_write(&seen, &lease) => since,
                _ => now.monotonic,
            };
            // By the time since the last change seen here: `renewTime` is by the holder's clock, which may be wrong.
            let free = holder(&lease).is_none() || since + duration(&lease) <= now.monotonic;
            self.seen = Some((lease, since));
            self.plan = Plan::Take;
            // A lease that names this elector is taken at once: an unanswered write of its own was done.
            if !free && !self.named() && !self.releasing {
                self.plan = Plan::Read;
                self.due = now.monotonic + self.pause();
            }
        }
        // To lead until the deadline although the lease names another would mean two leaders.
        if !self.named() {
            self.held_until = Duration::ZERO;
        }
    }

    /// Returns how long a candidate waits: the retry period and up to 1.2 times as much again, as in client-go.
    fn pause(&mut self) -> Duration {
        // A product and a shift instead of a remainder: in range, evenly spread, without floating point.
        let thousandths = ((self.random.next_u64() >> 32) * u64::from(JITTER)) >> 32;
        self.timing.retry + stretch(self.timing.retry, u32::try_from(thousandths).unwrap_or(JITTER))
    }
}

impl AwaitLease {
    /// Resumes the elector with the result of a read; `None` if the lease does not exist.
    pub fn resume(self, elector: &mut Elector, now: Now, answer: Result<Option<Lease>, ReadFailed>) {
        match answer {
            Ok(lease) => elector.consider(now, lease),
            // The leadership is not given up for that: it ends by itself at the renew deadline.
            Err(ReadFailed) => elector.due = now.monotonic + elector.timing.retry,
        }
    }
}

impl AwaitWrite {
    /// Resumes the elector with the result of a write: the lease as the API server now has it.
    pub fn resume(self, elector: &mut Elector, now: Now, answer: Result<Lease, LeaseWriteError>) {
        let timing = elector.timing;
        match answer {
            Ok(lease) => {
                elector.seen = Some((lease, now.monotonic));
                elector.plan = Plan::Renew;
                if !elector.releasing {
                    // Counted from the send: the others may have seen the write at any moment since.
                    elector.held_until = self.sent + timing.renew;
                    elector.due = self.sent + timing.retry;
                } else if elector.named() {
                    // The release was asked for while this write was under way.
                    elector.due = Duration::ZERO;
                } else {
                    elector.plan = Plan::Rest;
                }
            }
            // One read at once tells who wrote; if there was one just before, another candidate is busy.
            Err(LeaseWriteError::Conflict) if self.plan == Plan::Renew => elector.due = Duration::ZERO,
            Err(LeaseWriteError::Conflict) if !elector.releasing => {
                elector.due = now.monotonic + elector.pause();
            }
            // The write may have been done; the next poll reads the lease.
            Err(_) => elector.due = now.monotonic + timing.retry,
        }
    }
}

/// The share of the retry period by which a wait is stretched at most, in thousandths.
const JITTER: u32 = 1200;

fn stretch(duration: Duration, thousandths: u32) -> Duration {
    duration.saturating_mul(thousandths) / 1000
}

/// Returns `true` if only metadata has changed, which the holder does not write: this says nothing about the holder.
///
/// A renewal always changes the version; it changes the spec, too, unless the holder's clock stands still.
fn is_metadata_write(before: &Lease, after: &Lease) -> bool {
    let written = |lease: &Lease| ObjectMeta {
        managed_fields: None,
        resource_version: None,
        ..lease.metadata.clone()
    };
    before.spec == after.spec && written(before) != written(after)
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    // A lease without a duration, or with a negative one, keeps nobody waiting.
    Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0))
}

fn micros(unix: Duration) -> Timestamp {
    let micros = i64::try_from(unix.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}
