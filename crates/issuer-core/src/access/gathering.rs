//! The Secrets of an issuer, read one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Check;
use super::{Access, CheckOutcome, Issuer, ReadError, SecretData, SecretError, Step, resolve};
use crate::Now;
use crate::reference::SecretRef;

/// A check that reads the Secrets of its issuer.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Gathering {
    purpose: Purpose,
    /// The names of the Secrets that are yet to be read.
    unread: BTreeSet<String>,
    secrets: BTreeMap<String, SecretData>,
}

/// What the Secrets are read for.
#[derive(Clone, Debug, PartialEq, Hash)]
enum Purpose {
    /// To begin the conversation with Vault.
    Begin(Box<Issuer>, Option<Box<Access>>),
    /// To log in.
    LogIn(Box<Check>),
}

impl Gathering {
    pub(super) fn to_begin(issuer: Issuer, held: Option<Access>) -> Self {
        Self::new(Purpose::Begin(Box::new(issuer), held.map(Box::new)))
    }

    pub(super) fn to_log_in(check: Check) -> Self {
        Self::new(Purpose::LogIn(Box::new(check)))
    }

    fn new(purpose: Purpose) -> Self {
        Self {
            unread: purpose.issuer().target.secrets(),
            purpose,
            secrets: BTreeMap::new(),
        }
    }

    pub(super) fn advance(mut self, now: Now) -> Step {
        let issuer = self.purpose.issuer();
        let namespace = issuer.namespace.clone();
        if let Some(name) = self.unread.pop_first() {
            let reference = SecretRef {
                namespace,
                name: name.clone(),
            };
            return Step::ReadSecret(reference, AwaitSecret { gathering: self, name });
        }
        let held = self.purpose.held().map(|access| &access.vault);
        match (
            resolve::resolve(&issuer.target, &namespace, &self.secrets, held),
            self.purpose,
        ) {
            (Ok(resolved), Purpose::Begin(issuer, held)) => {
                Check::with_secrets(*issuer, resolved, held.map(|held| *held), now)
            }
            (Ok(resolved), Purpose::LogIn(check)) => check.on_secrets(resolved, now),
            (Err(error), purpose) => purpose.fail(error, now),
        }
    }
}

impl Purpose {
    fn issuer(&self) -> &Issuer {
        match self {
            Self::Begin(issuer, _) => issuer,
            Self::LogIn(check) => check.issuer(),
        }
    }

    fn held(&self) -> Option<&Access> {
        match self {
            Self::Begin(_, held) => held.as_deref(),
            Self::LogIn(check) => check.held(),
        }
    }

    /// Ends the check, or continues without the Secrets if the API server failed to answer and the held token can be
    /// used.
    fn fail(self, error: SecretError, now: Now) -> Step {
        let transient = matches!(error, SecretError::Unavailable { .. });
        match self {
            Self::Begin(issuer, Some(held))
                // An API server that does not answer must not stop the signatures: a token at work needs no Secret.
                if transient && held.serves(&issuer.target) && held.lease.is_usable(now) =>
            {
                Check::with_held(*issuer, *held, now)
            }
            Self::Begin(_, held) => Step::Done(CheckOutcome::failed(held.map(|held| *held), error)),
            // The health is known by now, so the check goes on with the held token or ends.
            Self::LogIn(check) => check.keep_held_if(transient, error.into(), now),
        }
    }
}

/// Awaits a Secret.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitSecret {
    gathering: Gathering,
    name: String,
}

impl AwaitSecret {
    /// Resumes the check with the Secret.
    pub fn resume(self, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        let Self { mut gathering, name } = self;
        match answer {
            Ok(secret) => {
                gathering.secrets.insert(name, secret);
                gathering.advance(now)
            }
            Err(error) => {
                let namespace = gathering.purpose.issuer().namespace.clone();
                gathering.purpose.fail(SecretError::of(error, namespace, name), now)
            }
        }
    }
}
