//! Bytes that are never printed and are wiped after use.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use zeroize::Zeroize;

/// Bytes that must never be printed: a token, a secret ID, a private key.
///
/// Clones share one buffer, which is wiped when the last of them is dropped. There is no `Debug`, `Display` or
/// `Serialize`:
///
/// ```compile_fail
/// format!("{:?}", issuer_core::Secret::from("hvs.x"));
/// ```
///
/// ```compile_fail
/// format!("{}", issuer_core::Secret::from("hvs.x"));
/// ```
///
/// ```compile_fail
/// serde_json::to_string(&issuer_core::Secret::from("hvs.x"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Wiped>);

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl Secret {
    /// Returns the bytes. Call it only where they are sent or parsed.
    pub fn expose(&self) -> &[u8] {
        &self.0.0
    }

    /// Returns the text without surrounding white space, or `None` if the bytes are not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        // A Secret that was created from a file often ends in a newline.
        std::str::from_utf8(self.expose()).ok().map(str::trim)
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Wiped(bytes)))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

/// The body of a request or reply: wiped on drop, printed as its length.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(Wiped);

impl Body {
    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.0
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Wiped(bytes))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.as_bytes().len())
    }
}

/// Bytes that are wiped on drop, spare room included, in one pass: `Zeroizing` writes those of a vector one by one.
#[derive(Clone, Default, PartialEq, Eq)]
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}
