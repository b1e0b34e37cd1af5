//! The conversation that signs a certificate: the request, and the classification of its answer.

use std::time::Duration;

use serde::Deserialize;

use super::{Lease, Misbehavior, Redacted, Vault, VaultError, error, probe};
use crate::target::SignPath;
use crate::verify::{Issued, Verified, VerifyError, VerifyOptions, verify};
use crate::{Flow, Now, Operation, Reply, Request, SigningRequest, Step};

/// Requests the signature of one certificate and verifies the answer.
///
/// Signing is not idempotent: every reply with status 200 is another certificate. So a request is never repeated here.
/// The one exception changes it: a role with `not_after` refuses every `ttl`, so a default `ttl` is then left out.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Sign {
    wanted: SigningRequest,
    options: VerifyOptions,
    /// The means to ask again without a `ttl`; `None` if that is not permitted.
    again: Option<Box<Endpoint>>,
}

/// The usual time for a signature: a CA behind Vault may ask another one.
pub const SIGN_TIMEOUT: Duration = Duration::from_secs(60);

/// Where to sign, and the token for it.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Endpoint {
    vault: Vault,
    path: SignPath,
    lease: Lease,
}

impl Endpoint {
    fn request(&self, wanted: &SigningRequest) -> Request {
        let token = Some(self.lease.token());
        let path = self.path.as_str();
        Request {
            timeout: SIGN_TIMEOUT,
            ..self.vault.post(Operation::Sign, path, token, &wanted.parameters())
        }
    }
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The CA of the mount expires before the certificate would. Vault's text is left out: the times in it differ with
    /// every try, and so would the status.
    #[error("the certificate would outlive the CA that signs it; ask for a shorter spec.duration or renew the CA")]
    CaExpires,
    /// The answer does not match the request.
    #[error("Vault returned a certificate that does not match the request: {0}")]
    Mismatch(VerifyError),
    /// The endpoint drops a name that the CSR asks for. Nothing was sent.
    #[error("{path} cannot issue a {name}, which the CSR asks for; use a sign-verbatim endpoint")]
    NameNotSupported {
        /// The endpoint.
        path: String,
        /// The name, or its kind.
        name: String,
    },
    /// Vault refuses to sign this request.
    #[error("Vault refused to sign: {0}")]
    Refused(Redacted),
    /// Vault neither signed nor refused this request.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The consequence of an error for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The request has failed permanently.
    Fail,
    /// The issuer must be checked: it may be at fault. The request is signed later.
    Recheck,
    /// The request is tried again later. The error says nothing about the issuer.
    Retry,
}

impl From<VerifyError> for SignError {
    fn from(error: VerifyError) -> Self {
        Self::Mismatch(error)
    }
}

impl SignError {
    /// Returns what follows: only a definite refusal of this very request fails it (S14).
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Mismatch(_) | Self::NameNotSupported { .. } | Self::Refused(_) => Disposition::Fail,
            Self::CaExpires => Disposition::Retry,
            Self::Vault(_) => Disposition::Recheck,
        }
    }

    /// Returns `true` if Vault may have begun to sign: each further attempt may cost a certificate.
    pub fn is_lost_answer(&self) -> bool {
        match self {
            Self::Vault(VaultError::Transport(error)) => error.may_have_been_handled(),
            // An answer that cannot be read may be the answer to a signature that was made.
            Self::Vault(VaultError::Misbehaved(_)) => true,
            // 412: the node has not caught up yet. 503: a node or a proxy that cannot serve.
            Self::Vault(VaultError::Unavailable { status, .. }) => !matches!(status, 412 | 503),
            _ => false,
        }
    }

    /// Returns the reason for events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CaExpires => "CaExpires",
            Self::Mismatch(_) => "CertificateMismatch",
            Self::NameNotSupported { .. } => "NameNotSupported",
            Self::Refused(_) => "SignRefused",
            Self::Vault(error) => error.reason(),
        }
    }

    /// Returns the least time to wait before the next request, if Vault named one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Vault(error) => error.retry_after(),
            Self::CaExpires | Self::Mismatch(_) | Self::NameNotSupported { .. } | Self::Refused(_) => None,
        }
    }

    /// Classifies an error of the signing endpoint.
    ///
    /// Vault's texts are matched by their beginnings, which quote nothing of the CSR. A refusal without a reason is not
    /// Vault's: a gateway in between made it.
    fn of(error: VaultError) -> Self {
        match error {
            // Neither this nor an unknown role fails the request: both end when the CA or the issuer is corrected.
            VaultError::Refused { reason, .. } if reason.starts_with(BEYOND_CA) => Self::CaExpires,
            VaultError::Refused {
                status: 400 | 413,
                reason,
            } if !reason.is_empty() && !probe::is_unknown_role(&reason) => Self::Refused(reason),
            error => Self::Vault(error),
        }
    }
}

