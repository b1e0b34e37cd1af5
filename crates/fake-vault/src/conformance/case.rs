//! The cases of the table.

use http::Method;

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
    /// The body; empty for none.
    pub body: String,
    /// The status that Vault 1.21 answers with.
    pub status: u16,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The server is unsealed.
    Unsealed,
    /// The server has been sealed.
    Sealed,
}

/// The token of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenKind {
    /// A batch token of the role `batch`.
    Batch,
    /// A revoked token of the role `issuer`.
    Dead,
    /// A new token of the role `issuer`.
    Fresh,
    /// The token of the role `issuer` that all such cases share.
    Issuer,
    /// No token.
    None,
    /// The root token.
    Root,
}
