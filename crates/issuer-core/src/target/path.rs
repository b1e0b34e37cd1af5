//! Paths of Vault's API.

use std::fmt;

use crate::origin::plain_segments;

/// The longest path, in bytes; the CRD takes none that is longer.
const PATH_LIMIT: usize = 1024;

/// Splits an API path into its segments, without a leading `/v1`; `None` if a segment could escape or end the path.
fn segments(path: &str) -> Option<Vec<&str>> {
    let mut segments = plain_segments(path.trim())?;
    if segments.len() > 1 && segments.first() == Some(&"v1") {
        segments.remove(0);
    }
    let length = segments.iter().map(|segment| segment.len() + 1).sum::<usize>();
    (2..=PATH_LIMIT + 1).contains(&length).then_some(segments)
}

/// Where an auth method is mounted, below `auth/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount(String);

impl Mount {
    /// Parses `approle`, `auth/approle`, `/v1/auth/approle` and the like, with or without slashes at the ends.
    pub fn parse(path: &str) -> Option<Self> {
        let segments = segments(path)?;
        let below = match segments.as_slice() {
            ["auth", below @ ..] if !below.is_empty() => below,
            all => all,
        };
        Some(Self(below.join("/")))
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The endpoint whose answer a wrapping token stands for, such as `auth/approle/role/web/secret-id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WrappingPath(String);

impl WrappingPath {
    /// Parses a path below `auth/`, with or without `/v1` and slashes at the ends.
    pub fn parse(path: &str) -> Option<Self> {
        let segments = segments(path)?;
        matches!(segments.as_slice(), ["auth", _, .., _]).then(|| Self(segments.join("/")))
    }

    /// Returns the path, without `/v1/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` if Vault means this endpoint by `path`.
    pub(crate) fn is(&self, path: &str) -> bool {
        path.trim_matches('/') == self.0
    }
}

/// A signing endpoint of a PKI mount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignPath {
    path: String,
    signs_ca: bool,
}

impl SignPath {
    /// Returns `true` if a path has only segments that may be in one, whatever it names.
    pub(super) fn has_plain_segments(path: &str) -> bool {
        segments(path).is_some()
    }

    /// Parses `<mount>/sign/<role>`, `<mount>/sign-verbatim[/<role>]`, `<mount>/root/sign-intermediate`, the same
    /// below `<mount>/issuer/<ref>/`, `<mount>/cel/sign/<role>`, and the endpoints of Vault Enterprise with an external
    /// policy, `external-policy/sign[/<policy>]` and `external-policy/sign-intermediate[/<policy>]`; with or without
    /// `/v1` and slashes at the ends.
    pub fn parse(path: &str) -> Option<Self> {
        let segments = segments(path)?;
        let signs_ca = match segments.as_slice() {
            [_, .., "external-policy", "sign-intermediate", _] | [_, .., "sign-intermediate"] => true,
            [_, .., "external-policy", "sign"] | [_, .., "sign" | "sign-verbatim", _] | [_, .., "sign-verbatim"] => {
                false
            }
            _ => return None,
        };
        Some(Self {
            path: segments.join("/"),
            signs_ca,
        })
    }

    /// Returns the path, without `/v1/`.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Returns `true` for `sign/<role>`, which drops names of all kinds but DNS, e-mail, IP, URI and `otherName` in UTF-8.
    /// Programs (`cel`, `external-policy`) and `sign-verbatim` may issue any.
    pub(crate) fn is_plain_sign(&self) -> bool {
        let mut segments = self.path.rsplit('/').skip(1);
        segments.next() == Some("sign") && !matches!(segments.next(), Some("cel" | "external-policy"))
    }

    /// Returns whether the endpoint signs such a certificate: an endpoint signs either CA certificates only, or none.
    ///
    /// # Errors
    ///
    /// [`CaMismatch`] if the endpoint would sign another kind of certificate.
    pub fn takes(&self, is_ca: bool) -> Result<(), CaMismatch> {
        match (is_ca, self.signs_ca) {
            (true, false) => Err(CaMismatch::SignsNone),
            (false, true) => Err(CaMismatch::SignsNoOther),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

/// Why an endpoint does not sign a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaMismatch {
    /// A CA certificate was requested, and the endpoint signs none.
    #[error("a CA certificate needs an issuer whose path ends in sign-intermediate")]
    SignsNone,
    /// Another certificate was requested, and the endpoint signs CA certificates only.
    #[error("the issuer's path ends in sign-intermediate, which signs CA certificates only (isCA)")]
    SignsNoOther,
}
