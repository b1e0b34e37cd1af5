//! Compares the certificates in Vault's storage with the number that the injected faults account for.
//!
//! A request is signed once. It is signed again only if the first certificate was lost, or if another leader did not
//! know of it. So for each request Vault may have one certificate, and one more for each of these events between the
//! first certificate and the last:
//!
//! * A controller or Vault fails and loses certificates that are not saved: an [`Injected`] fault that `loses`. A
//!   controller that shuts down before it could save a certificate counts as well; its log has a message about it.
//! * Two controllers lead at the same time, by the Lease and the ends of their processes. With claims this accounts for
//!   no certificate.
//!
//! Nothing is signed for a request that is saved, except by a second leader. All timestamps are of one clock: Vault's
//! of a signature, the controller's of a status write, this program's of a fault. So the bound does not depend on how
//! long anything takes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use jiff::{SignedDuration, Timestamp};
use x509_parser::prelude::*;

use super::fault::{Fault, Injected};
use crate::issued::{Issued, parse, pem};
use crate::servers::replicas::Term;
use crate::servers::vault::text;
use crate::test_namespace::TestNamespace;

/// `not_before_duration` of the roles: a certificate is valid from this long before its signature.
pub(super) const BACKDATING: Duration = Duration::from_secs(30);

/// The resolution of the times in certificates and conditions.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// The times of the signatures for each public key, oldest first, from Vault's storage.
#[derive(Default)]
pub(super) struct Signatures(BTreeMap<Vec<u8>, Vec<Timestamp>>);

impl Signatures {
    /// Reads all certificates of a mount, except those of CAs.
    pub(super) async fn read(&mut self, test: &TestNamespace<'_>, mount: &str) -> anyhow::Result<()> {
        let admin = &test.env.vault.admin;
        let list = admin.read(&format!("{mount}/certs?list=true")).await?;
        for serial in list["keys"].as_array().context("no list of certificates")? {
            let path = format!("{mount}/cert/{}", text(serial)?);
            let file = text(&admin.read(&path).await?["certificate"])?;
            let der = pem(file.as_bytes())?.pop().context("no certificate")?;
            let certificate = parse(&der)?;
            if !certificate.is_ca() {
                let from = Timestamp::from_second(certificate.validity().not_before.timestamp())?;
                let key = certificate.public_key().raw.to_vec();
                self.0.entry(key).or_default().push(from.checked_add(BACKDATING)?);
            }
        }
        self.0.values_mut().for_each(|times| times.sort());
        Ok(())
    }
}

/// A period of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    begun: Timestamp,
    ended: Timestamp,
}

impl Span {
    fn meets(&self, begun: Timestamp, ended: Timestamp) -> bool {
        self.begun <= ended + RESOLUTION && begun <= self.ended + RESOLUTION
    }
}

/// The events that account for more than one certificate.
#[derive(Debug)]
pub(super) struct Budget {
    losses: Vec<Span>,
    /// Periods with two leaders; empty with claims.
    overlaps: Vec<Span>,
    /// The number of leaders.
    terms: usize,
}

impl Budget {
    /// Makes the budget of the injected faults and the terms of the leaders; `claims` as in `--claim-requests`.
    pub(super) fn new(faults: &[Injected], terms: &[Term], claims: bool) -> Self {
        let lost = faults.iter().filter(|fault| fault.loses).map(|fault| Span {
            begun: fault.begun,
            ended: fault.ended,
        });
        let given_up = terms.iter().filter(|term| term.gave_up).filter_map(|term| {
            let ended = term.ended?;
            Some(Span { begun: ended, ended })
        });
        Self {
            losses: lost.chain(given_up).collect(),
            overlaps: if claims { Vec::new() } else { overlaps(terms) },
            terms: terms.len(),
        }
    }

    /// Returns the most certificates that a request with these signatures may have.
    fn most(&self, signed: &[Timestamp]) -> usize {
        let (Some(first), Some(last)) = (signed.first(), signed.last()) else {
            return 0;
        };
        let all = self.losses.iter().chain(&self.overlaps);
        1 + all.filter(|span| span.meets(*first, *last)).count()
    }

