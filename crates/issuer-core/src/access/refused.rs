//! A login with a secret ID that Vault has refused, and how seldom it is repeated.
//!
//! Vault locks an AppRole for 15 minutes at the fifth refusal, unless 15 minutes lie between two of them, and then denies
//! the right secret ID too: <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>. So the same credentials are
//! tried twice in that time, and so is a wrong correction; other credentials are tried at once. What a locked role denies
//! does not count.

use std::hash::{Hash, Hasher};

use crate::reference::SourceRef;
use crate::vault::VaultError;

/// How many checks pass without a login after the first refusal, and after each further one. Checks that fail come 5, 15, 35
/// and 75 seconds after the first, and then each minute: so it is repeated after a minute, and then after a little more than
/// 15 minutes.
const PAUSES: [u8; 2] = [3, 16];

/// A login that Vault has refused.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedLogin {
    /// The versions of the Secrets from which it was made. Not their contents: so any change of a Secret has it repeated.
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
