//! One issuer's access to Vault: from its spec, through its Secrets, to a token that may sign.
//!
//! An [`Access`] is shared by all requests of the issuer. Only a check, which [`begin`] starts, logs in or renews the
//! token, so an issuer has one token, and a thousand requests cost one login.
//!
//! ```text
//!                 Secrets read lately
//! begin ---------------------------------------> Health --+--> token held, fresh ---------------------> Probe*
//!   |                                              ^      |                                             ^  |
//!   +--> ReadSecret, ReadConfigMap (of the spec) --+      +--> token due --> Renew ---------------------+  |
//!                                                         |                    | refused                |  |
//!                                                         |                    v                        |  |
//!                                                         +--> no token --> [ReadSecret] [MintToken]    |  |
//!                                                         |           [AWS keys, unwrapped secret ID]   |  |
//!                                                         |                    --> Login, Lookup -------+  |
//!                                                         |                           ^                    |
//!                                                         |                           +-- held, denied ----+
//!                                                         +--> token expired, not in demand --> done
//!
//! * skipped if nothing has changed since the last probe or signature
//! ```
//!
//! Any other failure ends the check, and nothing but the health request is sent to a server that is sealed or out of
//! reach. A token that fails is kept until another takes its place, and a valid token stays in use if a new one is not
//! available for a transient reason.
//!
//! A secret ID that Vault hands out once, for a wrapping token, outlives the checks: the caller keeps it with the
//! access.
//!
//! A check does not spend what Vault limits: no use of a token with `num_uses`, and no login while no request needs a
//! token, since each login may use up a secret ID.

mod check;
mod error;
mod gathering;
mod login;
mod refused;
mod resolve;
mod room;
mod secret_data;
#[cfg(test)]
mod tests;
mod warning;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use issuer_api::VerificationMode;

pub use error::{AccessError, ReadError, SecretError};
pub use gathering::{AwaitConfigMap, AwaitSecret};
pub use login::UnwrappedSecretId;
pub use refused::RefusedLogin;
pub use room::Room;
pub use secret_data::SecretData;
pub use warning::Warning;

use crate::reference::{ConfigMapRef, SecretRef, SourceRef, TokenSource};
use crate::target::{SignPath, Target};
use crate::vault::{Lease, Vault};
use crate::{Now, Reply, Request, Secret};
use check::{Check, Sent};
use gathering::Gathering;
use login::TokenLogin;
use secret_data::Fingerprint;

/// An issuer's connection to Vault, its signing endpoint, and the token to sign with.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Access {
    /// How to reach Vault.
    pub vault: Vault,
    /// The signing endpoint.
    pub path: SignPath,
    /// The token.
    pub lease: Lease,
    /// The inputs that the token was made from. If they change, a new token is made.
    inputs: Arc<Inputs>,
    /// The versions in which the Secrets and the ConfigMap were read.
    versions: Arc<[(SourceRef, String)]>,
    /// Checks since the Secrets were read, [`STALE`] if they must be read again.
    read: u8,
    /// How it is known that the token may sign.
    proof: Proof,
    /// Whether the endpoint has ever passed a probe.
    answers_probes: bool,
    /// Whether a request has used the token, or waits for one.
    in_demand: bool,
    /// Whether the next check need not ask for the server's health.
    is_healthy: bool,
}

/// Every tenth check reads the Secrets of an issuer, unless a watch reports their changes.
const STALE: u8 = 10;

/// How it is known that a token may sign at the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Proof {
    /// Not checked yet.
    None,
    /// Vault has denied it.
    Denied,
    /// The endpoint failed the probe in a way that does not mean that it cannot sign.
    Inconclusive,
    /// A probe passed.
    Probed,
    /// A certificate was signed.
    Signed,
    /// A probe is forbidden by the spec, or would use up the token.
    Skipped,
}

impl Proof {
    /// Returns `true` if the token may be used to sign.
    fn is_known(self) -> bool {
        !matches!(self, Self::None | Self::Denied)
    }
}

impl Access {
    /// Returns how long a signature may take, if the spec says so.
    pub fn sign_timeout(&self) -> Option<Duration> {
        self.inputs.target.sign_timeout
    }

    /// Returns what the user should know about an issuer that can sign.
    pub fn warning(&self) -> Option<Warning> {
        // One warning fits the condition; the one that loses certificates comes first.
        if self.lease.bears_leases() {
            Some(Warning::CertificatesLeased)
        } else if self.lease.is_limited() {
            Some(Warning::TokenUsesLimited)
        } else if self.proof == Proof::Inconclusive {
            Some(Warning::ProbeInconclusive)
        } else {
            None
        }
    }

