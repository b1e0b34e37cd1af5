//! AWS identities: the signed request by which AWS tells Vault who logs in, and where the keys that sign it come from.
//!
//! Vault sends the signed request to AWS itself:
//! <https://developer.hashicorp.com/vault/api-docs/auth/aws#login>.
//!
//! The signature is made here, with the hash and HMAC crates that the tree has already, and is held against AWS's
//! published test cases. AWS's own signing crate (`aws-sigv4`) does no IO, but its runtime crates depend on tokio under
//! every set of features, and this crate must not.

mod keys;
mod sign;

use std::fmt;

pub(crate) use keys::{KeySource, begin};
pub(crate) use sign::SignedRequest;

use crate::{Secret, TransportError};

/// The type of the bodies that AWS takes.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The access keys of an AWS identity.
#[derive(Clone, PartialEq, Hash)]
pub struct AwsKeys {
    /// The access key ID.
    pub id: Secret,
    /// The secret access key.
    pub secret: Secret,
    /// The session token of temporary keys.
    pub session_token: Option<Secret>,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKeys")
    }
}

/// Why AWS gave no keys for a service account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// AWS refuses the service account.
    #[error(
        "AWS gives no keys for the service account ({code}): correct the trust policy of the IAM role, or its Pod Identity \
         association"
    )]
    Denied {
        /// The code of the error, such as `AccessDenied`, or the status where there is none.
        code: String,
    },
    /// The answer holds no keys.
    #[error("the answer of AWS holds no keys")]
    Misbehaved,
    /// No reply.
    #[error("AWS cannot be asked for keys: {0}")]
    Transport(TransportError),
    /// AWS is out of service, or limits the rate of requests.
    #[error("AWS is unavailable ({status})")]
    Unavailable {
        /// The status.
        status: u16,
    },
}

impl AwsError {
    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "AwsDenied",
            Self::Misbehaved | Self::Transport(_) | Self::Unavailable { .. } => "AwsUnavailable",
        }
    }

    /// Returns `true` if the same request may succeed later although nobody has changed the configuration.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }
}

/// Returns a credential, which was checked to be text when it was read.
fn text(credential: &Secret) -> &str {
    credential.expose_str().unwrap_or_default()
}
