//! One issuer's access to Vault: from a spec, through its Secrets, to a token that may sign.
//!
//! An [`Access`] is shared by all requests of the issuer. Only [`begin`] and what follows from it ever logs in or
//! renews, so there is one token, and a thousand requests cost one login.

mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

pub use resolve::SecretError;

use crate::reference::{SecretRef, TokenSpec};
use crate::target::{Method, SignPath, SpecError, Target};
use crate::vault::{AwaitJwt, Check, CheckError, CheckInput, Checked, Lease, Vault};
use crate::{Flow, Now, Reply, Request, Secret};

/// What a Secret holds.
#[derive(Clone, PartialEq)]
pub struct SecretData {
    /// Its `metadata.resourceVersion`, by which a change is noticed.
    pub resource_version: String,
    /// Its keys.
    pub data: BTreeMap<String, Secret>,
}

impl std::fmt::Debug for SecretData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretData({})", self.resource_version)
    }
}

impl Hash for SecretData {
    /// The version stands for all of it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.resource_version.hash(state);
    }
}

/// Why a Kubernetes object could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadError {
    /// The controller may not have it.
    Forbidden,
    /// There is none.
    NotFound,
    /// The API server did not say.
    Unavailable,
}

/// What an issuer has to sign with.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Access {
    /// The way to Vault.
    pub vault: Vault,
    /// Where to sign.
    pub path: SignPath,
    /// The token.
    pub lease: Lease,
    /// What the token was made from; when it changes, another takes its place.
    basis: Inputs,
}

/// The spec and the versions of the Secrets that an access was made from.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Inputs {
    target: Target,
    versions: BTreeMap<String, String>,
}

/// Why an issuer is not ready.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Vault would not sign.
    #[error("{0}")]
    Check(#[from] CheckError),
    /// A Secret is missing or holds the wrong thing.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The spec cannot be used.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// The service account's token could not be requested.
    #[error("{}", token_message(.account, .namespace, *.error))]
    Token {
        /// The service account.
        account: String,
        /// Its namespace.
        namespace: String,
        /// Why.
        error: ReadError,
    },
}

fn token_message(account: &str, namespace: &str, error: ReadError) -> String {
    match error {
        ReadError::Forbidden => format!(
            "the controller may not request tokens for ServiceAccount {namespace}/{account}: {}",
            resolve::grant(namespace)
        ),
        ReadError::NotFound => format!("ServiceAccount {namespace}/{account} does not exist"),
        ReadError::Unavailable => {
            format!("a token for ServiceAccount {namespace}/{account} could not be requested; it is tried again")
        }
    }
}

impl AccessError {
    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Check(error) => error.reason(),
            Self::Secret(error) => error.reason(),
            Self::Spec(_) => "InvalidSpec",
            Self::Token {
                error: ReadError::Forbidden,
                ..
            } => "TokenForbidden",
            Self::Token {
                error: ReadError::NotFound,
                ..
            } => "ServiceAccountNotFound",
            Self::Token {
                error: ReadError::Unavailable,
                ..
            } => "TokenUnavailable",
        }
    }

    /// Tells whether the server itself is out.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Check(error) if error.is_outage())
    }

    /// Returns how long Vault asks to wait at the least.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Check(error) => error.retry_after(),
            Self::Secret(_) | Self::Spec(_) | Self::Token { .. } => None,
        }
    }
}

/// A question, and the state that awaits its answer.
#[must_use]
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this request to Vault.
    Exchange(Request, AwaitReply),
    /// Request this token of a service account.
    MintToken(TokenSpec, AwaitToken),
    /// Read this Secret.
    ReadSecret(SecretRef, AwaitSecret),
    /// It is over.
    Done(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The access to hold on to, good or not.
    pub access: Option<Access>,
    /// The access that another has taken the place of: its token is to be revoked when nobody uses it any more.
    pub superseded: Option<Access>,
    /// Whether certificates can be signed with it.
    pub verdict: Result<(), AccessError>,
}

impl Outcome {
    /// It failed before anything could be asked of Vault.
    pub(crate) fn failed(access: Option<Access>, error: impl Into<AccessError>) -> Self {
        Self {
            access,
            superseded: None,
            verdict: Err(error.into()),
        }
    }
}

