//! The certificates of a PEM bundle, which a client trusts.
//!
//! Not the core's reader of Vault's answers, which also takes blocks that have headers or begin in the middle of a line:
//! no certificate may be trusted that Go's `x509.CertPool` skips. Nor `rustls_pki_types::pem`, which refuses unused bits in
//! the base64. A bundle need not be UTF-8, so it is read as bytes.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rustls::pki_types::CertificateDer;

const BEGIN: &[u8] = b"-----BEGIN ";
const LABEL: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Returns the certificates of a PEM bundle, as Go's `encoding/pem` finds them: text around the blocks is ignored, white
/// space at the end of a line too, and a block that is torn or not base64 does not harm the others.
pub(crate) fn certificates(bundle: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut found = Vec::new();
    let mut block: Option<Vec<u8>> = None;
    for line in bundle.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if line == LABEL {
            block = Some(Vec::new());
        } else if line == END {
            let decoded = block.take().and_then(|text| LENIENT.decode(text).ok());
            found.extend(decoded.map(CertificateDer::from));
        } else if line.starts_with(BEGIN) {
            block = None;
        } else if let Some(block) = &mut block {
            block.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bundle: &str) -> Vec<Vec<u8>> {
        let found = certificates(bundle.as_bytes());
        found.iter().map(|certificate| certificate.to_vec()).collect()
    }

    const A: &str = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";

    #[test]
    fn bundles_are_read_as_go_reads_them() {
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
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
            key.to_owned(),
            A.replace("-----BEGIN", " -----BEGIN"),
            format!("\u{feff}{A}"),
            A.replace("QQ==", "QQ"),
        ] {
            assert_eq!(found(&bundle), Vec::<Vec<u8>>::new(), "{bundle}");
        }
    }
}
