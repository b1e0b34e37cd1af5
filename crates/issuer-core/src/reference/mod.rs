//! Names of Kubernetes objects, as the core asks for them.

mod issuer;
mod namespaces;
mod request;
mod source;

pub use issuer::{IssuerKey, IssuerKind};
pub use namespaces::{ListScope, Namespaces};
pub use request::{RequestKey, RequestKind};
pub use source::{ConfigMapKey, ConfigMapRef, SecretKey, SecretRef, SourceRef, TokenSource, TokenSpec};

/// Returns `true` if an object may have this name: a DNS subdomain in lower case
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>).
pub(crate) fn is_object_name(name: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().is_some_and(letter) && bytes.last().is_some_and(letter);
        ends && bytes.iter().all(|byte| letter(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
