use serde_json::json;

use super::{Lease, Vault};
use crate::{Flow, Now, Operation, Reply, Step};

/// Ends the life of a token. Whether it works out is not told: a token that Vault no longer reaches ends by itself.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Revoke(());

impl Revoke {
    /// Asks Vault to end the token's life (`auth/token/revoke-self`); does nothing if the token was given to us.
    pub fn begin(vault: &Vault, lease: &Lease) -> Step<Self> {
        if !lease.is_made() {
            return Step::Done(());
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
    type Output = ();

    fn resume(self, _: Now, _: Reply) -> Step<Self> {
        Step::Done(())
    }
}
