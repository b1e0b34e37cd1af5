//! A login with a secret ID that Vault has refused, and how seldom it is repeated.
//!
//! Vault locks an AppRole for 15 minutes at the fifth refusal, unless 15 minutes lie between two of them, and then denies
//! the right secret ID too: <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>. So the same credentials are
//! tried twice in that time, and so is a wrong correction; other credentials are tried at once. What a locked role denies
//! does not count.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::reference::SourceRef;
use crate::vault::VaultError;

/// How many checks pass without a login after the first refusal. Checks that fail come 5, 15, 35 and 75 seconds after the
/// first, so it is repeated after a minute.
const FIRST_PAUSE: u8 = 3;

/// How many pass after each further one. By then checks come each minute, so these are a little more than 15 minutes.
const PAUSE: u8 = 16;

/// A login that Vault has refused.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedLogin {
    /// The versions of the Secrets from which it was made. Not their contents: so any change of a Secret has it repeated.
    versions: Arc<[(SourceRef, String)]>,
    /// The answer.
    error: VaultError,
    /// The checks that are to pass without a login.
    pause: u8,
}

impl Hash for RefusedLogin {
    /// Ignores the answer: nothing depends on it but a message.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.versions, self.pause).hash(state);
    }
}

impl RefusedLogin {
    /// Records a refusal after the one `before`, which may be of other credentials.
    pub(super) fn new(before: Option<&Self>, versions: Arc<[(SourceRef, String)]>, error: VaultError) -> Self {
        let is_repeated = before.is_some_and(|before| before.versions == versions);
        Self {
            versions,
            error,
            pause: if is_repeated { PAUSE } else { FIRST_PAUSE },
        }
    }

    /// Returns the earlier answer if Secrets of these versions must not be tried again yet, and counts the check.
    pub(super) fn repeat(&mut self, versions: &[(SourceRef, String)]) -> Option<VaultError> {
        if *self.versions != *versions || self.pause == 0 {
            return None;
        }
        self.pause -= 1;
        Some(self.error.clone())
    }
}
