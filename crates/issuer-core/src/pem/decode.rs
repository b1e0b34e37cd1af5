//! PEM as Go's `encoding/pem` decodes it: what users write is read by cert-manager and Vault, which are written in Go.

use issuer_api::Base64;

const BEGIN: &[u8] = super::BEGIN.as_bytes();

/// A block ends at the start of a line.
const END: &[u8] = b"\n-----END ";

const DASHES: &[u8] = b"-----";

/// A block that Go finds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded<'a> {
    pub(crate) label: &'a [u8],
    pub(crate) has_headers: bool,
    pub(crate) der: Vec<u8>,
}

/// Returns the blocks that `pem.Decode` of Go 1.26 finds when it is called again and again, in linear time.
///
/// It must be exactly these, not more: an approver looks at the first block that Go finds, and no other may be signed. So this
/// follows the function step by step.
/// <https://github.com/golang/go/blob/go1.26.0/src/encoding/pem/pem.go>
pub(crate) fn decode(text: &[u8]) -> impl Iterator<Item = Decoded<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (block, after) = next(rest)?;
        rest = after;
        Some(block)
    })
}

/// Returns `true` if a line may be read both as a header and as the frame of a block. Versions of Go differ about these, the
/// older ones (before 1.25.2) take them for headers, so an approver may see another block than Vault signs.
pub(crate) fn has_framed_header(text: &[u8]) -> bool {
    let holds = |line: &[u8], frame: &[u8]| line.windows(frame.len()).any(|part| part == frame);
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| line.contains(&b':'));
    lines.any(|line| holds(line, BEGIN) || holds(line, super::END.as_bytes()))
}

/// Returns the first block and the lines after it.
fn next(mut text: &[u8]) -> Option<(Decoded<'_>, &[u8])> {
    loop {
        let end = find_end(text)?;
        let (before, after) = (text.get(..end)?, text.get(end + END.len()..)?);
        // The last line that begins a block: those before it have no end.
        let begin = find_last_begin(before).filter(|at| *at == 0 || before.get(at - 1) == Some(&b'\n'));
        let Some(begun) = begin.and_then(|at| text.get(at + BEGIN.len()..)) else {
            text = after;
            continue;
        };
        let (first, mut body) = split_line(begun);
        let Some(label) = first.strip_suffix(DASHES) else {
            text = after;
            continue;
        };
        let mut has_headers = false;
        loop {
            if body.is_empty() {
                return None;
            }
            let (line, following) = split_line(body);
            if !line.contains(&b':') {
                break;
            }
            has_headers = true;
            body = following;
        }
        // Negative if there is no line between, and if a header is behind the end.
        let length = body.len().checked_sub(text.len() - end);
        if has_headers && length.is_none() {
            if body.len() < after.len() {
                return None;
            }
            text = after;
            continue;
        }
        let closed = after.strip_prefix(label).and_then(|rest| rest.strip_prefix(DASHES));
        let is_closed = closed.is_some_and(|rest| split_line(rest).0.is_empty());
        let der = length.map_or_else(|| Some(Vec::new()), |length| base64(body.get(..length)?));
        let Some(der) = der.filter(|_| is_closed) else {
            text = after;
            continue;
        };
        let block = Decoded {
            label,
            has_headers,
            der,
        };
        return Some((block, split_line(after).1));
    }
}

/// Returns the position of the first [`END`].
fn find_end(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let newline = from + text.get(from..)?.iter().position(|byte| *byte == b'\n')?;
        if text.get(newline..)?.starts_with(END) {
            return Some(newline);
        }
        from = newline + 1;
    }
}

/// Returns the position of the last [`BEGIN`].
fn find_last_begin(text: &[u8]) -> Option<usize> {
    let mut before = text;
    loop {
        let space = before.iter().rposition(|byte| *byte == b' ')?;
        if before.get(..=space)?.ends_with(BEGIN) {
            return Some(space + 1 - BEGIN.len());
        }
        before = before.get(..space)?;
    }
}

/// Splits off the first line, without the blanks at its end.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = text.splitn(2, |byte| *byte == b'\n');
    let (line, rest) = (halves.next().unwrap_or_default(), halves.next());
    let mut line = match rest {
        Some(_) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    };
    while let [shorter @ .., b' ' | b'\t'] = line {
        line = shorter;
    }
    (line, rest.unwrap_or_default())
}

/// Decodes base64 with blanks and line breaks anywhere.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut solid = Vec::with_capacity(text.len());
    for part in text.split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        solid.extend_from_slice(part);
    }
    Base64::decode_text(solid)
}

#[cfg(test)]
mod tests {
    use super::super::{certificates, encode};
    use super::*;

    const ONE: &str = "-----BEGIN A-----\nMQ==\n-----END A-----\n";
    const TWO: &str = "-----BEGIN A-----\nMg==\n-----END A-----\n";

