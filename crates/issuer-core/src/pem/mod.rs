//! PEM (RFC 7468): what users write is decoded exactly as Go does it, what Vault answers leniently, and all is written
//! strictly.
//!
//! Not `rustls_pki_types::pem`: it knows the labels of TLS only, refuses RFC 1421 headers and unused bits in the base64,
//! and what it refuses here would be a certificate that Vault signs and we do not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::Base64;

mod decode;

pub(crate) use decode::{decode, has_framed_header};

const BEGIN: &str = "-----BEGIN ";

const END: &str = "-----END ";

/// The characters of base64 in a line.
const LINE: usize = 64;

/// A PEM block of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block<'a> {
    pub(crate) label: &'a str,
    /// The bytes, or `None` if the base64 is broken or the end is missing.
    pub(crate) der: Option<Vec<u8>>,
}

/// Returns the PEM blocks of an answer, in linear time; other text around them is skipped. Blocks that are broken are among
/// them: an answer that lacks a certificate must not pass for a whole one.
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    // A block ends where the next begins, so one without an end swallows no other.
    text.split(BEGIN).skip(1).filter_map(Block::read)
}

/// Returns the certificates of a bundle that Go's `x509.CertPool` takes; it skips those with headers, so they must not be
/// trusted here either.
pub(crate) fn certificates(bundle: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let trusted = decode(bundle).filter(|block| block.label == b"CERTIFICATE" && !block.has_headers);
    trusted.map(|block| block.der)
}

impl<'a> Block<'a> {
    /// Reads the text that follows a [`BEGIN`].
    fn read(text: &'a str) -> Option<Self> {
        let (label, rest) = text.split_once("-----")?;
        if label.contains('\n') {
            return None;
        }
        let body = rest.match_indices(END).find_map(|(at, _)| {
            let (body, end) = rest.split_at_checked(at)?;
            end.strip_prefix(END)?.strip_prefix(label)?.strip_prefix("-----")?;
            Some(body)
        });
        let der = body.and_then(decode_body);
        Some(Self { label, der })
    }
}

/// Decodes the body of a block; headers, which are the first lines and have a colon, are skipped.
fn decode_body(body: &str) -> Option<Vec<u8>> {
    let mut rest = body.trim_start();
    while let Some((line, after)) = rest.split_once('\n')
        && line.contains(':')
    {
        rest = after;
    }
    let mut base64 = Vec::with_capacity(rest.len());
    for part in rest.split_ascii_whitespace() {
        base64.extend_from_slice(part.as_bytes());
    }
    Base64::decode_text(base64)
}

/// Returns a PEM block that ends in a newline.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let frame = 2 * label.len() + "-----BEGIN -----\n-----END -----\n".len();
    let mut text = String::with_capacity(base64.len() + base64.len().div_ceil(LINE) + frame);
    text.extend([BEGIN, label, "-----\n"]);
    let mut rest = base64.as_str();
    while let Some((line, after)) = rest.split_at_checked(LINE) {
        text.extend([line, "\n"]);
        rest = after;
    }
    if !rest.is_empty() {
        text.extend([rest, "\n"]);
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(&str, Option<Vec<u8>>)> {
        blocks(text).map(|block| (block.label, block.der)).collect()
    }

    #[test]
    fn reads_blocks_among_other_text() {
        let text = format!("subject: x\n{}junk{}", encode("A", b"one"), encode("B C", &[9; 100]));
        assert_eq!(read(&text), [("A", Some(b"one".to_vec())), ("B C", Some(vec![9; 100]))]);
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn reads_every_form_that_go_reads() {
        for text in [
            "-----BEGIN A-----\nAAAA\n-----END A-----\n",
            "-----BEGIN A-----\r\nAAAA\r\n-----END A-----\r\n",
            "-----BEGIN A-----\nAAAA\n-----END A-----",
            "-----BEGIN A-----  \nAA\nAA\t\n-----END A-----  \n",
            "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nk: v\n\nAAAA\n-----END A-----",
            "-----BEGIN A-----\nk: -----END B-----\n\nAAAA\n-----END A-----",
        ] {
            assert_eq!(read(text), [("A", Some(vec![0; 3]))], "{text}");
        }
        for body in ["QQ==", "QR=="] {
            let text = format!("-----BEGIN A-----\n{body}\n-----END A-----\n");
            assert_eq!(blocks(&text).next().unwrap().der.unwrap(), b"A", "{body}");
        }
    }

    #[test]
    fn distinguishes_broken_blocks_from_none() {
        for text in [
            "",
            "<html>-----</html>",
            "-----BEGIN ",
            "-----BEGIN A",
            "-----BEGIN A\n-----",
        ] {
            assert_eq!(blocks(text).next(), None, "{text}");
        }
        for text in [
            "-----BEGIN A-----\nAAAA",
            "-----BEGIN A-----\nA*AA\n-----END A-----",
            "-----BEGIN A-----\nAAAA\n-----END B-----",
            "-----BEGIN A-----\nAAAA\nk: v\n-----END A-----",
            "-----BEGIN A----------BEGIN A-----\nAAAA\n-----END A-----",
        ] {
            assert_eq!(read(text).first(), Some(&("A", None)), "{text}");
        }
    }

    #[test]
    fn torn_block_hides_no_other() {
        let whole = encode("A", b"whole");
        for torn in [
            whole.len() / 2,
            "-----BEGIN A-----".len(),
            "-----BEGIN A".len(),
            BEGIN.len(),
        ] {
            let text = format!("{}\n{whole}", &whole[..torn]);
            assert_eq!(read(&text).last(), Some(&("A", Some(b"whole".to_vec()))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn encoding_round_trips(der in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = encode("X", &der);
            prop_assert_eq!(read(&text), [("X", Some(der))]);
        }
    }
}