/// How Vault begins to refuse a certificate that would outlive the CA (its `pki/issuing/issue_common.go`).
const BEYOND_CA: &str = "cannot satisfy request, as TTL would result in notAfter of ";

/// How Vault begins to refuse a `ttl` at a role with `not_after` (in the same file).
const TTL_AND_NOT_AFTER: &str = "Either ttl or not_after should be provided";

/// Returns `true` if Vault refused because the role sets `not_after`.
fn forbids_ttl(error: &VaultError) -> bool {
    matches!(error, VaultError::Refused { status: 400, reason } if reason.starts_with(TTL_AND_NOT_AFTER))
}

#[derive(Deserialize)]
struct SignReply {
    #[serde(default)]
    lease_id: Option<String>,
    data: SignData,
}

#[derive(Deserialize)]
struct SignData {
    certificate: String,
    #[serde(default)]
    issuing_ca: Option<String>,
    #[serde(default)]
    ca_chain: Option<Vec<String>>,
}

impl Sign {
    /// Sends the request to the signing endpoint.
    ///
    /// # Errors
    ///
    /// Is done at once, with an error, if the endpoint would drop a name that the CSR asks for: the certificate would
    /// be signed in vain.
    pub fn begin(
        vault: &Vault,
        path: &SignPath,
        lease: &Lease,
        wanted: SigningRequest,
        options: impl Into<VerifyOptions>,
    ) -> Step<Self> {
        let dropped = wanted.name_that_sign_drops().filter(|_| path.is_plain_sign());
        if let Some(name) = dropped {
            let (path, name) = (path.as_str().to_owned(), name.to_string());
            return Step::Done(Err(SignError::NameNotSupported { path, name }));
        }
        let endpoint = Endpoint {
            vault: vault.clone(),
            path: path.clone(),
            lease: lease.clone(),
        };
        let request = endpoint.request(&wanted);
        // A `ttl` that the user asked for is never dropped: the certificate could be valid for longer.
        let again = wanted.has_default_ttl().then(|| Box::new(endpoint));
        let options = options.into();
        Step::Send(request, Self { wanted, options, again })
    }
}

impl Flow for Sign {
    type Output = Result<Verified, SignError>;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        let Self { wanted, options, again } = self;
        let reply = match error::read::<SignReply>(now, reply, "data.certificate, issuing_ca or ca_chain") {
            Ok(reply) => reply,
            Err(error) => {
                return match again.filter(|_| forbids_ttl(&error)) {
                    Some(endpoint) => {
                        let wanted = wanted.without_ttl();
                        let request = endpoint.request(&wanted);
                        let again = None;
                        Step::Send(request, Self { wanted, options, again })
                    }
                    None => Step::Done(Err(SignError::of(error))),
                };
            }
        };
        let issued = Issued {
            certificate: reply.data.certificate,
            issuing_ca: reply.data.issuing_ca,
            ca_chain: reply.data.ca_chain.unwrap_or_default(),
            is_leased: reply.lease_id.is_some_and(|lease| !lease.is_empty()),
        };
        // As a mismatch this would fail the request, but a server that omits the certificate is not Vault.
        if issued.certificate.trim().is_empty() {
            let missing = VaultError::from(Misbehavior::Field("data.certificate"));
            return Step::Done(Err(missing.into()));
        }
        Step::Done(verify(&wanted, &issued, now, &options).map_err(SignError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::Disposition::{Fail, Recheck, Retry};

    use super::*;
    use crate::fixture::{at, signatures, vault};
    use crate::{Body, RequestSpec, Roots, Secret, TransportError};

    #[test]
    fn only_definite_refusals_fail_a_request() {
        let refused = |status, reason: &str| VaultError::Refused {
            status,
            reason: Redacted::new(&[reason.to_owned()]),
        };
        let unavailable = |status| VaultError::Unavailable {
            status,
            retry_after: None,
            reason: Redacted::new(&[]),
        };
        let beyond = "cannot satisfy request, as TTL would result in notAfter of 2027-01-01T00:00:00.123456789Z that is \
                      beyond the expiration of the CA certificate at 2026-12-31T00:00:00Z";
        for (error, disposition) in [
            (refused(400, "common name x not allowed by this role"), Fail),
            // What the CSR says must not pass for Vault's words.
            (
                refused(400, "common name unknown role: web not allowed by this role"),
                Fail,
            ),
            (
                refused(400, &format!("common name {beyond} not allowed by this role")),
                Fail,
            ),
            (refused(413, "http: request body too large"), Fail),
            (
                refused(
                    400,
                    "Either ttl or not_after should be provided. Both should not be provided",
                ),
                Fail,
            ),
            (refused(405, "unsupported operation"), Recheck),
            (refused(400, "unknown role: web"), Recheck),
            (refused(400, beyond), Retry),
            // A gateway's.
            (refused(400, ""), Recheck),
            (refused(413, ""), Recheck),
            (VaultError::Denied, Recheck),
            (VaultError::NotFound, Recheck),
            (VaultError::Redirected, Recheck),
            (VaultError::Sealed, Recheck),
            (VaultError::Throttled { retry_after: None }, Recheck),
            (unavailable(412), Recheck),
            (unavailable(500), Recheck),
            (unavailable(503), Recheck),
            (VaultError::Misbehaved(Misbehavior::NotJson), Recheck),
            (VaultError::Transport(TransportError::Timeout), Recheck),
        ] {
            assert_eq!(SignError::of(error.clone()).disposition(), disposition, "{error:?}");
        }
    }

    /// Begins to sign a CSR of P-256 with these names at an endpoint.
    fn begin(path: &str, duration: Option<&str>, names: &[u8]) -> Step<Sign> {
        let mut params = rcgen::CertificateParams::default();
        let san = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], names.to_vec());
        params.custom_extensions = vec![san];
        let csr = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let csr = csr.pem().unwrap();
        let spec = RequestSpec {
            csr: csr.as_bytes(),
            duration,
            ..RequestSpec::default()
        };
        let wanted = SigningRequest::parse(spec, &signatures()).unwrap();
        let vault = vault("https://vault.example", Roots::System);
        let lease = Lease::of_unknown_ttl(Secret::from("hvs.token"));
        Sign::begin(&vault, &SignPath::parse(path).unwrap(), &lease, wanted, signatures())
    }

