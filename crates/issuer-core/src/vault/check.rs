use std::time::Duration;

use super::health::{self, HealthError};
use super::probe::{self, ProbeError};
use super::{Credentials, Lease, Vault, VaultError, login};
use crate::target::SignPath;
use crate::{Flow, Now, Reply, Secret, Step, TransportError};

/// What an issuer has come to with its Vault: whom to talk to, where to sign, as whom.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct CheckInput {
    /// The way to Vault.
    pub vault: Vault,
    /// Where to sign.
    pub path: SignPath,
    /// What to log in with.
    pub credentials: Credentials,
}

/// Makes sure that certificates can be signed: health, a token, the right to sign.
///
/// ```text
/// Health -> [Renew] -> Probe -> done
///        -> [Jwt] -> Login -> Probe -> done
///           Probe denied with a token of an earlier check -> Login (once)
/// ```
///
/// Nothing but the health request is sent to a server that is sealed or out of reach.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Check {
    terms: CheckInput,
    /// The token that an earlier check left, while it is not superseded.
    held: Option<Lease>,
    /// When the outstanding request was sent.
    sent: Duration,
    awaiting: Awaiting,
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Awaiting {
    /// Whether the held token must be superseded.
    Health {
        supersede: bool,
    },
    Login,
    Lookup,
    Probe(Lease, TokenSource),
    Renew(Lease),
}

/// Where the token that is probed comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TokenSource {
    /// It was given, and Vault would not tell about it: it may be dead.
    Doubtful,
    /// An earlier check left it.
    Held,
    /// This check made it or looked it up.
    New,
}

/// How a check ended, or what it needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// It is over.
    Ended {
        /// The token to hold on to, good or not. If it is another than was held, that one is superseded.
        lease: Option<Lease>,
        /// Whether certificates can be signed.
        verdict: Result<(), CheckError>,
    },
    /// It is to log in with a service account's token.
    WantsJwt(AwaitJwt),
}

/// A check that waits for a service account's token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitJwt(Check);

impl AwaitJwt {
    /// Goes on to log in with the token.
    pub fn resume(self, now: Now, jwt: Secret) -> Step<Check> {
        let mut check = self.0;
        if let Credentials::Jwt { token, .. } = &mut check.terms.credentials {
            *token = Some(jwt);
        }
        check.log_in(now)
    }

    /// Ends the check, since there is no such token; returns the Vault token to hold on to.
    pub fn abandon(self) -> Option<Lease> {
        self.0.held
    }
}

/// Why certificates cannot be signed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The server cannot be used now.
    #[error("{0}")]
    Health(#[from] HealthError),
    /// There is no token to be had.
    #[error("the login failed: {0}")]
    Login(VaultError),
    /// The endpoint would not sign.
    #[error("{0}")]
    Probe(#[from] ProbeError),
}

impl CheckError {
    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Health(HealthError::DrSecondary | HealthError::Unhealthy(_)) => "VaultUnhealthy",
            Self::Health(HealthError::Sealed) => "VaultSealed",
            Self::Health(HealthError::Uninitialized) => "VaultUninitialized",
            Self::Login(VaultError::Denied | VaultError::Refused { .. }) => "LoginDenied",
            Self::Login(VaultError::NotFound) => "AuthMountNotFound",
            Self::Probe(ProbeError::Denied { .. }) => "PermissionDenied",
            Self::Probe(ProbeError::NoCa { .. }) => "CaMissing",
            Self::Probe(ProbeError::NotFound { .. }) => "PathNotFound",
            Self::Probe(ProbeError::Refused { .. }) => "SignRefused",
            Self::Probe(ProbeError::UnknownRole { .. }) => "RoleNotFound",
            Self::Health(HealthError::Vault(error)) | Self::Login(error) | Self::Probe(ProbeError::Vault(error)) => {
                reason(error)
            }
        }
    }

    /// Tells whether the server itself is out: then only its health is asked until it is back, and often.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Health(_) => true,
            Self::Login(error) | Self::Probe(ProbeError::Vault(error)) => {
                matches!(error, VaultError::Sealed | VaultError::Transport(_))
            }
            Self::Probe(_) => false,
        }
    }

    /// Returns how long Vault asks to wait at the least.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Health(HealthError::Vault(error)) | Self::Login(error) | Self::Probe(ProbeError::Vault(error)) => {
                error.retry_after()
            }
            Self::Health(_) | Self::Probe(_) => None,
        }
    }
}

/// Returns the reason of an error that is not about what was asked.
pub(super) fn reason(error: &VaultError) -> &'static str {
    match error {
        VaultError::Denied => "PermissionDenied",
        VaultError::Misbehaved(_) => "VaultMisbehaved",
        VaultError::NotFound => "PathNotFound",
        VaultError::Redirected => "VaultRedirects",
        VaultError::Refused { .. } => "VaultRefused",
        VaultError::Sealed => "VaultSealed",
        VaultError::Throttled { .. } => "VaultThrottled",
        VaultError::Transport(TransportError::Dial(_)) => "InvalidConnection",
        VaultError::Transport(TransportError::Tls(_)) => "TlsFailed",
        VaultError::Transport(_) => "VaultUnreachable",
        VaultError::Unavailable { .. } => "VaultUnavailable",
    }
}

