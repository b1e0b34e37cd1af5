//! The effects of steps at the API server and at Vault.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fake_kube::Refusal;
use fake_vault::{CaDefect, Fault, RetryAfter};
use http::StatusCode;
use issuer_core::access::ReadError;
use issuer_core::reconcile::{Key, Step, WriteError};
use issuer_core::{ConnectError, Operation, Request, TransportError};

use super::World;
use crate::aws;
use crate::fixture::{self, Flaw};
use crate::observation::{Observation, Served, Wrote};
use crate::process::{Answer, Arrival, Process};
use crate::promise::Violation;
use crate::transition::{ProcessId, StepFault};
use crate::vault;

/// The `Retry-After` of a throttled reply, in seconds.
const RETRY_AFTER: u64 = 3;

/// How long admission asks to wait: longer than anything else that a process waits for, but the next check of an issuer.
const POSTPONED: Duration = Duration::from_secs(60);

impl World {
    /// Makes a step take effect; returns the answer.
    pub(super) fn effect(
        &mut self,
        id: ProcessId,
        process: &Process,
        key: &Key,
        step: &Step,
        fault: Option<StepFault>,
    ) -> Result<Answer, Violation> {
        let refused = fault == Some(StepFault::Refused);
        let forbidden = fault == Some(StepFault::Forbidden);
        Ok(match step {
            Step::Exchange(request, _) => Answer::Reply(self.exchange((id, process), key, request, fault)?),
            Step::MintToken(source, _) => Answer::Token(match () {
                () if refused => Err(ReadError::Unavailable),
                () if forbidden => Err(ReadError::Forbidden),
                () => fixture::requested_token(source),
            }),
            Step::Publish(event, _) => {
                self.note(&match refused {
                    true => Observation::Unpublished(id, event.clone()),
                    false => Observation::Published(id, event.clone()),
                })?;
                Answer::Published
            }
            // The simulated issuers refer to no ConfigMap, so there is none.
            Step::ReadConfigMap(..) => Answer::Secret(Err(match () {
                () if refused => ReadError::Unavailable,
                () if forbidden => ReadError::Forbidden,
                () => ReadError::NotFound,
            })),
            Step::ReadNamespace(..) if refused => Answer::Namespace(Err(ReadError::Unavailable)),
            Step::ReadNamespace(..) if forbidden => Answer::Namespace(Err(ReadError::Forbidden)),
            Step::ReadNamespace(name, _) => {
                let labels = self.cluster.namespace(name).cloned();
                Answer::Namespace(labels.ok_or(ReadError::NotFound))
            }
            Step::ReadRequest(name, _) => Answer::Request(match self.cluster.get(&Key::Request(name.clone())) {
                _ if refused => Err(ReadError::Unavailable),
                _ if forbidden => Err(ReadError::Forbidden),
                Ok(object) => object.observed().ok_or(ReadError::NotFound),
                Err(_) => Err(ReadError::NotFound),
            }),
            Step::ReadSecret(name, _) => Answer::Secret(match self.cluster.secret(name) {
                _ if refused => Err(ReadError::Unavailable),
                _ if forbidden => Err(ReadError::Forbidden),
                Some(secret) => Ok(secret.clone()),
                None => Err(ReadError::NotFound),
            }),
            Step::ReviewReference(review, _) => Answer::Reviewed(match () {
                () if refused => Err(ReadError::Unavailable),
                () if forbidden => Err(ReadError::Forbidden),
                () => Ok(fixture::may_reference(review)),
            }),
            Step::WriteStatus(..) if refused => Answer::Written(Err(WriteError::Unavailable)),
            Step::WriteStatus(..) if forbidden => Answer::Written(Err(WriteError::Forbidden)),
            Step::WriteStatus(..) if fault == Some(StepFault::Postponed) => {
                Answer::Written(Err(WriteError::Postponed(POSTPONED)))
            }
            Step::WriteStatus(..) if fault == Some(StepFault::Unadmitted) => Answer::Written(Err(WriteError::Refused)),
            Step::WriteStatus(patch, _) => {
                let before = self.cluster.get(&patch.of).ok().cloned();
                let after = Arc::make_mut(&mut self.cluster).write_status(patch);
                let written = after.as_ref().map(drop).map_err(|refusal| write_error(*refusal));
                self.note(&Observation::Wrote(Wrote {
                    process: id,
                    patch: patch.clone(),
                    body: patch.value(),
                    before,
                    after,
                }))?;
                Answer::Written(if fault == Some(StepFault::Lost) {
                    Err(WriteError::Unavailable)
                } else {
                    written
                })
            }
            Step::Done(_) => Answer::Published,
        })
    }