    fn sent(step: Step<Sign>) -> (serde_json::Value, Sign) {
        match step {
            Step::Send(request, sign) => {
                assert_eq!(request.http.headers()["x-vault-token"], "hvs.token");
                (serde_json::from_slice(request.http.body().as_bytes()).unwrap(), sign)
            }
            Step::Done(result) => panic!("{result:?}"),
        }
    }

    /// A refusal with status 400.
    fn refusal(reason: &str) -> Reply {
        let body = serde_json::json!({ "errors": [reason] }).to_string().into_bytes();
        Ok(http::Response::builder().status(400).body(Body::from(body)).unwrap())
    }

    #[test]
    fn role_with_not_after_gets_no_default_ttl() {
        let both = "Either ttl or not_after should be provided. Both should not be provided in the same request.";
        let refused = |step| match step {
            Step::Done(Err(SignError::Refused(reason))) => assert_eq!(reason.to_string(), both),
            other => panic!("{other:?}"),
        };
        let (mut first, sign) = sent(begin("pki/sign/web", None, b"\x30\x03\x82\x01a"));
        let (second, sign) = sent(sign.resume(at(0), refusal(both)));
        assert_eq!(first.as_object_mut().unwrap().remove("ttl").unwrap(), "7776000s");
        assert_eq!(first, second);
        // Asked without a ttl, it is not asked again.
        refused(sign.resume(at(0), refusal(both)));

        // A duration that somebody chose is not dropped.
        let (_, sign) = sent(begin("pki/sign/web", Some("24h"), b"\x30\x03\x82\x01a"));
        refused(sign.resume(at(0), refusal(both)));

        // No other answer is a reason to ask again.
        for reply in [refusal("ttl"), Err(TransportError::Timeout)] {
            let (_, sign) = sent(begin("pki/sign/web", None, b"\x30\x03\x82\x01a"));
            assert!(matches!(sign.resume(at(0), reply), Step::Done(Err(_))));
        }
    }

    #[test]
    fn names_that_sign_drops_are_refused_first() {
        let directory_name = b"\x30\x04\xa4\x02\x30\0";
        for path in ["pki/sign/web", "team/pki/issuer/old/sign/web"] {
            match begin(path, None, directory_name) {
                Step::Done(Err(error)) => assert_eq!(
                    (error.to_string(), error.disposition()),
                    (
                        format!(
                            "{path} cannot issue a directoryName, which the CSR asks for; use a sign-verbatim endpoint"
                        ),
                        Fail
                    )
                ),
                other => panic!("{other:?}"),
            }
        }
        for path in ["pki/sign-verbatim", "pki/sign-verbatim/web", "pki/cel/sign/web"] {
            sent(begin(path, None, directory_name));
        }
    }
}