impl Check {
    /// Asks for the server's health. `held` is the token that an earlier check left; it is replaced if `supersede`
    /// says that the terms have changed since.
    pub fn begin(terms: CheckInput, held: Option<Lease>, supersede: bool, now: Now) -> Step<Self> {
        let request = health::request(&terms.vault);
        let awaiting = Awaiting::Health { supersede };
        Step::Send(
            request,
            Self {
                terms,
                held,
                sent: now.monotonic,
                awaiting,
            },
        )
    }

    fn end(self, verdict: Result<(), CheckError>) -> Step<Self> {
        Step::Done(Checked::Ended {
            lease: self.held,
            verdict,
        })
    }

    fn await_next(mut self, awaiting: Awaiting, now: Now) -> Self {
        self.sent = now.monotonic;
        self.awaiting = awaiting;
        self
    }

    /// The server is well: goes on with the held token, renews or replaces it.
    fn authorize(mut self, supersede: bool, now: Now) -> Step<Self> {
        let usable = self.held.take_if(|lease| !supersede && lease.is_usable(now));
        match usable {
            None => self.log_in(now),
            Some(lease) if !lease.is_due(now) => self.probe(lease, TokenSource::Held, now),
            Some(lease) if lease.is_renewable() => {
                let request = login::renewal(&self.terms.vault, &lease);
                Step::Send(request, self.await_next(Awaiting::Renew(lease), now))
            }
            Some(lease) => {
                self.held = Some(lease);
                self.log_in(now)
            }
        }
    }

    fn log_in(self, now: Now) -> Step<Self> {
        let Some(request) = login::request(&self.terms.vault, &self.terms.credentials) else {
            return Step::Done(Checked::WantsJwt(AwaitJwt(self)));
        };
        let awaiting = match self.terms.credentials {
            Credentials::Token(_) => Awaiting::Lookup,
            _ => Awaiting::Login,
        };
        Step::Send(request, self.await_next(awaiting, now))
    }

    fn probe(self, lease: Lease, origin: TokenSource, now: Now) -> Step<Self> {
        let request = probe::request(&self.terms.vault, &self.terms.path, &lease);
        Step::Send(request, self.await_next(Awaiting::Probe(lease, origin), now))
    }

    fn probed(mut self, lease: Lease, origin: TokenSource, now: Now, reply: Reply) -> Step<Self> {
        let verdict = probe::read(now, &self.terms.path, reply);
        self.held = Some(lease);
        match (verdict, origin) {
            // The token may have been revoked, or its role may have got another policy since it was made.
            (Err(ProbeError::Denied { .. }), TokenSource::Held) => self.log_in(now),
            (Err(ProbeError::Denied { .. }), TokenSource::Doubtful) => {
                self.end(Err(CheckError::Login(VaultError::Denied)))
            }
            (verdict, _) => self.end(verdict.map_err(CheckError::from)),
        }
    }

    /// A renewal that is refused means that the token is dead; one that is lost leaves it as it was, and it may have
    /// ended meanwhile.
    fn renewed(mut self, lease: Lease, now: Now, reply: Reply) -> Step<Self> {
        match login::read_renewal(now, self.sent, lease.clone(), reply) {
            Ok(renewed) => self.probe(renewed, TokenSource::Held, now),
            Err(error) => {
                let dead = matches!(error, VaultError::Denied | VaultError::Refused { .. });
                if !dead && lease.is_usable(now) {
                    return self.probe(lease, TokenSource::Held, now);
                }
                self.held = Some(lease);
                self.log_in(now)
            }
        }
    }
}

impl Flow for Check {
    type Output = Checked;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        match self.awaiting.clone() {
            Awaiting::Health { supersede } => match health::read(now, reply) {
                Ok(()) => self.authorize(supersede, now),
                Err(error) => self.end(Err(error.into())),
            },
            Awaiting::Login => match login::read(now, self.sent, reply) {
                Ok(lease) => self.probe(lease, TokenSource::New, now),
                Err(error) => self.end(Err(CheckError::Login(error))),
            },
            Awaiting::Lookup => {
                let Credentials::Token(token) = &self.terms.credentials else {
                    return self.log_in(now);
                };
                match login::read_lookup(now, self.sent, token, reply) {
                    Ok((lease, true)) => self.probe(lease, TokenSource::New, now),
                    Ok((lease, false)) => self.probe(lease, TokenSource::Doubtful, now),
                    Err(error) => self.end(Err(CheckError::Login(error))),
                }
            }
            Awaiting::Probe(lease, origin) => self.probed(lease, origin, now, reply),
            Awaiting::Renew(lease) => self.renewed(lease, now, reply),
        }
    }
}