/// Begins to make sure that the issuer can sign. `namespace` is where its Secrets and service accounts are; `held` is
/// the access that an earlier run left.
pub fn begin(target: Target, namespace: &str, held: Option<Access>, now: Now) -> Step {
    let wanted = target.secrets();
    let context = Context {
        target,
        namespace: namespace.to_owned(),
        held,
    };
    gather(context, wanted, BTreeMap::new(), now)
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Context {
    target: Target,
    namespace: String,
    held: Option<Access>,
}

impl Context {
    fn fail(self, error: impl Into<AccessError>) -> Step {
        Step::Done(Outcome::failed(self.held, error))
    }
}

fn gather(context: Context, mut wanted: BTreeSet<String>, secrets: BTreeMap<String, SecretData>, now: Now) -> Step {
    let Some(name) = wanted.pop_first() else {
        return check(context, &secrets, now);
    };
    let reference = SecretRef {
        namespace: context.namespace.clone(),
        name: name.clone(),
    };
    Step::ReadSecret(
        reference,
        AwaitSecret {
            context,
            name,
            wanted,
            secrets,
        },
    )
}

fn check(mut context: Context, secrets: &BTreeMap<String, SecretData>, now: Now) -> Step {
    let held = context.held.as_ref().map(|access| &access.vault);
    let (vault, credentials) = match resolve::resolve(&context.target, &context.namespace, secrets, held) {
        Ok(resolved) => resolved,
        Err(error) => return context.fail(error),
    };
    let versions = secrets
        .iter()
        .map(|(name, secret)| (name.clone(), secret.resource_version.clone()))
        .collect();
    let basis = Inputs {
        target: context.target.clone(),
        versions,
    };
    let held = context.held.take();
    let supersede = held.as_ref().is_some_and(|access| access.basis != basis);
    let terms = CheckInput {
        vault: vault.clone(),
        path: context.target.path.clone(),
        credentials,
    };
    let lease = held.as_ref().map(|access| access.lease.clone());
    let state = Checking {
        context,
        vault,
        basis,
        held,
    };
    state.advance(Check::begin(terms, lease, supersede, now))
}

/// A check under way, and what its token will be kept with.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Checking {
    context: Context,
    vault: Vault,
    basis: Inputs,
    held: Option<Access>,
}

impl Checking {
    fn advance(self, step: crate::Step<Check>) -> Step {
        match step {
            crate::Step::Send(request, check) => Step::Exchange(request, AwaitReply { state: self, check }),
            crate::Step::Done(Checked::Ended { lease, verdict }) => self.end(lease, verdict.map_err(AccessError::from)),
            crate::Step::Done(Checked::WantsJwt(jwt)) => match &self.context.target.method {
                Method::ServiceAccount { name, audiences, .. } => {
                    let spec = TokenSpec {
                        namespace: self.context.namespace.clone(),
                        service_account: name.clone(),
                        audiences: audiences.clone(),
                        expiration_seconds: 600,
                    };
                    Step::MintToken(spec.clone(), AwaitToken { state: self, jwt, spec })
                }
                // The other methods have their credentials from the start, checked to be text.
                _ => {
                    let lease = jwt.abandon();
                    self.end(lease, Err(SecretError::Unreadable.into()))
                }
            },
        }
    }

    /// Keeps the token with what it was made from: one that was to be superseded, but is not yet, stays so.
    fn end(self, lease: Option<Lease>, verdict: Result<(), AccessError>) -> Step {
        let Self {
            context,
            vault,
            basis,
            held,
        } = self;
        let (access, superseded) = match (held, lease) {
            // It stays with the server that made it: the spec may name another by now.
            (Some(held), Some(lease)) if verdict.is_err() && lease.token() == held.lease.token() => {
                (Some(Access { lease, ..held }), None)
            }
            (held, lease) => {
                let is_held = |held: &Access| lease.as_ref().is_some_and(|lease| lease.token() == held.lease.token());
                let superseded = held.filter(|held| !is_held(held));
                let path = context.target.path;
                let access = lease.map(|lease| Access {
                    vault,
                    path,
                    lease,
                    basis,
                });
                (access, superseded)
            }
        };
        Step::Done(Outcome {
            access,
            superseded,
            verdict,
        })
    }
}

/// Awaits a Secret.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitSecret {
    context: Context,
    name: String,
    wanted: BTreeSet<String>,
    secrets: BTreeMap<String, SecretData>,
}

impl AwaitSecret {
    /// Takes the Secret.
    pub fn resume(mut self, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        match answer {
            Ok(secret) => {
                self.secrets.insert(self.name, secret);
                gather(self.context, self.wanted, self.secrets, now)
            }
            Err(error) => {
                let namespace = self.context.namespace.clone();
                self.context.fail(SecretError::of(error, namespace, self.name))
            }
        }
    }
}

/// Awaits a service account's token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitToken {
    state: Checking,
    jwt: AwaitJwt,
    spec: TokenSpec,
}

impl AwaitToken {
    /// Takes the token.
    pub fn resume(self, now: Now, answer: Result<Secret, ReadError>) -> Step {
        match answer {
            Ok(token) => self.state.advance(self.jwt.resume(now, token)),
            Err(error) => {
                let TokenSpec {
                    namespace,
                    service_account: account,
                    ..
                } = self.spec;
                let lease = self.jwt.abandon();
                self.state.end(
                    lease,
                    Err(AccessError::Token {
                        account,
                        namespace,
                        error,
                    }),
                )
            }
        }
    }
}

/// Awaits a reply of Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitReply {
    state: Checking,
    check: Check,
}

impl AwaitReply {
    /// Takes the reply.
    pub fn resume(self, now: Now, reply: Reply) -> Step {
        let step = self.check.resume(now, reply);
        self.state.advance(step)
    }
}
