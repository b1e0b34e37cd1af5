//! The cases of the table.

use http::Method;
use serde_json::Value;

/// A request of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// A unique name.
    pub name: &'static str,
    /// The phase in which it is sent.
    pub phase: Phase,
    /// The method.
    pub method: Method,
    /// The path below `/v1/`.
    pub path: &'static str,
    /// Its token.
    pub token: TokenKind,
    /// The body; empty for none. [`WRAPPING_TOKEN`] in it stands for the last wrapping token.
    pub body: String,
    /// Whether the answer is to be wrapped.
    pub is_wrapped: bool,
    /// The status that Vault 1.21 answers with.
    pub status: u16,
    /// Whether the server works in the background for this answer: the request is repeated until it has the status.
    pub is_eventual: bool,
}

/// The text that stands for the last wrapping token.
pub const WRAPPING_TOKEN: &str = "<wrapping token>";

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The server is unsealed.
    Unsealed,
    /// The server has been sealed.
    Sealed,
}

/// The token of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A revoked token of the AppRole `issuer`.
    Dead,
    /// A new token of the AppRole `issuer`.
    Fresh,
    /// No token.
    None,
    /// The token of an AppRole that all its cases share.
    Of(&'static str),
    /// The root token.
    Root,
    /// The last wrapping token.
    Wrapping,
}

/// The token that most cases share.
pub(super) const ISSUER: TokenKind = TokenKind::Of("issuer");

/// Returns a case of the first phase; `request` is the method and the path.
pub(super) fn case(
    name: &'static str,
    request: &'static str,
    token: TokenKind,
    body: impl Into<Option<Value>>,
    status: u16,
) -> Case {
    let (method, path) = request.split_once(' ').unwrap_or_default();
    let body: Option<Value> = body.into();
    Case {
        name,
        phase: Phase::Unsealed,
        method: method.parse().unwrap_or(Method::GET),
        path,
        token,
        body: body.map(|body| body.to_string()).unwrap_or_default(),
        is_wrapped: false,
        status,
        is_eventual: false,
    }
}
