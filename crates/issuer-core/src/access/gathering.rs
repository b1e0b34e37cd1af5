//! The Secrets and the ConfigMap of an issuer, read one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Check;
use super::{Access, CheckOutcome, CheckedIssuer, ReadError, SecretData, SecretError, Step, resolve};
use crate::Now;
use crate::reference::{ConfigMapRef, SecretRef, SourceRef};

/// A check that reads the Secrets and the ConfigMap of its issuer.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Gathering {
    purpose: ReadPurpose,
    /// The objects that are yet to be read.
    unread: BTreeSet<SourceRef>,
    sources: BTreeMap<SourceRef, SecretData>,
}

/// Why the Secrets are read.
#[derive(Clone, Debug, PartialEq, Hash)]
enum ReadPurpose {
    /// To begin the conversation with Vault.
    Begin(Box<CheckedIssuer>, Option<Box<Access>>),
    /// To log in.
    LogIn(Box<Check>),
}

impl Gathering {
    pub(super) fn to_begin(issuer: CheckedIssuer, held: Option<Access>) -> Self {
        Self::new(ReadPurpose::Begin(Box::new(issuer), held.map(Box::new)))
    }

    pub(super) fn to_log_in(check: Check) -> Self {
        Self::new(ReadPurpose::LogIn(Box::new(check)))
    }

    fn new(purpose: ReadPurpose) -> Self {
        Self {
            unread: purpose.issuer().sources(),
            purpose,
            sources: BTreeMap::new(),
        }
    }

    pub(super) fn advance(mut self, now: Now) -> Step {
        match self.unread.pop_first() {
            Some(SourceRef::ConfigMap(config_map)) => {
                let question = config_map.clone();
                let waits = AwaitConfigMap {
                    gathering: self,
                    config_map,
                };
                return Step::ReadConfigMap(question, waits);
            }
            Some(SourceRef::Secret(secret)) => {
                let question = secret.clone();
                let waits = AwaitSecret {
                    gathering: self,
                    secret,
                };
                return Step::ReadSecret(question, waits);
            }
            None => {}
        }
        let issuer = self.purpose.issuer();
        let held = self.purpose.held().map(|access| &access.vault);
        match (
            resolve::resolve(&issuer.target, &issuer.namespace, &self.sources, held),
            self.purpose,
        ) {
            (Ok(resolved), ReadPurpose::Begin(issuer, held)) => {
                Check::with_secrets(*issuer, resolved, held.map(|held| *held), now)
            }
            (Ok(resolved), ReadPurpose::LogIn(check)) => check.on_secrets(resolved, now),
            (Err(error), purpose) => purpose.fail(error, now),
        }
    }

    fn on_read(mut self, source: SourceRef, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        match answer {
            Ok(mut data) => {
                // Other keys are not needed: they are not kept, and a change of one has no effect.
                let CheckedIssuer { target, room, .. } = self.purpose.issuer();
                data.data.retain(|key, _| target.needs(&source, key));
                let size = self
                    .sources
                    .values()
                    .chain([&data])
                    .map(SecretData::size)
                    .sum::<usize>();
                if size > room.0 {
                    return self.purpose.fail(SecretError::Quota { object: source }, now);
                }
                self.sources.insert(source, data);
                self.advance(now)
            }
            Err(error) => self.purpose.fail(SecretError::of(error, source), now),
        }
    }
}

impl ReadPurpose {
    fn issuer(&self) -> &CheckedIssuer {
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
            Self::Begin(issuer, held) => Step::Done(CheckOutcome {
                refused: issuer.refused,
                ..CheckOutcome::failed(held.map(|held| *held), error)
            }),
            // The health is known by now, so the check goes on with the held token or ends.
            Self::LogIn(check) => check.keep_held(error.into(), now),
        }
    }
}

/// Awaits a ConfigMap.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitConfigMap {
    gathering: Gathering,
    config_map: ConfigMapRef,
}

impl AwaitConfigMap {
    /// Resumes the check with the ConfigMap.
    pub fn resume(self, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        self.gathering
            .on_read(SourceRef::ConfigMap(self.config_map), now, answer)
    }
}

/// Awaits a Secret.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitSecret {
    gathering: Gathering,
    secret: SecretRef,
}

impl AwaitSecret {
    /// Resumes the check with the Secret.
    pub fn resume(self, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        self.gathering.on_read(SourceRef::Secret(self.secret), now, answer)
    }
}
