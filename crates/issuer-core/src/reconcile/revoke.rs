use super::outcome::{Again, Ending, Key, Outcome};
use super::state::State;
use crate::vault::Revoke;
use crate::{Flow, Now, Reply, Request};

/// The revocation of one token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    token: u64,
    flow: Revoke,
}

/// A question of this task.
pub(super) enum Step {
    Send(Request, Task),
    Done(Outcome),
}

pub(super) fn begin(state: &mut State, token: u64) -> Step {
    match state.retired(token) {
        Some(access) => advance(state, token, Revoke::begin(&access.vault, &access.lease)),
        None => end(state, token),
    }
}

impl Task {
    pub(super) fn resume(self, state: &mut State, now: Now, reply: Reply) -> Step {
        let Self { token, flow } = self;
        advance(state, token, flow.resume(now, reply))
    }
}

fn advance(state: &mut State, token: u64, step: crate::Step<Revoke>) -> Step {
    match step {
        crate::Step::Send(request, flow) => Step::Send(request, Task { token, flow }),
        crate::Step::Done(()) => end(state, token),
    }
}

fn end(state: &mut State, token: u64) -> Step {
    state.forget_token(token);
    Step::Done(state.end(Ending::new(Key::Token(token), Outcome::Revoked, Again::Never)))
}
