use super::outcome::{Again, Ending, Key, Outcome};
use super::state::State;
use crate::vault::{Lease, Revoke, Upkeep};
use crate::{Flow, Now, Reply, Request};

/// The end of one token that is no longer used: its revocation or, if certificates would be revoked with it, its renewal
/// for as long as Vault permits.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    token: u64,
    flow: Ended,
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Ended {
    Renews(Upkeep),
    Revokes(Revoke),
}

/// A question of this task.
pub(super) enum Step {
    Send(Request, Task),
    Done(Outcome),
}

pub(super) fn begin(state: &mut State, now: Now, token: u64) -> Step {
    match state.retired(token) {
        Some(access) if access.lease.bears_leases() && !state.stopping => {
            let step = Upkeep::begin(&access.vault, &access.lease, now);
            renew(state, now, token, step)
        }
        Some(access) => {
            let step = Revoke::begin(&access.vault, &access.lease);
            revoke(state, now, token, step)
        }
        None => end(state, token),
    }
}

impl Task {
    pub(super) fn resume(self, state: &mut State, now: Now, reply: Reply) -> Step {
        let Self { token, flow } = self;
        match flow {
            Ended::Renews(flow) => renew(state, now, token, flow.resume(now, reply)),
            Ended::Revokes(flow) => revoke(state, now, token, flow.resume(now, reply)),
        }
    }
}

fn renew(state: &mut State, now: Now, token: u64, step: crate::Step<Upkeep>) -> Step {
    let lease: Option<Lease> = match step {
        crate::Step::Send(request, flow) => {
            let flow = Ended::Renews(flow);
            return Step::Send(request, Task { token, flow });
        }
        crate::Step::Done(lease) => lease,
    };
    let next = lease.as_ref().and_then(|lease| lease.next_refresh(now));
    match (lease, next) {
        (Some(lease), Some(at)) if !state.stopping => {
            state.extend_token(token, lease);
            Step::Done(state.end(Ending::new(Key::Token(token), Outcome::Idle, Some(at))))
        }
        _ => end(state, token),
    }
}

fn revoke(state: &mut State, now: Now, token: u64, step: crate::Step<Revoke>) -> Step {
    let again = match step {
        crate::Step::Send(request, flow) => {
            let flow = Ended::Revokes(flow);
            return Step::Send(request, Task { token, flow });
        }
        crate::Step::Done(Err(error)) if error.is_transient() => state.revoke_again(token, error.retry_after(), now),
        crate::Step::Done(_) => None,
    };
    match again {
        Some(at) => Step::Done(state.end(Ending::new(Key::Token(token), Outcome::Idle, Some(at)))),
        None => end(state, token),
    }
}

fn end(state: &mut State, token: u64) -> Step {
    state.forget_token(token);
    Step::Done(state.end(Ending::new(Key::Token(token), Outcome::Revoked, Again::Never)))
}
