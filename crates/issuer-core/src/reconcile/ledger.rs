//! The results of requests until the watch shows them.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use issuer_api::Base64;

use super::observed_request::ObservedRequest;
use super::tally::Tally;
use crate::Verified;
use crate::reference::{IssuerKey, RequestKey};

/// Results of requests that the watch has not shown yet. Consulted before signing, so a request is not signed twice.
///
/// Like the expectations cache of a Kubernetes controller, but of results. Entries are keyed by the uid of the request,
/// so a certificate cannot reach another request of the same name.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Ledger {
    /// The entry of each request, and the account of one that an issuer signs or has signed.
    entries: BTreeMap<String, (Entry, Option<Account>)>,
    /// The accounts of these entries, counted by issuer.
    counts: BTreeMap<IssuerKey, Counts>,
    /// The uid of each request that has finished or is gone, until the watch shows it. What the watch shows of the same
    /// uid before that is stale.
    finished: BTreeMap<RequestKey, String>,
}

/// The issuer and the requester against whose room a certificate counts until it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) issuer: IssuerKey,
    pub(super) requester: Arc<str>,
}

/// The requests of one issuer that are being signed, or whose certificates are not saved.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct Counts {
    /// Those that are being signed.
    signing: usize,
    by_requester: Tally<Arc<str>>,
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

    /// Returns `true` if the event says no more than the status: that there is a certificate, as requested.
    pub(super) fn is_routine(&self) -> bool {
        matches!(self, Self::Issued(verified) if verified.chain().missing_usages.is_empty())
    }

    /// Returns `true` if a request, which is finished, can have been finished by this conclusion.
    pub(super) fn is_shown_by(&self, request: &ObservedRequest) -> bool {
        let certificate = request.status().and_then(|status| status.certificate.as_ref());
        let certificate = certificate.and_then(Base64::decode).filter(|pem| !pem.is_empty());
        match self {
            Self::Issued(verified) => certificate.is_some_and(|pem| pem == verified.chain().certificate.as_bytes()),
            Self::Denied | Self::Failed(..) | Self::Invalid(_) => certificate.is_none(),
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
    /// The number of unsaved certificates of one issuer beyond which it signs nothing more: what it has signed is lost if
    /// the process ends, and takes memory until then.
    const ISSUER: usize = 500;

    /// The same for one requester: the API server may refuse to save those of one namespace.
    const REQUESTER: usize = 100;

    pub(super) fn find(&self, uid: &str) -> Option<&Entry> {
        self.entries.get(uid).map(|(entry, _)| entry)
    }

    /// Records that an issuer signs a request.
    pub(super) fn sign(&mut self, uid: &str, account: Account) {
        let counts = self.counts.entry(account.issuer.clone()).or_default();
        counts.signing += 1;
        counts.by_requester.add(Arc::clone(&account.requester), 1);
        self.entries.insert(uid.to_owned(), (Entry::Signing, Some(account)));
    }

    /// Returns `true` if the issuer is signing a request.
    pub(super) fn is_signing(&self, issuer: &IssuerKey) -> bool {
        self.counts.get(issuer).is_some_and(|counts| counts.signing > 0)
    }

    /// Records a conclusion. Returns the account that has room for one more, unless a certificate waits to be saved.
    pub(super) fn conclude(&mut self, uid: &str, conclusion: Conclusion) -> Option<Account> {
        let (kept, freed) = match conclusion {
            Conclusion::Issued(_) => (self.end_signing(uid), None),
            _ => (None, self.forget(uid)),
        };
        self.entries
            .insert(uid.to_owned(), (Entry::Concluded(conclusion), kept));
        freed
    }

    /// Removes the entry of a request, which is not being signed any more; returns its account, in which it still counts.
    fn end_signing(&mut self, uid: &str) -> Option<Account> {
        let (entry, account) = self.entries.remove(uid)?;
        let account = account?;
        if let Some(counts) = self.counts.get_mut(&account.issuer) {
            counts.signing -= usize::from(entry == Entry::Signing);
        }
        Some(account)
    }

    /// Forgets a request; returns its account, which has room for one more.
    pub(super) fn forget(&mut self, uid: &str) -> Option<Account> {
        let account = self.end_signing(uid)?;
        if let btree_map::Entry::Occupied(mut counts) = self.counts.entry(account.issuer.clone()) {
            let by_requester = &mut counts.get_mut().by_requester;
            by_requester.subtract(&account.requester, 1);
            if by_requester.all() == 0 {
                counts.remove();
            }
        }
        Some(account)
    }

    /// Returns `true` if the issuer has fewer unsaved certificates than it may.
    pub(super) fn has_room(&self, issuer: &IssuerKey) -> bool {
        let counts = self.counts.get(issuer);
        counts.is_none_or(|counts| counts.by_requester.all() < Self::ISSUER)
    }

    /// The same for one requester; the issuer's own bound is not considered.
    pub(super) fn has_room_for(&self, account: &Account) -> bool {
        let counts = self.counts.get(&account.issuer);
        counts.is_none_or(|counts| counts.by_requester.get(&account.requester) < Self::REQUESTER)
    }

    /// Returns the number of requests that are being signed or wait to be saved.
    pub(super) fn unsaved(&self) -> usize {
        self.entries.len()
    }

    /// Records that a request has finished or is gone, which the watch has not shown yet.
    pub(super) fn record_finished(&mut self, key: RequestKey, uid: &str) {
        self.finished.insert(key, uid.to_owned());
    }

    /// Returns `true` if the watch has yet to show that a request of this name has finished or is gone.
    pub(super) fn awaits_watch(&self, key: &RequestKey) -> bool {
        self.finished.contains_key(key)
    }

    pub(super) fn is_finished(&self, key: &RequestKey, uid: &str) -> bool {
        self.finished.get(key).is_some_and(|finished| finished == uid)
    }

    /// Records that the watch has shown that the request of this name has finished, is gone or was replaced.
    pub(super) fn caught_up(&mut self, key: &RequestKey) {
        self.finished.remove(key);
    }

    /// Records that the watch has shown everything, and of these keys that they exist.
    pub(super) fn caught_up_except(&mut self, exists: impl Fn(&RequestKey) -> bool) {
        self.finished.retain(|key, _| exists(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::IssuerKind;

    fn account(requester: usize) -> Account {
        Account {
            issuer: IssuerKey {
                kind: IssuerKind::Cluster,
                namespace: "".into(),
                name: "shared".into(),
            },
            requester: format!("team-{requester}").into(),
        }
    }

    #[test]
    fn many_requesters_fill_an_issuer() {
        let issuer = account(0).issuer;
        let mut ledger = Ledger::default();
        for number in 0..Ledger::ISSUER {
            let account = account(number % 6);
            assert!(ledger.has_room(&issuer) && ledger.has_room_for(&account), "{number}");
            ledger.sign(&number.to_string(), account);
        }
        assert!(!ledger.has_room(&issuer) && ledger.has_room_for(&account(6)));
        assert_eq!(ledger.forget("7"), Some(account(1)));
        assert!(ledger.has_room(&issuer));
        for number in 0..Ledger::ISSUER {
            ledger.forget(&number.to_string());
        }
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn each_end_of_a_signature_is_counted() {
        let issuer = account(0).issuer;
        let ends: [fn(&mut Ledger); 3] = [
            |ledger| {
                ledger.forget("a");
            },
            |ledger| {
                ledger.conclude("a", Conclusion::Denied);
            },
            // A denial that the watch shows while a failure waits to be saved.
            |ledger| {
                ledger.conclude("a", Conclusion::Invalid(String::new()));
                ledger.conclude("a", Conclusion::Denied);
            },
        ];
        for end in ends {
            let mut ledger = Ledger::default();
            assert!(!ledger.is_signing(&issuer));
            ledger.sign("a", account(0));
            ledger.sign("b", account(1));
            end(&mut ledger);
            assert!(ledger.is_signing(&issuer), "of b");
            ledger.forget("b");
            assert!(!ledger.is_signing(&issuer));
            assert!(ledger.counts.is_empty());
        }
    }
}
