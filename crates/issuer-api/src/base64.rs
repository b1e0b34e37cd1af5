//! Base64 as the API server and Go admit it.

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use base64::{Engine, alphabet};
use serde::{Deserialize, Serialize};

/// Unused bits at the end may have any value, as for Go's decoder.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The bytes of a field of `format: byte`, kept as the base64 text that the API server holds.
///
/// The API server and Go's decoder admit more than strict decoders do, and a field that cannot be decoded must not keep
/// a list from being read. So any text deserializes, and is decoded only where the bytes are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Base64(String);

impl Base64 {
    /// Encodes bytes, with padding.
    pub fn encode(bytes: impl AsRef<[u8]>) -> Self {
        Self(BASE64_STANDARD.encode(bytes))
    }

    /// Decodes the text as Go's `base64.StdEncoding` does: line breaks are skipped, padding is required, and bits beyond
    /// the last byte are ignored. Returns `None` if it is not base64.
    pub fn decode(&self) -> Option<Vec<u8>> {
        // Hardly any text has line breaks, and one that has is no base64 for the decoder.
        Self::decode_text(&self.0).or_else(|| Self::decode_text(self.0.replace(['\r', '\n'], "")))
    }

    /// Decodes text without line breaks as [`decode`](Self::decode) does.
    pub fn decode_text(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        LENIENT.decode(text).ok()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the length of the text.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Option<Vec<u8>> {
        Base64(text.to_owned()).decode()
    }

    #[test]
    fn decodes_what_go_decodes() {
        for text in ["QQ==", "QR==", "Q\nQ=\r\n="] {
            assert_eq!(decode(text).as_deref(), Some(&b"A"[..]), "{text}");
        }
        assert_eq!(decode("").as_deref(), Some(&b""[..]));
        for text in ["QQ", "QQ=", "Q", "QQ== ", "Q-==", "=", "QQ==QQ=="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn text_is_kept_as_it_was() {
        for text in ["\"QR==\"", "\"no base64\"", "\"\""] {
            let field: Base64 = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&field).unwrap(), text);
        }
        assert_eq!(Base64::encode("A"), Base64("QQ==".to_owned()));
    }
}
