//! The end of an issuer's trouble, which also ends the backoff of its requests.

/// Why an issuer that could not sign can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Recovery {
    /// A check has succeeded after one that failed.
    Recovered,
    /// Its spec has changed.
    Corrected,
    /// Another issuer has taken its place.
    Replaced,
}