    /// Returns `true` if a request that is already saved may be signed at this time.
    fn after_saved(&self, signed: Timestamp) -> bool {
        self.overlaps.iter().any(|span| span.meets(signed, signed))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (losses, overlaps) = (self.losses.len(), self.overlaps.len());
        write!(
            f,
            "{losses} losses, {} leaders, {overlaps} overlaps that count",
            self.terms
        )
    }
}

/// Returns the periods in which two controllers led, for each pair.
fn overlaps(terms: &[Term]) -> Vec<Span> {
    let runs_until = |term: &Term| term.ended.unwrap_or(Timestamp::MAX);
    let pairs = terms.iter().flat_map(|one| terms.iter().map(move |other| (one, other)));
    // Each pair once.
    let pairs = pairs.filter(|(one, other)| (one.begun, one.id) < (other.begun, other.id));
    let spans = pairs.map(|(one, other)| Span {
        begun: other.begun,
        ended: runs_until(one).min(runs_until(other)),
    });
    spans.filter(|span| span.begun <= span.ended).collect()
}

/// The signatures of all requests, compared with the budget.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: usize,
    signatures: usize,
    /// The budget of all requests.
    bound: usize,
    /// The most signatures of one request.
    most: usize,
    /// Signatures beyond the budget.
    excess: Vec<String>,
}

impl Tally {
    /// Checks that every request is issued for its key, and counts its signatures.
    ///
    /// Certificates for other keys do not count: they belong to requests that cert-manager deleted, as it does when it
    /// starts over after a failure of the API server.
    pub(super) fn take(
        requests: &[CertificateRequest],
        signatures: &Signatures,
        budget: &Budget,
    ) -> anyhow::Result<Self> {
        let mut tally = Self::default();
        for request in requests {
            let name = request.metadata.name.clone().unwrap_or_default();
            let (key, saved) = issued(request).with_context(|| format!("request {name}"))?;
            let signed = signatures.0.get(&key).map_or(&[][..], Vec::as_slice);
            ensure!(!signed.is_empty(), "Vault has no certificate for request {name}");
            tally.add(&name, signed, saved, budget);
        }
        Ok(tally)
    }

    fn add(&mut self, name: &str, signed: &[Timestamp], saved: Timestamp, budget: &Budget) {
        let most = budget.most(signed);
        self.requests += 1;
        self.signatures += signed.len();
        self.bound += most;
        self.most = self.most.max(signed.len());
        if signed.len() > most {
            self.excess
                .push(format!("{name}, signed at {signed:?}, may be {most} times"));
        }
        let mut late = signed.iter().filter(|signed| **signed > saved + RESOLUTION);
        if let Some(late) = late.find(|late| !budget.after_saved(**late)) {
            self.excess
                .push(format!("{name}, signed at {late}, was saved at {saved}"));
        }
    }

    /// Fails if there are more signatures than the budget allows, or fewer than there must be: replies that were held
    /// when Vault was killed are lost for certain, and their requests are signed again.
    pub(super) fn check(&self, faults: &[Injected]) -> anyhow::Result<()> {
        ensure!(self.excess.is_empty(), "signed too often: {:?}", self.excess);
        let lost = faults.iter().filter(|fault| fault.fault == Fault::VaultKilled);
        let least = self.requests + lost.map(|fault| fault.under_way).sum::<usize>();
        ensure!(self.signatures >= least, "not {least} signatures: {self}");
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            signatures,
            bound,
            most,
            ..
        } = self;
        write!(
            f,
            "{requests} requests, {signatures} signatures (at most {bound}), for one request at most {most}"
        )
    }
}

