//! The conversation of a check with Vault: health, a token, the permission to sign.

use std::sync::Arc;
use std::time::Duration;

use issuer_api::ProbeMode;

use super::login::{Login, Obtained, Obtaining, Recipient, TokenLogin};
use super::resolve::Resolved;
use super::{
    Access, AccessError, AwaitReply, AwaitToken, CheckOutcome, CheckedIssuer, Inputs, Proof, ReadError, RefusedLogin,
    STALE, ServerHealth, Step, read_secrets,
};
use crate::reference::SourceRef;
use crate::vault::login::{self, Looked};
use crate::vault::{Credentials, Lease, ProbeError, Vault, VaultError, health, probe};
use crate::{Flow, Now, Reply, Request, Secret};

/// A check in conversation with Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Check {
    issuer: CheckedIssuer,
    vault: Vault,
    /// The inputs that a new token will be made from.
    inputs: Arc<Inputs>,
    /// The versions in which the Secrets were read.
    versions: Arc<[(SourceRef, String)]>,
    /// How to log in, once this check has read the Secrets.
    login: Option<Login>,
    /// The access that an earlier check left. It is the result, too, unless a new token takes its place.
    held: Option<Access>,
    /// The health of the server, once it is known.
    health: Option<ServerHealth>,
    /// When the outstanding request was sent.
    sent: Duration,
}

/// The request that awaits its reply.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Sent {
    Health,
    Login,
    /// With the token that is looked up.
    Lookup(Lease),
    /// For the credentials to log in with.
    Obtain(Box<Obtaining>),
    Probe(Lease, ProbedToken),
    Renew(Lease),
}

/// Where the token that is probed comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ProbedToken {
    /// The spec, and Vault did not let it be looked up: it may be invalid.
    Given,
    /// An earlier check.
    Held,
    /// An earlier check, and there is no new token to replace it.
    Kept,
    /// A login or a lookup of this check, and its first probe failed.
    NotReplicated,
    /// A login or a lookup of this check.
    New,
}

impl Check {
    /// Requests the server's health, unless it is known, with the connection of the held access: its Secrets are not
    /// read again.
    pub(super) fn with_held(issuer: CheckedIssuer, held: Access, now: Now) -> Step {
        let check = Self {
            issuer,
            vault: held.vault.clone(),
            inputs: Arc::clone(&held.inputs),
            versions: Arc::clone(&held.versions),
            login: None,
            held: Some(held),
            health: None,
            sent: now.monotonic,
        };
        check.begin_unless_healthy(now)
    }

    /// Requests the server's health, after the Secrets were read, unless it is known and they have not changed.
    pub(super) fn with_secrets(issuer: CheckedIssuer, resolved: Resolved, held: Option<Access>, now: Now) -> Step {
        let Resolved {
            vault,
            login,
            inputs,
            versions,
        } = resolved;
        let check = Self {
            issuer,
            vault,
            inputs,
            versions,
            login: Some(login),
            held,
            health: None,
            sent: now.monotonic,
        };
        check.begin_unless_healthy(now)
    }

    /// Requests the server's health, unless it is known and the held access is of the same inputs. After a failure it is
    /// requested again, since it may be the cause.
    fn begin_unless_healthy(mut self, now: Now) -> Step {
        let inputs = &self.inputs;
        let is_known = self.held.as_mut().is_some_and(|held| {
            std::mem::take(&mut held.is_healthy) && held.proof.is_known() && held.inputs == *inputs
        });
        if is_known { self.authorize(now) } else { self.begin(now) }
    }

    pub(super) fn issuer(&self) -> &CheckedIssuer {
        &self.issuer
    }

    pub(super) fn held(&self) -> Option<&Access> {
        self.held.as_ref()
    }

    fn begin(self, now: Now) -> Step {
        let request = health::request(&self.vault);
        self.send(request, Sent::Health, now)
    }

    fn send(mut self, request: Request, sent: Sent, now: Now) -> Step {
        self.sent = now.monotonic;
        Step::Exchange(request, AwaitReply { check: self, sent })
    }

