//! The little of DER and PEM that x509-parser does not give: elements as they were encoded, and strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// An element with a tag of one byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Tag, length and content.
    pub(crate) whole: &'a [u8],
}

/// Splits off the first element; `None` if its length is not there or not in its shortest form.
pub(crate) fn split(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let shortest = if bytes.len() == 1 {
                length >= 0x80
            } else {
                bytes.first() != Some(&0)
            };
            (shortest.then_some(length)?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = input.get(..input.len() - rest.len())?;
    (tag & 0x1f != 0x1f).then_some((Element { tag, content, whole }, rest))
}

/// Reads the content of the one element of the given tag that is all of the input.
pub(crate) fn only(tag: u8, input: &[u8]) -> Option<&[u8]> {
    let (element, rest) = split(input)?;
    (element.tag == tag && rest.is_empty()).then_some(element.content)
}

/// Splits the content of a constructed element.
pub(crate) fn elements(mut content: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    while !content.is_empty() {
        let (element, rest) = split(content)?;
        elements.push(element);
        content = rest;
    }
    Some(elements)
}

/// What was signed, how, and the signature: the outer form of a certificate and of a CSR.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    /// The content of the `AlgorithmIdentifier`.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let [message, algorithm, signature] = elements(only(SEQUENCE, der)?)?.try_into().ok()?;
        let signed = Self {
            message: message.whole,
            algorithm: only(SEQUENCE, algorithm.whole)?,
            signature: bits(signature)?,
        };
        (message.tag == SEQUENCE).then_some(signed)
    }
}

/// Reads a bit string of whole bytes.
pub(crate) fn bits(element: Element<'_>) -> Option<&[u8]> {
    let (unused, bits) = element.content.split_first()?;
    (element.tag == BIT_STRING && *unused == 0).then_some(bits)
}

/// A PEM block: its label and, unless its base64 is broken or it has no end, its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block<'a> {
    pub(crate) label: &'a str,
    pub(crate) der: Option<Vec<u8>>,
}

/// Reads the PEM blocks of a text, in linear time; what is around them is skipped.
pub(crate) fn blocks(mut text: &str) -> impl Iterator<Item = Block<'_>> {
    std::iter::from_fn(move || {
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let end = format!("-----END {label}-----");
        let (body, rest) = rest.split_once(end.as_str()).unwrap_or(("-", ""));
        text = rest;
        let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        Some(Block {
            label,
            der: STANDARD.decode(body).ok(),
        })
    })
}

/// Writes a PEM block that ends in a newline.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut column = 0;
    for character in STANDARD.encode(der).chars() {
        text.push(character);
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
    fn splits_strict_der_only() {
        let table: [(&[u8], Option<usize>); 11] = [
            (&[0x30, 0x00], Some(0)),
            (&[0x04, 0x02, 1, 2, 3], Some(2)),
            (&[], None),
            (&[0x30], None),
            (&[0x04, 0x02, 1], None),
            (&[0x04, 0x80, 1, 0, 0], None),
            (&[0x04, 0x81, 0x01, 1], None),
            (&[0x04, 0x82, 0x00, 0x80], None),
            (&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], None),
            (&[0x04, 0xff, 0xff, 0xff, 0xff, 0xff], None),
            (&[0x1f, 0x81, 0x01, 0x00], None),
        ];
        for (input, content) in table {
            assert_eq!(
                split(input).map(|(element, _)| element.content.len()),
                content,
                "{input:?}"
            );
        }
        let long: Vec<u8> = [0x04, 0x81, 0x80].into_iter().chain([7; 0x80]).collect();
        assert_eq!(only(0x04, &long), Some([7; 0x80].as_slice()));
        assert_eq!(only(SEQUENCE, &long), None);
    }

    #[test]
    fn reads_pem_among_other_text() {
        let text = format!("subject: x\n{}junk{}", pem("A", b"one"), pem("B C", &[9; 100]));
        let found: Vec<_> = blocks(&text).map(|block| (block.label, block.der)).collect();
        assert_eq!(found, [("A", Some(b"one".to_vec())), ("B C", Some(vec![9; 100]))]);
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn tells_broken_pem_from_none() {
        for text in ["", "<html>-----</html>", "-----BEGIN ", "-----BEGIN A"] {
            assert_eq!(blocks(text).next(), None, "{text}");
        }
        for text in [
            "-----BEGIN A-----\nAAAA",
            "-----BEGIN A-----\nA*AA\n-----END A-----",
            "-----BEGIN A-----\nAAAA\n-----END B-----",
            "-----BEGIN A-----\nk: v\n\nAAAA\n-----END A-----",
            "-----BEGIN A----------BEGIN A-----\nAAAA\n-----END A-----",
        ] {
            assert_eq!(blocks(text).next(), Some(Block { label: "A", der: None }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pem_round_trips(der in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = pem("X", &der);
            prop_assert_eq!(blocks(&text).next(), Some(Block { label: "X", der: Some(der) }));
        }

        #[test]
        fn elements_cover_their_input(content in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(elements) = elements(&content) {
                let whole: Vec<u8> = elements.iter().flat_map(|element| element.whole.to_vec()).collect();
                prop_assert_eq!(whole, content);
            }
        }
    }
}
