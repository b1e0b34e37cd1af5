//! The tokens that are no longer used, until they are revoked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::State;
use crate::access::Access;
use crate::reconcile::outcome::Key;

/// Tokens to be revoked, each with a number.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Tokens {
    by_number: BTreeMap<u64, Access>,
    last: u64,
}

impl State {
    /// Keeps the token of an access, to revoke it at `at`.
    pub(in crate::reconcile) fn retire(&mut self, access: Option<Access>, at: Duration) {
        if let Some(access) = access {
            let tokens = &mut self.retired;
            tokens.last += 1;
            tokens.by_number.insert(tokens.last, access);
            let key = Key::Token(tokens.last);
            self.due(&key, at, Duration::ZERO);
        }
    }

    /// Retires the tokens of all issuers, and makes all retired tokens due.
    pub(in crate::reconcile) fn retire_all(&mut self) {
        for key in self.issuers.keys().cloned().collect::<Vec<_>>() {
            self.forget_issuer(&key);
        }
        for token in self.retired.by_number.keys().copied().collect::<Vec<_>>() {
            self.due(&Key::Token(token), Duration::ZERO, Duration::ZERO);
        }
    }

    pub(in crate::reconcile) fn retired(&self, token: u64) -> Option<&Access> {
        self.retired.by_number.get(&token)
    }

    pub(in crate::reconcile) fn forget_token(&mut self, token: u64) {
        self.retired.by_number.remove(&token);
    }

    /// Returns `true` if every retired token has been revoked.
    pub(in crate::reconcile) fn is_retired(&self) -> bool {
        self.queue.is_idle() && self.retired.by_number.is_empty()
    }
}