    /// Returns what a certificate must have as requested.
    pub fn verification(&self) -> VerificationMode {
        self.inputs.target.verification
    }

    /// Notes that the token has signed a certificate, and whether that has a lease.
    pub fn signed(&mut self, leased: bool) {
        self.in_demand = true;
        self.proof = Proof::Signed;
        if leased {
            self.lease.note_lease();
        }
    }

    /// Returns how many bytes it may keep of Secrets and ConfigMaps.
    pub(crate) fn size(&self) -> usize {
        self.inputs.contents.iter().map(|(_, content)| content.size).sum()
    }

    /// Notes that the server was healthy lately: the next check does not ask for its health if it relies on this
    /// access.
    pub fn skip_health(&mut self) {
        self.is_healthy = true;
    }

    /// Notes that a request needs a token: the next check logs in if this one has expired.
    pub fn demand(&mut self) {
        self.in_demand = true;
    }

    /// Notes a failure that may be the issuer's: the next check probes the endpoint.
    pub fn doubt(&mut self) {
        if self.proof.is_known() {
            self.proof = Proof::None;
        }
    }

    /// Notes that Vault denied a request with the token: the next check replaces it, unless a probe passes.
    pub fn denied(&mut self) {
        self.proof = Proof::Denied;
    }

    /// Notes that a Secret may have changed: the next check reads the Secrets.
    pub fn reread(&mut self) {
        self.read = STALE;
    }

    /// Returns the version in which a Secret or ConfigMap was read.
    pub(crate) fn version(&self, source: &SourceRef) -> Option<&str> {
        let (_, version) = self.versions.iter().find(|(read, _)| read == source)?;
        Some(version)
    }

    /// Compares the Secrets with the versions that watches show, `None` of one that is not watched. If they differ,
    /// the next check reads the Secrets; if not, and all are watched, it need not.
    pub(crate) fn compare<'a>(&mut self, shown: impl Fn(&SourceRef) -> Option<&'a str>) {
        let versions = &self.versions;
        let differs = |(source, version): &(SourceRef, String)| shown(source).is_some_and(|shown| shown != version);
        if versions.iter().any(differs) {
            self.reread();
        } else if self.read < STALE && versions.iter().all(|(source, _)| shown(source).is_some()) {
            self.read = 0;
        }
    }

    /// Takes over what was noted of the same token while a check was under way with a copy of it.
    pub(crate) fn adopt(&mut self, noted: &Self) {
        // Requests went on with the original during the check; the copy does not know what they noted.
        self.in_demand |= noted.in_demand;
        if noted.lease.bears_leases() {
            self.lease.note_lease();
        }
    }

    /// Returns `true` if both have the same token.
    pub(crate) fn has_token_of(&self, other: &Self) -> bool {
        self.lease.token() == other.lease.token()
    }

    /// Returns when the token must be renewed or replaced.
    pub(crate) fn next_refresh(&self, now: Now) -> Option<Duration> {
        let lapses = !self.lease.is_worth_renewing() && !self.in_demand;
        if lapses || !self.lease.is_usable(now) {
            return None;
        }
        self.lease.next_refresh(now)
    }

    /// Returns `true` if the access was made for this target, though perhaps from other Secrets.
    fn serves(&self, target: &Target) -> bool {
        self.inputs.target == *target
    }

    /// Returns `true` if the token is due, can only be replaced, and nobody needs it: the next request does.
    fn may_lapse(&self, now: Now) -> bool {
        // A login may use up a secret ID, so none is made for a token that nobody asks for. A given token has no
        // successor.
        let due = self.lease.is_due(now) && !self.lease.is_worth_renewing();
        let replaceable = self.lease.is_made() && (due || !self.lease.is_usable(now));
        replaceable && !self.in_demand && self.proof.is_known()
    }

    /// Notes the verdict of a check.
    fn note(&mut self, verdict: &Result<Proof, AccessError>) {
        match verdict {
            Ok(proof) => {
                self.proof = *proof;
                self.answers_probes |= *proof == Proof::Probed;
            }
            Err(error) => {
                self.doubt();
                // A corrected Secret must count at the next check, not at the tenth.
                if error.may_lie_in_secrets() {
                    self.reread();
                }
            }
        }
    }
}

/// The spec, and the contents of the Secrets and the ConfigMap, that an access was made from.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Inputs {
    target: Target,
    contents: Vec<(SourceRef, Fingerprint)>,
}

