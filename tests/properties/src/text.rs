//! Messages for people.

/// The most bytes of a message; the fields of Kubernetes hold more.
const MOST: usize = 700;

/// A word in place of a secret.
pub(crate) const CANARY: &str = "canary";

/// Asserts that a message is one short, printable line.
pub(crate) fn assert_shown(message: &str) {
    assert!(message.len() <= MOST, "{} bytes: {message:?}", message.len());
    assert!(message.chars().all(is_printable), "not printable: {message:?}");
}

/// Asserts that the `Debug` output contains no secret.
pub(crate) fn assert_hidden(text: &str) {
    assert!(!text.contains(CANARY), "a secret is shown: {text}");
}

/// Returns `true` if `Debug` prints the character unescaped.
pub(crate) fn is_printable(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}
