//! The requests of a login: for the credentials, and for the token.

use issuer_core::{Operation, Request};

use crate::aws;

/// A request of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRequest {
    /// For the keys of an IAM role, to AWS.
    AwsKeys,
    /// For what a wrapping token stands for, which does not use it up.
    Lookup,
    /// For the token of the issuer.
    Token,
    /// For the secret ID that a wrapping token stands for, which uses it up.
    Unwrap,
}

impl LoginRequest {
    /// Returns the kind of a request; `None` if it is not of a login.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        if request.operation != Operation::Login {
            return None;
        }
        Some(match request.http.uri().path() {
            _ if aws::is_sts(request) => Self::AwsKeys,
            "/v1/sys/wrapping/lookup" => Self::Lookup,
            "/v1/sys/wrapping/unwrap" => Self::Unwrap,
            _ => Self::Token,
        })
    }

    /// Describes the request, for printed traces.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AwsKeys => "ask AWS for keys",
            Self::Lookup => "look up its wrapping token",
            Self::Token => "log in",
            Self::Unwrap => "unwrap its secret ID",
        }
    }
}
