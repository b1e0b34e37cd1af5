use serde_json::json;

use super::{Lease, Vault, VaultError, error, login};
use crate::{Flow, Now, Operation, Reply, Step};

/// Revokes a token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Revoke(());

impl Revoke {
    /// Requests the revocation (`auth/token/revoke-self`) of a token that our own login made. A token that was given
    /// belongs to the user. One that bears leases is left to expire: with it, Vault would revoke the certificates.
    pub fn begin(vault: &Vault, lease: &Lease) -> Step<Self> {
        if !lease.is_made() || lease.bears_leases() {
            return Step::Done(Ok(()));
        }
        let request = vault.post(
            Operation::Revoke,
            "auth/token/revoke-self",
            Some(lease.token()),
            &json!({}),
        );
        Step::Send(request, Self(()))
    }
}

impl Flow for Revoke {
    type Output = Result<(), VaultError>;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        Step::Done(match reply {
            Ok(reply) if reply.status().is_success() => Ok(()),
            Ok(reply) => Err(error::refusal(now, &reply)),
            Err(error) => Err(error.into()),
        })
    }
}

/// Keeps a token alive that is not used any more but bears leases: certificates that Vault revokes when it expires.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Upkeep {
    lease: Lease,
    sent: std::time::Duration,
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