    fn exchange(
        &mut self,
        (id, process): (ProcessId, &Process),
        key: &Key,
        request: &Request,
        fault: Option<StepFault>,
    ) -> Result<Arrival, Violation> {
        let without_effect = |reply| Arrival {
            reply,
            tag: 0,
            lost: false,
            wrong: false,
            grants: None,
        };
        let unsent = |error| without_effect(Err(TransportError::Connect(error)));
        if aws::is_sts(request) {
            return Ok(without_effect(aws::exchange(request, fault)));
        }
        let host = request.http.uri().host().unwrap_or_default();
        let Some(host) = fixture::HOSTS.iter().position(|known| *known == host) else {
            return Ok(unsent(ConnectError::Dns));
        };
        match fault {
            Some(StepFault::Refused) => return Ok(unsent(ConnectError::Refused)),
            Some(StepFault::Sealed) => self.vault_mut(host).set_sealed(true),
            Some(StepFault::Revoked) => self.vault_mut(host).revoke_all(),
            _ => {}
        }
        // A poison request meets its own fault, unless an injected one comes first.
        let fault = fault.or_else(|| match self.flaw_to_sign(request) {
            Some(Flaw::Broken) => Some(StepFault::Broken),
            Some(Flaw::SlowSigner) => Some(StepFault::Lost),
            _ => None,
        });
        let vault_fault = match fault {
            Some(StepFault::Broken) => Some(Fault::InternalError),
            Some(StepFault::Garbage) => Some(Fault::NotJson),
            Some(StepFault::Lost) => Some(Fault::Lost),
            Some(StepFault::Throttled) => Some(Fault::RateLimited(RetryAfter::Seconds(RETRY_AFTER))),
            Some(StepFault::WrongKey) => Some(Fault::Certificate(CaDefect::AnotherKey)),
            _ => None,
        };
        let others = self.running().map(|(_, other)| other);
        let held: BTreeSet<u32> = others.chain([process]).flat_map(Process::held).collect();
        let (now, cached) = (self.now, self.setup.reduced);
        let vault = self.vault_slot(host);
        let done = if cached {
            vault.exchange_cached(now, request, vault_fault, &held)
        } else {
            Arc::make_mut(vault).exchange(now, request, vault_fault, &held)
        };
        let status = done.reply.as_ref().map_or(StatusCode::OK, http::Response::status);
        let effect = done.signed.is_some() || done.granted.is_some();
        let unread = done.reply.is_err() || fault == Some(StepFault::Garbage);
        let renewed = request.operation == Operation::Renew && status == StatusCode::OK;
        let signed = done.signed.map(|csr| 1 + self.vault(host).signs_of(csr));
        let grants = done.granted.as_ref().map(|grant| grant.number);
        self.note(&Observation::Served(Served {
            process: id,
            key: key.clone(),
            signed: done.signed,
            granted: done.granted.map(|grant| (grant, host)),
            renewed: vault::token(request).filter(|_| renewed),
            unwrapped: done.unwrapped.map(|token| (token, host)),
        }))?;
        Ok(Arrival {
            tag: u64::from(signed.unwrap_or_default()) << 32 | u64::from(grants.unwrap_or_default()),
            reply: done.reply,
            lost: effect && unread,
            wrong: fault == Some(StepFault::WrongKey) && signed.is_some(),
            grants,
        })
    }
}

impl World {
    /// Returns the flaw of the CertificateRequest that a request asks Vault to sign.
    pub(crate) fn flaw_to_sign(&self, request: &Request) -> Option<Flaw> {
        let csr = vault::signed_csr(request)?;
        self.record.requests.get(&csr).map(|request| request.fixture.flaw)
    }
}

fn write_error(refusal: Refusal) -> WriteError {
    WriteError::of(Some(refusal.status()))
}
