//! Secrets, in every encoding in which they could leak.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The length of the pieces of a secret that are searched for: a leak of twice this length contains one of them.
const CHUNK: usize = 8;

/// The length of pieces for base64, which encodes three bytes in four characters.
const TRIPLES: usize = 9;

/// The length of the prefix by which pieces are found; every piece is longer.
const HEAD: usize = 8;

/// The texts that must not appear.
#[derive(Default)]
pub(super) struct Canaries {
    /// Pieces of secrets in every encoding, by their first bytes.
    needles: HashMap<[u8; HEAD], Vec<(Vec<u8>, String)>>,
}

impl Canaries {
    /// Adds a secret.
    pub(super) fn add(&mut self, name: &str, secret: &[u8]) {
        for piece in secret.chunks_exact(CHUNK) {
            let list = |separator: &str| {
                let numbers: Vec<_> = piece.iter().map(u8::to_string).collect();
                numbers.join(separator)
            };
            let hex = |byte: &u8| format!("{byte:02x}");
            self.needle(name, "plain", piece.to_vec());
            self.needle(name, "list", list(", ").into_bytes());
            self.needle(name, "compact list", list(",").into_bytes());
            self.needle(name, "hex", piece.iter().map(hex).collect::<String>().into_bytes());
            self.needle(
                name,
                "upper-case hex",
                piece.iter().map(hex).collect::<String>().to_uppercase().into_bytes(),
            );
            self.needle(name, "percent", percent(piece).into_bytes());
            self.needle(name, "debug", piece.escape_ascii().to_string().into_bytes());
            if let Ok(text) = str::from_utf8(piece) {
                let json = serde_json::to_string(text).unwrap();
                self.needle(name, "JSON", json.trim_matches('"').as_bytes().to_vec());
            }
        }
        for piece in secret.windows(TRIPLES) {
            self.needle(name, "base64", STANDARD.encode(piece).into_bytes());
            self.needle(name, "base64url", URL_SAFE.encode(piece).into_bytes());
        }
    }

    fn needle(&mut self, name: &str, writing: &str, needle: Vec<u8>) {
        let head = *needle.first_chunk().unwrap();
        let known = self.needles.entry(head).or_default();
        if known.iter().all(|(known, _)| *known != needle) {
            known.push((needle, format!("{name}, {writing}")));
        }
    }

    /// Returns the canary that a text contains, with the text just before it.
    fn find<'t>(&self, text: &'t str) -> Option<(&str, &'t [u8])> {
        let bytes = text.as_bytes();
        // A filter in front: most positions begin no needle.
        let mut begins = vec![false; 1 << 16];
        let place = |two: &[u8]| usize::from(u16::from_le_bytes([two[0], two[1]]));
        self.needles.keys().for_each(|head| begins[place(head)] = true);
        for at in 0..bytes.len().saturating_sub(HEAD - 1) {
            if !begins[place(&bytes[at..])] {
                continue;
            }
            let rest = &bytes[at..];
            let known = self.needles.get(&rest[..HEAD]).into_iter().flatten();
            if let Some((_, name)) = known.into_iter().find(|(needle, _)| rest.starts_with(needle)) {
                return Some((name, &bytes[at.saturating_sub(200)..at]));
            }
        }
        None
    }

    /// Fails if a text contains a canary, without printing it.
    pub(super) fn assert_none(&self, text: &str, context: &str) {
        if let Some((name, before)) = self.find(text) {
            panic!("{context}: {name}, after\n{}", String::from_utf8_lossy(before));
        }
    }
}

/// Percent-encodes bytes.
fn percent(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    bytes
        .iter()
        .map(|&b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[test]
fn canaries_are_found_in_every_encoding() {
    let secret = b"canary \"of\" 24+3 by/es \\..";
    let mut canaries = Canaries::default();
    canaries.add("canary", secret);
    let plain = str::from_utf8(secret).unwrap();
    for text in [
        plain.to_owned(),
        plain[5..21].to_owned(),
        format!("{plain:?}"),
        format!("{secret:?}"),
        serde_json::to_string(plain).unwrap(),
        serde_json::to_string(secret).unwrap(),
        percent(secret),
        secret.map(|byte| format!("{byte:02x}")).concat(),
        secret.map(|byte| format!("{byte:02X}")).concat(),
        STANDARD.encode(secret),
        STANDARD.encode(format!("a{plain}")),
        URL_SAFE.encode(format!("id:{plain}")),
    ] {
        let text = format!("before {text} after");
        assert!(canaries.find(&text).is_some(), "{text}");
    }
    assert_eq!(canaries.find("canary"), None);
    assert_eq!(canaries.find(""), None);
}
