//! What may be shown to people.

/// The most bytes of a message; the fields of Kubernetes hold more.
const MOST: usize = 700;

/// A word that stands for whatever must not be shown.
pub(crate) const CANARY: &str = "canary";

/// Asserts that a message is one short line that can be printed.
pub(crate) fn assert_shown(message: &str) {
    assert!(message.len() <= MOST, "{} bytes: {message:?}", message.len());
    assert!(message.chars().all(is_printable), "not printable: {message:?}");
}

/// Asserts that no secret is in what would be printed or logged.
pub(crate) fn assert_hidden(text: &str) {
    assert!(!text.contains(CANARY), "a secret is shown: {text}");
}

/// Tells whether a character is one that Rust prints as itself.
pub(crate) fn is_printable(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}
