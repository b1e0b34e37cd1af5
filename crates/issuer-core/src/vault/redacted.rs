//! Vault's texts, made safe for a status.

use std::fmt;

// No library serves: what may be a credential follows from Vault's formats, and names of certificates must stay legible.

/// Vault's reason for a refusal, sanitized for a condition: one line of printable characters, at most 256 bytes, without
/// anything that could be a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted(String);

const LIMIT: usize = 256;

impl Redacted {
    /// Joins Vault's `errors`, removes the framing that Vault's core adds (`1 error occurred: * ..`), replaces words that
    /// look like a token, a JWT or a key, and truncates the rest.
    pub(crate) fn new(errors: &[String]) -> Self {
        let mut text = String::new();
        let words = errors
            .iter()
            .flat_map(|error| error.split(|c: char| c.is_whitespace() || c.is_control()));
        for word in words.filter(|word| !matches!(*word, "" | "*")) {
            let word = if is_credential(word) {
                "[redacted]".to_owned()
            } else {
                printable(word)
            };
            // Cut between words: the first half of a token would not be recognized as one.
            if text.len() + word.len() + 1 > LIMIT {
                text.push('…');
                break;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&word);
        }
        // Vault joins the errors of its plugins so (github.com/hashicorp/go-multierror).
        for framing in ["1 error occurred: ", "2 errors occurred: "] {
            if let Some(rest) = text.strip_prefix(framing) {
                text = rest.to_owned();
            }
        }
        Self(text)
    }

    /// Returns `true` if this is the whole text.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0 == text
    }

    /// Returns `true` if the text begins with `words`. What Vault quotes, such as a name in a CSR, comes later.
    pub(crate) fn starts_with(&self, words: &str) -> bool {
        self.0.starts_with(words)
    }

    /// Returns `true` if Vault gave no reason.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the reason for the end of a message: after a colon, or nothing at all.
    pub(crate) fn after_colon(&self) -> String {
        if self.is_empty() {
            String::new()
        } else {
            format!(": {self}")
        }
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("no reason given")
        } else {
            f.write_str(&self.0)
        }
    }
}

/// Replaces characters that reorder, hide or join text by question marks.
fn printable(word: &str) -> String {
    word.chars()
        .map(|c| {
            if c.is_ascii_graphic() || c.is_alphanumeric() {
                c
            } else {
                '?'
            }
        })
        .collect()
}

/// Returns `true` if there could be a secret in a word, such as one of quoted JSON: a Vault token, a JWT, a UUID, or a run
/// of 20 letters and digits.
fn is_credential(word: &str) -> bool {
    let parts = word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')));
    let known = parts
        .flat_map(beginnings)
        .any(|text| is_token(text) || begins_with_uuid(text));
    let opaque = |run: &str| {
        let has = |class: fn(&u8) -> bool| run.as_bytes().iter().any(class);
        run.len() >= 20 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    let runs = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '/' | '='));
    known || word.split(runs).any(opaque)
}

/// Returns the suffixes of a text that start where a run of ASCII letters and digits starts.
fn beginnings(text: &str) -> impl Iterator<Item = &str> {
    let mut before = false;
    let begins = text.char_indices().filter(move |(_, c)| {
        let inside = std::mem::replace(&mut before, c.is_ascii_alphanumeric());
        before && !inside
    });
    begins.filter_map(|(at, _)| text.get(at..))
}

/// Returns `true` if a text begins with a Vault token, in its current or former format, or a JWT.
fn is_token(text: &str) -> bool {
    let run = |rest: &str| {
        rest.bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            .count()
    };
    let modern = ["hvs.", "hvb.", "hvr.", "eyJ"];
    let modern = modern.iter().any(|prefix| text.starts_with(prefix));
    modern && text.len() >= 20
        || ["s.", "b.", "r."]
            .iter()
            .filter_map(|old| text.strip_prefix(old))
            .any(|rest| run(rest) >= 18)
}

fn begins_with_uuid(text: &str) -> bool {
    let lengths = |uuid: &str| uuid.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let digits = |uuid: &str| uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    text.get(..36).is_some_and(|uuid| lengths(uuid) && digits(uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(error: &str) -> String {
        Redacted::new(&[error.to_owned()]).to_string()
    }

    #[test]
    fn keeps_the_reason() {
        for reason in [
            "common name web.example.org not allowed by this role",
            "subject alternate name web-7-of-the-production-cluster.example.org not allowed by this role",
            "unknown role: production-web-2-of-3",
            "common name s.example.production.cluster.example.org not allowed by this role",
        ] {
            assert_eq!(redacted(reason), reason);
        }
        assert_eq!(
            redacted("1 error occurred:\n\t* permission denied\n\n"),
            "permission denied"
        );
        assert_eq!(redacted(""), "no reason given");
    }

    #[test]
    fn replaces_possible_credentials() {
        for secret in [
            "hvs.CAESIJzVnLGGR0mLkQJX4YkJ",
            "s.aaaaaaaaaaaaaaaaaaaaaaaa",
            "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJr.c2lnbmF0dXJl",
            "bd84f1c1-86c0-0b55-3ecd-e4f60a3df2a3",
            "\"hvs.CAESIJzVnLGGR0mLkQJX4YkJ\",",
            "{\"role_id\":\"a\",\"secret_id\":\"bd84f1c1-86c0-0b55-3ecd-e4f60a3df2a3\"}",
            "token=hvs.abcdefghijklmnopqrstuvwx",
            "token-hvs.abcdefghijklmnopqrstuvwx",
            "b-s.aaaaaaaaaaaaaaaaaaaaaaaa/c",
            "id-bd84f1c1-86c0-0b55-3ecd-e4f60a3df2a3.",
        ] {
            assert_eq!(redacted(&format!("bad {secret}")), "bad [redacted]");
        }
    }

    #[test]
    fn is_one_short_line() {
        let long = redacted(&"<html>\u{7}\n".repeat(1000));
        assert!(long.len() <= LIMIT + '…'.len_utf8());
        assert!(!long.contains(char::is_control));
        assert_eq!(redacted("a\u{202e}b\u{200b}c \u{fc}ber"), "a?b?c \u{fc}ber");
    }
}
