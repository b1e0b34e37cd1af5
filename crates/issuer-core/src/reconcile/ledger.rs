use std::collections::BTreeMap;

use crate::Verified;
use crate::reference::RequestKey;

/// Results of requests that the watch has not shown yet. Consulted before signing, so a request is not signed twice.
///
/// Like the expectations cache of a Kubernetes controller, but of results. Entries are keyed by the uid of the request,
/// so a certificate cannot reach another request of the same name.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Ledger {
    entries: BTreeMap<String, Entry>,
    /// The uid of each request that has finished or is gone, until the watch shows it. What the watch shows of the same
    /// uid before that is stale.
    finished: BTreeMap<RequestKey, String>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Entry {
    /// The conclusion must be saved. A certificate is kept here until then, so that no other is signed.
    Concluded(Conclusion),
    /// The request has been sent to Vault and not been answered.
    Signing,
}

/// The permanent result of a request.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Conclusion {
    Denied,
    /// The reason for the event, and the message.
    Failed(&'static str, String),
    /// The request itself can never be signed.
    Invalid(String),
    Issued(Verified),
}

impl Conclusion {
    /// Returns the note of the event: the message, and the requested usages that were not granted.
    pub(super) fn note(&self) -> String {
        let message = self.message();
        match self {
            Self::Issued(verified) if !verified.chain().missing_usages.is_empty() => {
                let usages = verified.chain().missing_usages.join(", ");
                format!(
                    "{message}, but Vault did not grant the usages {usages}, which were requested; see key_usage and \
                     ext_key_usage of its role"
                )
            }
            _ => message.to_owned(),
        }
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Self::Denied => "The CertificateRequest was denied by an approval controller",
            Self::Failed(_, message) | Self::Invalid(message) => message,
            Self::Issued(_) => "Certificate fetched from issuer successfully",
        }
    }
}

impl Ledger {
    /// The number of unsaved entries beyond which nothing more is signed.
    pub(super) const CAPACITY: usize = 1000;

    pub(super) fn find(&self, uid: &str) -> Option<&Entry> {
        self.entries.get(uid)
    }

    pub(super) fn set(&mut self, uid: &str, entry: Entry) {
        self.entries.insert(uid.to_owned(), entry);
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.entries.remove(uid);
    }

    /// Returns the number of requests that are being signed or wait to be saved.
    pub(super) fn unsaved(&self) -> usize {
        self.entries.len()
    }

    /// Records that a request has finished or is gone, which the watch has not shown yet.
    pub(super) fn finish(&mut self, key: RequestKey, uid: &str) {
        self.entries.remove(uid);
        self.finished.insert(key, uid.to_owned());
    }

    pub(super) fn is_finished(&self, key: &RequestKey, uid: &str) -> bool {
        self.finished.get(key).is_some_and(|finished| finished == uid)
    }

    /// Records that the watch has shown that the request of this name has finished, is gone or was replaced.
    pub(super) fn caught_up(&mut self, key: &RequestKey) {
        self.finished.remove(key);
    }

    /// Records that the watch has shown everything, and of these keys that they exist.
    pub(super) fn caught_up_but(&mut self, exists: impl Fn(&RequestKey) -> bool) {
        self.finished.retain(|key, _| exists(key));
    }
}
