//! PEM (RFC 7468), read as leniently as Go's `encoding/pem` and written strictly.
//!
//! Not `rustls_pki_types::pem`: it knows the labels of TLS only, refuses RFC 1421 headers and unused bits in the base64,
//! and what it refuses here would be a certificate that Vault signs and we do not.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

const BEGIN: &str = "-----BEGIN ";

/// Standard base64 whose last symbol may have unused bits set, as Go decodes it.
pub(crate) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A PEM block: its label and its bytes, or `None` if the base64 is broken or the end is missing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block<'a> {
    pub(crate) label: &'a str,
    pub(crate) der: Option<Vec<u8>>,
}

/// Returns the PEM blocks of a text, in linear time; other text around them is skipped.
pub(crate) fn blocks(mut text: &str) -> impl Iterator<Item = Block<'_>> {
    std::iter::from_fn(move || {
        let (_, rest) = text.split_once(BEGIN)?;
        let (label, rest) = rest.split_once("-----")?;
        // A block without an end must not swallow the next one.
        let own = rest.find(BEGIN).map_or(rest, |next| rest.get(..next).unwrap_or(rest));
        let end = format!("-----END {label}-----");
        let body = own.split_once(end.as_str()).map(|(body, _)| body);
        text = rest.get(body.map_or(own.len(), |body| body.len() + end.len())..)?;
        Some(Block {
            label,
            der: body.and_then(decode),
        })
    })
}

/// Decodes the body of a block; headers, which are the first lines and have a colon, are skipped.
fn decode(body: &str) -> Option<Vec<u8>> {
    let lines = body.trim_start().lines().skip_while(|line| line.contains(':'));
    let base64: Vec<u8> = lines
        .flat_map(str::bytes)
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    LENIENT.decode(base64).ok()
}

/// Returns a PEM block that ends in a newline.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut column = 0;
    for character in STANDARD.encode(der).chars() {
        text.push(character);
        // RFC 7468, section 2.
        column = (column + 1) % 64;
        if column == 0 {
            text.push('\n');
        }
    }
    if column > 0 {
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_blocks_among_other_text() {
        let text = format!("subject: x\n{}junk{}", encode("A", b"one"), encode("B C", &[9; 100]));
        let found: Vec<_> = blocks(&text).map(|block| (block.label, block.der)).collect();
        assert_eq!(found, [("A", Some(b"one".to_vec())), ("B C", Some(vec![9; 100]))]);
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
        ] {
            let block = Block {
                label: "A",
                der: Some(vec![0; 3]),
            };
            assert_eq!(blocks(text).collect::<Vec<_>>(), [block], "{text}");
        }
        for body in ["QQ==", "QR=="] {
            let text = format!("-----BEGIN A-----\n{body}\n-----END A-----\n");
            assert_eq!(blocks(&text).next().unwrap().der.unwrap(), b"A", "{body}");
        }
    }

    #[test]
    fn distinguishes_broken_blocks_from_none() {
        for text in ["", "<html>-----</html>", "-----BEGIN ", "-----BEGIN A"] {
            assert_eq!(blocks(text).next(), None, "{text}");
        }
        for text in [
            "-----BEGIN A-----\nAAAA",
            "-----BEGIN A-----\nA*AA\n-----END A-----",
            "-----BEGIN A-----\nAAAA\n-----END B-----",
            "-----BEGIN A-----\nAAAA\nk: v\n-----END A-----",
            "-----BEGIN A----------BEGIN A-----\nAAAA\n-----END A-----",
        ] {
            assert_eq!(blocks(text).next(), Some(Block { label: "A", der: None }), "{text}");
        }
    }

    #[test]
    fn torn_block_hides_no_other() {
        let whole = encode("A", b"whole");
        let text = format!("{}{whole}", &whole[..whole.len() / 2]);
        let found: Vec<_> = blocks(&text).map(|block| block.der).collect();
        assert_eq!(found, [None, Some(b"whole".to_vec())]);
    }

    proptest! {
        #[test]
        fn encoding_round_trips(der in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = encode("X", &der);
            prop_assert_eq!(blocks(&text).next(), Some(Block { label: "X", der: Some(der) }));
        }
    }
}
