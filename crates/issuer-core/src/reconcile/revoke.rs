//! The task that revokes a token, or renews it while its certificates need it.

use std::time::Duration;

use super::outcome::{Again, Ending, Key, Outcome};
use super::state::State;
use crate::vault::{Lease, Revocation, Revoke, Upkeep, VaultError};
use crate::{Flow, Now, Reply, Request};

/// The end of one token that is no longer used: its revocation or, if certificates would be revoked with it, its renewal
/// for as long as Vault permits.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    token: u64,
    flow: Conversation,
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Conversation {
    Renewal(Upkeep),
    Revocation(Revoke),
}

/// A question of this task.
pub(super) enum Step {
    Send(Request, Task),
    Done(Outcome),
}

pub(super) fn begin(state: &mut State, now: Now, token: u64) -> Step {
    match state.retired(token) {
        Some(retired) if retired.lease.bears_leases() && !state.stopping => {
            let step = Upkeep::begin(&retired.vault, &retired.lease, now);
            renew(state, now, token, step)
        }
        Some(retired) => {
            let step = Revoke::begin(&retired.vault, &retired.lease);
            revoke(state, now, token, step)
        }
        None => end(state, token, Outcome::Idle, None),
    }
}

impl Task {
    pub(super) fn resume(self, state: &mut State, now: Now, reply: Reply) -> Step {
        let Self { token, flow } = self;
        match flow {
            Conversation::Renewal(flow) => renew(state, now, token, flow.resume(now, reply)),
            Conversation::Revocation(flow) => revoke(state, now, token, flow.resume(now, reply)),
        }
    }
}

fn renew(state: &mut State, now: Now, token: u64, step: crate::Step<Upkeep>) -> Step {
    let lease: Option<Lease> = match step {
        crate::Step::Send(request, flow) => {
            let flow = Conversation::Renewal(flow);
            return Step::Send(request, Task { token, flow });
        }
        crate::Step::Done(lease) => lease,
    };
    let lease = lease.filter(|_| !state.stopping);
    let again = lease.and_then(|lease| state.extend_token(token, lease, now));
    end(state, token, Outcome::Idle, again)
}

fn revoke(state: &mut State, now: Now, token: u64, step: crate::Step<Revoke>) -> Step {
    let revocation: Result<Revocation, VaultError> = match step {
        crate::Step::Send(request, flow) => {
            let flow = Conversation::Revocation(flow);
            return Step::Send(request, Task { token, flow });
        }
        crate::Step::Done(revocation) => revocation,
    };
    match revocation {
        Ok(Revocation::Done) => end(state, token, Outcome::Revoked, None),
        Ok(Revocation::LeftOut) => end(state, token, Outcome::Idle, None),
        // It is dead already, or its policies do not permit it to revoke itself: nothing tells these apart.
        Err(VaultError::Denied) => end(state, token, Outcome::NotRevoked(VaultError::Denied.reason()), None),
        Err(error) => {
            let again = state.revoke_again(token, error.retry_after(), now);
            end(state, token, Outcome::NotRevoked(error.reason()), again)
        }
    }
}

/// Ends the task, and forgets the token unless it is due again.
fn end(state: &mut State, token: u64, outcome: Outcome, again: Option<Duration>) -> Step {
    if again.is_none() {
        state.forget_token(token);
    }
    Step::Done(state.end(Ending::new(Key::Token(token), outcome, Again::from(again))))
}
