//! A pure model of HashiCorp Vault: the auth methods and the PKI secrets engine, as an issuer of certificates uses
//! them.
//!
//! [`FakeVault::handle`] maps a request and the time to a reply. It uses no sockets, clocks or randomness, so a test
//! calls it directly, a simulator clones it at every branch, and with the feature `serve` the same value answers
//! over TLS on a loopback port.
//!
//! | module        | models                                                                                        |
//! |---------------|-----------------------------------------------------------------------------------------------|
//! | `sys`         | `sys/health`, `sys/seal-status`, `sys/seal`, `sys/unseal`, `sys/capabilities-self`            |
//! | `auth`        | `auth/<mount>/login` of AppRole, AWS, Kubernetes, JWT and TLS certificates; an AppRole's       |
//! |               | `secret-id`                                                                                   |
//! | `token`       | `auth/token/{lookup,renew,revoke}-self`; TTLs, periods, uses, batch tokens; response wrapping |
//! | `policy`      | capabilities of a token                                                                       |
//! | `pki`         | `<mount>/{sign,issue,sign-verbatim}`, `root/sign-intermediate`, the same below `issuer/:ref`; |
//! |               | `cel/sign` of OpenBao, `external-policy` of Vault Enterprise                                  |
//! | `ca`          | CAs with fixed keys, in every shape of chain                                                  |
//! | `fault`       | a hostile server: late, truncated, lost, wrong and forged replies                             |
//! | `server`      | routing, configuration by methods, faults                                                     |
//! | `conformance` | a table of requests that a real Vault must answer alike (feature `conformance`)               |
//!
//! Replies are those of Vault 1.21: status, envelope, `errors` and their texts. Not modeled are entities and their
//! policies, the wrapping of logins, CRLs, and the endpoints that write configuration: tests configure the
//! model by methods.

mod answer;
mod auth;
mod ca;
mod call;
#[cfg(feature = "conformance")]
pub mod conformance;
mod counts;
mod dice;
mod duration;
mod fault;
mod fields;
mod glob;
mod pki;
mod policy;
#[cfg(feature = "serve")]
pub mod serve;
mod server;
mod sys;
mod token;

pub use auth::{
    Accepts, AppRoleRole, AuthMethod, AwsMethod, AwsRole, CertRole, IamPrincipal, JwtRole, SecretId, Trusted,
};
pub use ca::{Authority, Certificate, Certified, KeyType, key};
pub use call::PeerCertificate;
pub use counts::Counts;
pub use dice::Dice;
pub use fault::{CaDefect, Fault, Faults, Handled, Redirect, RetryAfter};
pub use pki::{CelRole, IssuedCertificate, LeafNotAfter, Pki, Role};
pub use policy::{Capability, Parameters, Policy};
pub use server::{FakeVault, RateLimit};
pub use sys::Health;
pub use token::{TokenParams, TokenType};