    /// Resumes the check with Vault's reply.
    pub(super) fn resume(self, sent: Sent, now: Now, reply: Reply) -> Step {
        match sent {
            Sent::Health => self.on_health(now, reply),
            Sent::Login => self.on_login(now, reply),
            Sent::Lookup(token) => match login::read_lookup(now, self.sent, token, reply) {
                Ok(Looked::Up(lease)) => self.prove(lease, ProbedToken::New, now),
                Ok(Looked::Forbidden(lease)) => self.prove(lease, ProbedToken::Given, now),
                Err(error) => self.keep_held(AccessError::Login(error), now),
            },
            Sent::Obtain(obtaining) => self.on_obtained(obtaining.resume(now, reply), now),
            Sent::Renew(lease) => self.on_renewal(lease, now, reply),
            Sent::Probe(lease, source) => self.on_probe(lease, source, now, reply),
        }
    }

    fn on_health(mut self, now: Now, reply: Reply) -> Step {
        let health = health::read(now, reply);
        self.health = Some(ServerHealth {
            vault: self.vault.clone(),
            good: health.is_ok(),
        });
        match health {
            Ok(()) => self.authorize(now),
            // Nothing else is sent to a server that is out of service: a login there may use up a secret ID for
            // nothing.
            Err(error) => self.keep(Err(error.into())),
        }
    }

    /// Continues with the held token, renews it, replaces it, or lets it expire if nobody needs it.
    fn authorize(self, now: Now) -> Step {
        let Some(held) = self.held.as_ref().filter(|held| held.inputs == self.inputs) else {
            return self.log_in(now);
        };
        let (lease, proof, lapses) = (held.lease.clone(), held.proof, held.may_lapse(now));
        if lapses {
            // No request needs the token now, and a login may use up a secret ID.
            self.keep(Ok(proof))
        } else if !lease.is_usable(now) {
            self.log_in(now)
        } else if !lease.is_due(now) {
            self.prove(lease, ProbedToken::Held, now)
        } else if lease.is_worth_renewing() {
            let request = login::renewal(&self.vault, &lease);
            self.send(request, Sent::Renew(lease), now)
        } else {
            self.log_in(now)
        }
    }

    fn log_in(self, now: Now) -> Step {
        match self.login.clone() {
            None => read_secrets(self, now),
            Some(Login::Token(login)) => Step::MintToken(login.source.clone(), AwaitToken { check: self, login }),
            Some(Login::With(credentials)) => self.log_in_with(&credentials, now),
            Some(Login::Wrapped(login)) => {
                // A wrapping token works once, so later logins use the secret ID that it gave.
                let unwrapped = self
                    .issuer
                    .secret_id
                    .as_ref()
                    .filter(|unwrapped| unwrapped.is_of(&login));
                if let Some(credentials) = unwrapped.map(|unwrapped| login.with(unwrapped)) {
                    return self.log_in_with(&credentials, now);
                }
                let (request, obtaining) = Obtaining::secret_id(self.vault.clone(), login);
                self.send(request, Sent::Obtain(Box::new(obtaining)), now)
            }
        }
    }

    fn log_in_with(mut self, credentials: &Credentials, now: Now) -> Step {
        let refused = self.issuer.refused.as_mut();
        if let Some(error) = refused.and_then(|refused| refused.repeat(&self.versions)) {
            return self.keep_held(AccessError::Login(error), now);
        }
        let request = login::request(&self.vault, credentials, now);
        let sent = match credentials.given_token() {
            Some(token) => Sent::Lookup(Lease::of_unknown_ttl(token.clone())),
            None => Sent::Login,
        };
        self.send(request, sent, now)
    }

    fn on_login(mut self, now: Now, reply: Reply) -> Step {
        let error = match login::read(now, self.sent, reply) {
            Ok(lease) => {
                self.issuer.refused = None;
                return self.prove(lease, ProbedToken::New, now);
            }
            Err(error) => error,
        };
        match error {
            VaultError::Refused { status: 400, .. } if self.login.as_ref().is_some_and(Login::can_be_locked) => {
                let before = self.issuer.refused.take();
                let refused = RefusedLogin::new(before.as_deref(), Arc::clone(&self.versions), error.clone());
                self.issuer.refused = Some(Box::new(refused));
            }
            // A locked role is denied to all, without being counted: its end is worth noticing.
            VaultError::Denied => self.issuer.refused = None,
            _ => {}
        }
        self.keep_held(AccessError::Login(error), now)
    }