/// A question, and the state that awaits its answer.
#[must_use]
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this request to Vault.
    Exchange(Request, AwaitReply),
    /// Obtain this token of a service account.
    MintToken(TokenSource, AwaitToken),
    /// Read this ConfigMap.
    ReadConfigMap(ConfigMapRef, AwaitConfigMap),
    /// Read this Secret.
    ReadSecret(SecretRef, AwaitSecret),
    /// The check is over.
    Done(CheckOutcome),
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckOutcome {
    /// The access to keep, whether or not it may sign.
    pub access: Option<Access>,
    /// The access that a new one has replaced. Its token is to be revoked once no request uses it.
    pub superseded: Option<Access>,
    /// The secret ID to keep for the next check, if this one or an earlier one has unwrapped it.
    pub secret_id: Option<UnwrappedSecretId>,
    /// The login that Vault has refused last, to keep for the next check.
    pub refused: Option<Box<RefusedLogin>>,
    /// The health of the server, if the check asked for it.
    pub health: Option<ServerHealth>,
    /// `Ok` if certificates can be signed.
    pub verdict: Result<(), AccessError>,
}

/// The health of a server.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct ServerHealth {
    /// How the server was reached.
    pub vault: Vault,
    /// Whether it is healthy.
    pub good: bool,
}

impl CheckOutcome {
    /// Returns the result of a check that failed before it sent anything to Vault.
    pub(crate) fn failed(access: Option<Access>, error: impl Into<AccessError>) -> Self {
        let error = error.into();
        let access = access.map(|mut access| {
            // The cause lies in the spec or the Secrets, so nothing that was derived from them is trusted any more.
            access.doubt();
            access.reread();
            access
        });
        Self {
            access,
            superseded: None,
            secret_id: None,
            refused: None,
            health: None,
            verdict: Err(error),
        }
    }
}

/// The issuer that is checked.
#[derive(Clone, Debug, PartialEq, Hash)]
struct CheckedIssuer {
    target: Target,
    /// Where its Secrets and service accounts are.
    namespace: String,
    /// The secret ID that an earlier check has unwrapped.
    secret_id: Option<UnwrappedSecretId>,
    /// The login that Vault has refused last.
    refused: Option<Box<RefusedLogin>>,
    /// The memory that is left for Secrets and ConfigMaps.
    room: Room,
}

impl CheckedIssuer {
    /// Returns the objects that it takes data from.
    fn sources(&self) -> BTreeSet<SourceRef> {
        sources(&self.target, &self.namespace)
    }
}

/// Returns the Secrets and the ConfigMap of `namespace` that an issuer with this target takes data from.
pub(crate) fn sources(target: &Target, namespace: &str) -> BTreeSet<SourceRef> {
    let secrets = target.secrets().into_iter().map(|name| {
        SourceRef::Secret(SecretRef {
            namespace: namespace.to_owned(),
            name,
        })
    });
    let config_map = target.config_map().map(|name| {
        SourceRef::ConfigMap(ConfigMapRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    });
    secrets.chain(config_map).collect()
}

/// The state that an earlier check of an issuer left.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The access.
    pub access: Option<Access>,
    /// The secret ID that was unwrapped.
    pub secret_id: Option<UnwrappedSecretId>,
    /// The login that Vault has refused last.
    pub refused: Option<Box<RefusedLogin>>,
    /// The memory that is left for Secrets and ConfigMaps.
    pub room: Room,
}

/// Begins to check whether an issuer can sign. `namespace` is where its Secrets and service accounts are.
pub fn begin(target: Target, namespace: &str, held: Held, now: Now) -> Step {
    let issuer = CheckedIssuer {
        target,
        namespace: namespace.to_owned(),
        secret_id: held.secret_id,
        refused: held.refused,
        room: held.room,
    };
    match held.access {
        Some(held) if held.serves(&issuer.target) && held.read < STALE => Check::with_held(issuer, held, now),
        // No usable access is held, or its Secrets are due to be read again.
        held => Gathering::to_begin(issuer, held).advance(now),
    }
}

/// Reads the Secrets of the issuer, so that the check can log in.
fn read_secrets(check: Check, now: Now) -> Step {
    Gathering::to_log_in(check).advance(now)
}

/// Awaits a service account token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitToken {
    check: Check,
    login: TokenLogin,
}

impl AwaitToken {
    /// Resumes the check with the token.
    pub fn resume(self, now: Now, answer: Result<Secret, ReadError>) -> Step {
        self.check.on_token(self.login, now, answer)
    }
}

/// Awaits a reply of Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitReply {
    check: Check,
    sent: Sent,
}

impl AwaitReply {
    /// Resumes the check with Vault's reply.
    pub fn resume(self, now: Now, reply: Reply) -> Step {
        self.check.resume(self.sent, now, reply)
    }
}
