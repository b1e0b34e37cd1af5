use std::collections::BTreeMap;

use super::status::Conclusion;

/// What has come of requests and is not yet seen in the watch: the memory that keeps one signature from becoming two.
///
/// Entries go by the uid of the request, so a certificate cannot reach another request of the same name.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Ledger {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Entry {
    /// What the request has come to is known, and to be saved. A certificate is kept here, so that there is no other.
    Concluded(Conclusion),
    /// A terminal status has been written: whatever a stale watch still says, the request is done.
    Saved,
    /// A signature has been asked for and the answer is not there yet.
    Signing,
}

impl Ledger {
    /// How many conclusions may wait to be saved. Beyond it nothing is signed until the API server takes some.
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

    /// How many requests are being signed or wait to be saved.
    pub(super) fn unsaved(&self) -> usize {
        self.entries.values().filter(|entry| !matches!(entry, Entry::Saved)).count()
    }
}
