//! The part of DER that x509-parser does not offer: elements exactly as they were encoded.

pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
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

/// Splits off the first element; `None` if it is truncated or its length is not in the shortest form.
pub(crate) fn split(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        // Up to 16 MiB: more than any input, and too little to overflow.
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
    // Tags of several bytes occur in nothing that is read here.
    (tag & 0x1f != 0x1f).then_some((Element { tag, content, whole }, rest))
}

/// Returns the content of the element of the given tag that makes up the whole input.
pub(crate) fn only(tag: u8, input: &[u8]) -> Option<&[u8]> {
    let (element, rest) = split(input)?;
    (element.tag == tag && rest.is_empty()).then_some(element.content)
}

/// Splits the content of a constructed element into its elements.
pub(crate) fn elements(mut content: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    while !content.is_empty() {
        let (element, rest) = split(content)?;
        elements.push(element);
        content = rest;
    }
    Some(elements)
}

/// The outer structure of a certificate and of a CSR: the signed part, the algorithm and the signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    /// The content of the `AlgorithmIdentifier`.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let parts = elements(only(SEQUENCE, der)?)?;
        // Go takes further elements for those of a later version.
        let [message, algorithm, signature, ..] = *parts.as_slice() else {
            return None;
        };
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
    // Keys and signatures consist of whole bytes.
    (element.tag == BIT_STRING && *unused == 0).then_some(bits)
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

    proptest! {
        #[test]
        fn elements_cover_their_input(content in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(elements) = elements(&content) {
                let whole: Vec<u8> = elements.iter().flat_map(|element| element.whole.to_vec()).collect();
                prop_assert_eq!(whole, content);
            }
        }
    }
}
