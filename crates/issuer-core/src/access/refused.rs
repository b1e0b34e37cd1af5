//! A login with an AppRole that Vault has refused, and how seldom it is repeated.
//!
//! Vault locks an AppRole for 15 minutes at the fifth refusal, unless 15 minutes lie between two of them, and then refuses
//! the right secret ID too: <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>. So the same credentials are
//! tried three times in that time, which leaves two refusals for corrections; other credentials are tried at once.

use std::hash::{Hash, Hasher};

use crate::reference::SourceRef;
use crate::vault::VaultError;

/// How many checks pass without a login after the first refusal, the second, and each further one. Failed checks are up to
/// a minute apart, so these are some seconds, some minutes, for a role that is made after its issuer, and a little more than
/// 15 minutes.
const PAUSES: [u8; 3] = [0, 5, 16];

/// A login that Vault has refused.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedLogin {
    /// The versions of the Secrets from which it was made.
    versions: Vec<(SourceRef, String)>,
    /// The answer.
    error: VaultError,
    /// The refusals so far, up to the number of pauses.
    refusals: usize,
    /// The checks that are to pass without a login.
    pause: u8,
}

impl Hash for RefusedLogin {
    /// Ignores the answer: nothing depends on it but a message.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.versions, self.refusals, self.pause).hash(state);
    }
}

impl RefusedLogin {
    /// Records a refusal, after those `before` of the same credentials.
    pub(super) fn new(before: Option<&Self>, versions: Vec<(SourceRef, String)>, error: VaultError) -> Self {
        let before = before.filter(|before| before.versions == versions);
        let refusals = before.map_or(0, |before| before.refusals) + 1;
        let pause = PAUSES.get(refusals - 1).or(PAUSES.last()).copied().unwrap_or_default();
        Self {
            versions,
            error,
            refusals: refusals.min(PAUSES.len()),
            pause,
        }
    }

    /// Returns the earlier answer if Secrets of these versions must not be tried again yet, and counts the check.
    pub(super) fn repeat(&mut self, versions: &[(SourceRef, String)]) -> Option<VaultError> {
        if self.versions != versions || self.pause == 0 {
            return None;
        }
        self.pause -= 1;
        Some(self.error.clone())
    }
}