/// Checks that a request is issued with a certificate for the key of its CSR; returns the key and the time of the
/// status write.
fn issued(request: &CertificateRequest) -> anyhow::Result<(Vec<u8>, Timestamp)> {
    let ready = request.condition("Ready").context("no Ready condition")?;
    ensure!(ready.reason.as_deref() == Some("Issued"), "it is {:?}", ready.reason);
    let csr = request.spec.request.decode().context("the CSR is not base64")?;
    let block = Pem::iter_from_buffer(&csr).next().context("no CSR")??;
    let (_, csr) = X509CertificationRequest::from_der(&block.contents)?;
    let key = csr.certification_request_info.subject_pki.raw.to_vec();
    Issued::of(request)?.verify(&key)?;
    let saved = ready.last_transition_time.as_deref().context("no lastTransitionTime")?;
    Ok((key, saved.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn fault(begun: i64, ended: i64) -> Injected {
        Injected {
            fault: Fault::LeaderKilled,
            under_way: 1,
            begun: at(begun),
            ended: at(ended),
            loses: true,
        }
    }

    fn term(id: u32, begun: i64, ended: Option<i64>) -> Term {
        Term {
            id,
            begun: at(begun),
            ended: ended.map(at),
            gave_up: false,
        }
    }

    fn excess(signed: &[i64], saved: i64, budget: &Budget) -> usize {
        let signed: Vec<Timestamp> = signed.iter().copied().map(at).collect();
        let mut tally = Tally::default();
        tally.add("a request", &signed, at(saved), budget);
        tally.excess.len()
    }

    #[test]
    fn loss_adds_one_certificate() {
        let budget = Budget::new(&[fault(10, 20), fault(50, 60)], &[], true);
        for (signed, excess_of_it) in [
            (&[5][..], 0),
            (&[9, 21], 0),
            (&[15, 16], 0),
            (&[5, 30, 70], 0),
            (&[5, 30], 0),
            (&[5, 30, 31], 1),
            (&[22, 48], 1),
            (&[5, 30, 70, 71], 1),
        ] {
            assert_eq!(excess(signed, 99, &budget), excess_of_it, "{signed:?}");
        }
    }

    #[test]
    fn harmless_fault_adds_none() {
        let harmless = Injected {
            loses: false,
            ..fault(10, 20)
        };
        assert_eq!(excess(&[5, 30], 30, &Budget::new(&[harmless], &[], false)), 1);
    }

    #[test]
    fn unsaved_shutdown_adds_one_certificate() {
        let terms = |gave_up| {
            [Term {
                gave_up,
                ..term(1, 0, Some(20))
            }]
        };
        assert_eq!(excess(&[10, 30], 30, &Budget::new(&[], &terms(true), true)), 0);
        assert_eq!(excess(&[10, 30], 30, &Budget::new(&[], &terms(false), true)), 1);
    }

    #[test]
    fn second_leader_adds_one_without_claims() {
        let terms = [term(1, 0, Some(20)), term(2, 15, None)];
        let (unclaimed, claimed) = (Budget::new(&[], &terms, false), Budget::new(&[], &terms, true));
        assert_eq!(excess(&[10, 17], 17, &unclaimed), 0);
        assert_eq!(excess(&[10, 17], 17, &claimed), 1);
        assert_eq!(excess(&[10, 12], 17, &unclaimed), 1);
        assert_eq!(excess(&[23, 40], 40, &unclaimed), 1);
    }

    #[test]
    fn only_second_leader_signs_saved_requests() {
        let terms = [term(1, 0, Some(20)), term(2, 15, None)];
        let faults = [fault(50, 60)];
        let (unclaimed, claimed) = (Budget::new(&faults, &terms, false), Budget::new(&faults, &terms, true));
        assert_eq!(excess(&[16, 18], 16, &unclaimed), 0);
        assert_eq!(excess(&[40, 62], 41, &unclaimed), 1);
        assert_eq!(excess(&[40, 62], 41, &claimed), 1);
        assert_eq!(excess(&[40, 62], 62, &claimed), 0);
    }

    #[test]
    fn overlaps_are_per_pair() {
        let span = |begun, ended| Span {
            begun: at(begun),
            ended: at(ended),
        };
        assert_eq!(overlaps(&[term(1, 0, Some(20)), term(2, 21, None)]), []);
        assert_eq!(
            overlaps(&[term(3, 5, None), term(1, 0, Some(20)), term(2, 4, Some(10))]),
            [span(5, 20), span(4, 10), span(5, 10)]
        );
    }
}
