use std::collections::BTreeMap;

use super::status::Conclusion;
use crate::reference::RequestKey;

/// What has come of requests and is not yet seen in the watch: the memory that keeps one signature from becoming two.
///
/// Entries go by the uid of the request, so a certificate cannot reach another request of the same name.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Ledger {
    entries: BTreeMap<String, Entry>,
    /// The requests that are finished or gone, by name, until the watch shows it. Whatever it shows of them before is
    /// old.
    finished: BTreeMap<RequestKey, String>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Entry {
    /// What the request has come to is known, and to be saved. A certificate is kept here, so that there is no other.
    Concluded(Conclusion),
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
        self.entries.len()
    }

    /// The request is finished, or gone, and the watch has not shown it yet.
    pub(super) fn finish(&mut self, key: RequestKey, uid: &str) {
        self.entries.remove(uid);
        self.finished.insert(key, uid.to_owned());
    }

    pub(super) fn is_finished(&self, key: &RequestKey, uid: &str) -> bool {
        self.finished.get(key).is_some_and(|finished| finished == uid)
    }

    /// The watch has shown that the request of this name is finished, gone or another.
    pub(super) fn caught_up(&mut self, key: &RequestKey) {
        self.finished.remove(key);
    }

    /// The watch has shown everything.
    pub(super) fn caught_up_but(&mut self, there: impl Fn(&RequestKey) -> bool) {
        self.finished.retain(|key, _| there(key));
    }
}
