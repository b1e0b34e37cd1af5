//! The revocation of tokens, and the renewal of tokens that bear leases.

use std::time::Duration;

use serde_json::json;

use super::{Lease, Vault, VaultError, error, login};
use crate::{Flow, Now, Operation, Reply, Step};

/// The longest time that a revocation may take: a process that stops has only seconds for the tokens of all.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Revokes a token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Revoke(());

/// The result of a revocation that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Vault has revoked the token.
    Done,
    /// Nothing was sent: the token is not ours to revoke, or bears leases.
    LeftOut,
}

impl Revoke {
    /// Requests the revocation (`auth/token/revoke-self`) of a token that our own login made. A token that was given
    /// belongs to the user. One that bears leases is left to expire: with it, Vault would revoke the certificates.
    pub fn begin(vault: &Vault, lease: &Lease) -> Step<Self> {
        if !lease.is_made() || lease.bears_leases() {
            return Step::Done(Ok(Revocation::LeftOut));
        }
        let mut request = vault.post(
            Operation::Revoke,
            "auth/token/revoke-self",
            Some(lease.token()),
            &json!({}),
        );
        request.timeout = request.timeout.min(TIMEOUT);
        Step::Send(request, Self(()))
    }
}

impl Flow for Revoke {
    type Output = Result<Revocation, VaultError>;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        Step::Done(match reply {
            Ok(reply) if reply.status().is_success() => Ok(Revocation::Done),
            Ok(reply) => Err(error::refusal(now, &reply)),
            Err(error) => Err(error.into()),
        })
    }
}

/// Keeps a token alive that is not used any more but bears leases: certificates that Vault revokes when it expires.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Upkeep {
    lease: Lease,
    sent: Duration,
}

impl Upkeep {
    /// Renews the token if it is due. The output is the lease to keep, or `None` if Vault does not extend it any more.
    pub fn begin(vault: &Vault, lease: &Lease, now: Now) -> Step<Self> {
        if !lease.is_renewable() || !lease.is_usable(now) {
            return Step::Done(None);
        }
        if !lease.is_due(now) {
            return Step::Done(Some(lease.clone()));
        }
        let upkeep = Self {
            lease: lease.clone(),
            sent: now.monotonic,
        };
        Step::Send(login::renewal(vault, lease), upkeep)
    }
}

impl Flow for Upkeep {
    type Output = Option<Lease>;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        let lease = self.lease.clone();
        Step::Done(match login::read_renewal(now, self.sent, self.lease, reply) {
            Ok(renewed) => Some(renewed),
            Err(VaultError::Denied | VaultError::Refused { .. }) => None,
            // A lost reply: it is tried again until the token has expired.
            Err(_) => Some(lease),
        })
    }
}