    /// Resumes the login with the Secrets.
    pub(super) fn on_secrets(self, resolved: Resolved, now: Now) -> Step {
        let Resolved {
            vault,
            login,
            inputs,
            versions,
        } = resolved;
        let check = Self {
            vault,
            inputs,
            versions,
            login: Some(login),
            ..self
        };
        check.log_in(now)
    }

    /// Resumes the login with the token of the service account.
    pub(super) fn on_token(self, login: TokenLogin, now: Now, answer: Result<Secret, ReadError>) -> Step {
        let TokenLogin {
            mount,
            role,
            source,
            recipient,
        } = login;
        match (answer, recipient) {
            (Ok(token), Recipient::Vault) => self.log_in_with(&Credentials::Jwt { mount, role, token }, now),
            (Ok(token), Recipient::Aws { sts, keys }) => {
                let (request, obtaining) = Obtaining::aws_keys(mount, role, sts, keys, &token);
                self.send(request, Sent::Obtain(Box::new(obtaining)), now)
            }
            (Err(error), _) => self.keep_held(AccessError::no_token(source, error), now),
        }
    }

    /// Logs in with the credentials that were obtained, or requests the next part of them.
    fn on_obtained(mut self, step: crate::Step<Obtaining>, now: Now) -> Step {
        match step {
            crate::Step::Send(request, obtaining) => self.send(request, Sent::Obtain(Box::new(obtaining)), now),
            crate::Step::Done(Ok(Obtained { credentials, secret_id })) => {
                self.issuer.secret_id = secret_id.or(self.issuer.secret_id);
                self.log_in_with(&credentials, now)
            }
            crate::Step::Done(Err(error)) => self.keep_held(error, now),
        }
    }

    /// There is no new token. If the cause is transient, the held token stays at work while it lasts, provided that it
    /// passes a probe.
    pub(super) fn keep_held(self, cause: AccessError, now: Now) -> Step {
        let issuer = &self.issuer;
        match &self.held {
            Some(held) if cause.is_transient() && held.serves(&issuer.target) && held.lease.is_usable(now) => {
                let (vault, lease) = (held.vault.clone(), held.lease.clone());
                Self { vault, ..self }.prove(lease, ProbedToken::Kept, now)
            }
            _ => self.keep(Err(cause)),
        }
    }

    /// Continues with the renewed token. Only a refusal means that the token is dead; any other reply leaves it as it
    /// was, and it may have expired in the meantime.
    fn on_renewal(mut self, lease: Lease, now: Now, reply: Reply) -> Step {
        match login::read_renewal(now, self.sent, lease.clone(), reply) {
            Ok(renewed) => {
                if let Some(held) = &mut self.held {
                    held.lease = renewed.clone();
                }
                self.prove(renewed, ProbedToken::Held, now)
            }
            Err(error) if !is_refusal(&error) && lease.is_usable(now) => {
                // The reply is lost, so it is not known whether the token still works.
                if let Some(held) = &mut self.held {
                    held.doubt();
                }
                self.prove(lease, ProbedToken::Held, now)
            }
            Err(_) => {
                if let Some(held) = &mut self.held {
                    held.denied();
                }
                self.log_in(now)
            }
        }
    }

    /// Probes the signing endpoint, unless nothing has changed since the last probe or signature, or the spec forbids
    /// it, or it would cost a use of a limited token.
    fn prove(self, lease: Lease, source: ProbedToken, now: Now) -> Step {
        let proof = self.held.as_ref().map_or(Proof::None, |held| held.proof);
        let cannot_probe = lease.is_limited() || self.issuer.target.probe == ProbeMode::Never;
        match (source, proof) {
            (ProbedToken::Held, proof) if proof.is_known() => self.keep(Ok(proof)),
            // The token may be used up or revoked, and there is no other way to find out.
            (ProbedToken::Held, Proof::Denied) if cannot_probe => self.log_in(now),
            (ProbedToken::Kept, Proof::Denied) if cannot_probe => {
                self.keep(Err(AccessError::Login(VaultError::Denied)))
            }
            _ if cannot_probe => self.end(lease, source, Ok(Proof::Skipped)),
            _ => self.probe(lease, source, now),
        }
    }

