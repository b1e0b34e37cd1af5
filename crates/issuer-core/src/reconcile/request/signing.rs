//! A signature under way.

use std::time::Duration;

use super::{Step, Task};
use crate::reconcile::issuer::Epoch;
use crate::reconcile::ledger::Conclusion;
use crate::reconcile::outcome::{Again, Outcome};
use crate::reconcile::state::State;
use crate::reference::IssuerKey;
use crate::vault::{Lease, Sign, SignError};
use crate::{Flow, Now, Reply, Request, Verified};

/// A request whose certificate is being signed, and the conversation with Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(in crate::reconcile) struct Signing {
    context: Context,
    flow: Sign,
}

/// The request that is signed, and the issuer that signs it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Context {
    pub(super) task: Task,
    pub(super) issuer: IssuerKey,
    pub(super) epoch: Epoch,
    /// The token that signs.
    pub(super) lease: Lease,
    /// How long the signature may take.
    pub(super) timeout: Duration,
}

impl Signing {
    pub(in crate::reconcile) fn resume(self, state: &mut State, now: Now, reply: Reply) -> Step {
        let step = self.flow.resume(now, reply);
        self.context.advance(state, now, step)
    }
}

impl Context {
    pub(super) fn advance(self, state: &mut State, now: Now, step: crate::Step<Sign>) -> Step {
        match step {
            crate::Step::Send(request, flow) => {
                let timeout = self.timeout;
                Step::Send(
                    Request { timeout, ..request },
                    Box::new(Signing { context: self, flow }),
                )
            }
            crate::Step::Done(result) => self.on_signed(state, now, result),
        }
    }

    fn on_signed(self, state: &mut State, now: Now, result: Result<Verified, SignError>) -> Step {
        let Self {
            task,
            issuer,
            epoch,
            lease,
            timeout: _,
        } = self;
        if let Ok(verified) = &result {
            state.signed(&task.key, &issuer, (&lease, verified.chain()), now);
            state.known.extend(verified.known());
        }
        if state.ledger.find(task.uid()).is_none() {
            // The request was deleted meanwhile; nobody wants its certificate.
            return task.end(state, Outcome::Idle, Again::Never);
        }
        match result {
            Ok(verified) => task.conclude(state, now, Conclusion::Issued(verified)),
            Err(error) => {
                state.forget_result(task.uid());
                task.on_sign_failed(state, now, (&issuer, epoch), &error)
            }
        }
    }
}