    /// As decoded by Go 1.26.
    #[test]
    fn finds_the_blocks_that_go_finds() {
        let table: [(String, &[&str]); 37] = [
            (String::new(), &[]),
            (format!("{ONE}{TWO}"), &["1", "2"]),
            (format!("a comment\n{ONE}another{TWO}"), &["1"]),
            (format!(" {ONE}{TWO}"), &["2"]),
            (format!("x{ONE}{TWO}"), &["2"]),
            (format!("\u{feff}{ONE}{TWO}"), &["2"]),
            (format!("{}{TWO}", ONE.replace("A-----\nM", "A----- x\nM")), &["2"]),
            (
                format!("{}{TWO}", ONE.replace("A-----\nM", "A----- \t\nM")),
                &["1", "2"],
            ),
            (format!("{}{TWO}", ONE.replace("A-----\nM", "A----\nM")), &["2"]),
            (format!("{}{TWO}", ONE.replace("\n-----END", "-----END")), &["2"]),
            (format!("{}{TWO}", ONE.replace("-----END", " -----END")), &["2"]),
            (format!("{}{TWO}", ONE.replace("END A", "END B")), &["2"]),
            (format!("{} x\n{TWO}", ONE.trim_end()), &["2"]),
            (format!("{}{TWO}", ONE.trim_end()), &[]),
            (format!("{} \t\r\n{TWO}", ONE.trim_end()), &["1", "2"]),
            (format!("{}{TWO}", ONE.replace("==", "=")), &["2"]),
            (format!("{}{TWO}", ONE.replace("==", "==*")), &["2"]),
            (format!("{}{TWO}", ONE.replace("MQ==\n", "")), &["", "2"]),
            (format!("{}{TWO}", ONE.replace("MQ==", "")), &["", "2"]),
            (ONE.replace("MQ==", " M\r\n\tQ= ="), &["1"]),
            (format!("{}{TWO}", ONE.replace("MQ", "M\u{b}Q")), &["2"]),
            (ONE.replace('\n', "\r\n"), &["1"]),
            (ONE.replace('\n', "\r"), &[]),
            (ONE.replace("MQ", "a: b\n\nMQ"), &["1"]),
            (ONE.replace("MQ", "a: b\nMQ"), &["1"]),
            (format!("{}{TWO}", ONE.replace("==", "==\na: b")), &["2"]),
            (format!("{}{TWO}", ONE.replace("MQ==", "a: b")), &["2"]),
            (
                format!(
                    "{}{TWO}",
                    ONE.replace("MQ==\n-----END A-----", "a: b\n-----END A-----:")
                ),
                &[],
            ),
            ("-----BEGIN A-----\na: b\n".to_owned(), &[]),
            (format!("-----BEGIN A-----\n{TWO}"), &["2"]),
            (format!("-----BEGIN A-----\nMQ==\n{TWO}"), &["2"]),
            (format!("-----END A-----\n{TWO}"), &["2"]),
            (format!("\n-----END A-----\n{TWO}"), &["2"]),
            (format!("\n-----END {TWO}"), &["2"]),
            (format!("{}{TWO}", ONE.replace("BEGIN A", "BEGIN -----BEGIN A")), &["2"]),
            (format!("{}{TWO}", ONE.replace("A-----", "A------")), &["1", "2"]),
            (format!("{}{TWO}", ONE.replace(" A-----", " -----")), &["1", "2"]),
        ];
        for (text, blocks) in table {
            let found: Vec<_> = decode(text.as_bytes()).map(|block| block.der).collect();
            let expected: Vec<_> = blocks.iter().map(|der| der.as_bytes().to_vec()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn trusts_what_go_trusts() {
        const A: &str = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";
        let found = |bundle: &str| certificates(bundle.as_bytes()).collect::<Vec<_>>();
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let key = encode("PRIVATE KEY", b"key");
        let headers = "-----BEGIN CERTIFICATE-----\na: b\n\nAAAA\n-----END CERTIFICATE-----\n";
        for bundle in [
            A.to_owned(),
            A.replace('\n', "\r\n"),
            A.replace('\n', "\t \n"),
            A.replace("QQ==", "QR=="),
            A.replace("QQ==", " Q\nQ = ="),
            A.trim_end().to_owned(),
            format!("a comment\n{A}another"),
            format!("{torn}{A}"),
            format!("{A}{torn}"),
            format!("{torn}{key}{A}"),
            format!("{headers}{A}"),
        ] {
            assert_eq!(found(&bundle), [b"A"], "{bundle}");
        }
        assert_eq!(found(&format!("{A}{A}")).len(), 2);
        for bundle in [
            String::new(),
            torn.to_owned(),
            key,
            headers.to_owned(),
            A.replace("-----BEGIN", " -----BEGIN"),
            A.replace("-----BEGIN", "-----BEGIN -----BEGIN"),
            A.replace("E-----\nQQ", "E-----QQ"),
            A.replace("==\n", "=="),
            A.replace('\n', "\r"),
            format!("{} x", A.trim_end()),
            format!("\u{feff}{A}"),
            A.replace("QQ==", "QQ"),
        ] {
            assert_eq!(found(&bundle), Vec::<Vec<u8>>::new(), "{bundle}");
        }
    }

    #[test]
    fn labels_are_compared_as_bytes() {
        let ends = [b"\xfe".as_slice(), b"\xff"];
        let found = ends.map(|end| {
            let text = [b"-----BEGIN \xfe-----\nMQ==\n-----END ", end, b"-----\n"].concat();
            decode(&text).count()
        });
        assert_eq!(found, [1, 0]);
    }
}