    fn probe(self, lease: Lease, source: ProbedToken, now: Now) -> Step {
        let request = probe::request(&self.vault, &self.issuer.target.path, &lease);
        self.send(request, Sent::Probe(lease, source), now)
    }

    fn on_probe(mut self, lease: Lease, source: ProbedToken, now: Now, reply: Reply) -> Step {
        let error = match probe::read(now, &self.issuer.target.path, reply) {
            Ok(()) => return self.end(lease, source, Ok(Proof::Probed)),
            Err(error) => error,
        };
        let denied = matches!(error, ProbeError::Denied { .. });
        match source {
            // The token may have been revoked, or its policies may have changed since it was made.
            ProbedToken::Held if denied => {
                if let Some(held) = &mut self.held {
                    held.denied();
                }
                self.log_in(now)
            }
            ProbedToken::Given if denied => self.end(lease, source, Err(AccessError::Login(VaultError::Denied))),
            // The new token may not have reached this node of the cluster yet.
            ProbedToken::New if denied || error.lags() => self.probe(lease, ProbedToken::NotReplicated, now),
            _ if error.is_inconclusive() && !self.answers_probes() => self.end(lease, source, Ok(Proof::Inconclusive)),
            _ => self.end(lease, source, Err(error.into())),
        }
    }

    /// Returns `true` if the endpoint has passed a probe before: then its failure is not inconclusive.
    fn answers_probes(&self) -> bool {
        let held = self.held.as_ref().filter(|held| held.serves(&self.issuer.target));
        held.is_some_and(|held| held.answers_probes)
    }

    fn end(self, lease: Lease, source: ProbedToken, verdict: Result<Proof, AccessError>) -> Step {
        match source {
            ProbedToken::Held | ProbedToken::Kept => self.keep(verdict),
            ProbedToken::Given | ProbedToken::New | ProbedToken::NotReplicated => self.replace(lease, verdict),
        }
    }

    /// Ends the check with the held access. It stays with the server that issued its token, even if the spec names
    /// another by now.
    fn keep(self, verdict: Result<Proof, AccessError>) -> Step {
        let Self {
            issuer,
            inputs,
            versions,
            login,
            held,
            health,
            ..
        } = self;
        let access = held.map(|mut held| {
            held.read = match login {
                None => held.read.saturating_add(1),
                Some(_) if held.inputs == inputs => {
                    held.versions = versions;
                    0
                }
                // A changed Secret has not led to a new token yet.
                Some(_) => STALE,
            };
            held.note(&verdict);
            held
        });
        Step::Done(CheckOutcome {
            access,
            superseded: None,
            secret_id: issuer.secret_id,
            refused: issuer.refused,
            health,
            verdict: verdict.map(drop),
        })
    }

    /// Ends the check with a new token. A given token that fails stays with the server that accepted it before.
    fn replace(self, lease: Lease, verdict: Result<Proof, AccessError>) -> Step {
        let is_held = self
            .held
            .as_ref()
            .is_some_and(|held| held.lease.token() == lease.token());
        if is_held && verdict.is_err() {
            return self.keep(verdict);
        }
        let mut access = Access {
            answers_probes: self.answers_probes(),
            in_demand: false,
            is_healthy: false,
            inputs: self.inputs,
            versions: self.versions,
            lease,
            path: self.issuer.target.path,
            proof: Proof::None,
            read: 0,
            vault: self.vault,
        };
        access.note(&verdict);
        if let Some(held) = self.held.as_ref().filter(|_| is_held) {
            access.adopt(held);
        }
        Step::Done(CheckOutcome {
            access: Some(access),
            superseded: self.held.filter(|_| !is_held),
            secret_id: self.issuer.secret_id,
            refused: self.issuer.refused,
            health: self.health,
            verdict: verdict.map(drop),
        })
    }
}

/// Returns `true` if Vault refused what was asked, as opposed to not answering it.
fn is_refusal(error: &VaultError) -> bool {
    matches!(error, VaultError::Denied | VaultError::Refused { .. })
}
