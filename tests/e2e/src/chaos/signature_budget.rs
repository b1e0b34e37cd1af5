//! What Vault has signed, held against what was asked for and what failed.
//!
//! A request is signed once. It is signed again only if what was signed for it got lost, or if another leader did not
//! know of it. So for each request, Vault's own storage may have one certificate, and another for each of these that
//! happened between its first certificate and its last:
//!
//! * A controller is killed, or Vault fails, and takes with it what is not saved: a [`Fault`] that `loses`. A
//!   controller that cannot save what is signed in time, and so ends without, is killed in effect; it says so in its log.
//! * Two lead at the same time, by the Lease and the ends of their processes. This must not add any where requests are
//!   claimed.
//!
//! And nothing is signed for a request that is saved, but by another that still leads. All times are of one clock: those
//! at which a certificate was signed, of Vault; those at which it was saved, of the controller; those of the failures,
//! of this program. So the bound holds however long anything takes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use jiff::{SignedDuration, Timestamp};
use x509_parser::prelude::*;

use super::fault::{Blow, Fault};
use crate::issued::{Issued, parse, pem};
use crate::servers::replicas::Term;
use crate::servers::vault::text;
use crate::test_namespace::Stage;

/// How long before it is signed a certificate is valid.
pub(super) const BACKDATING: Duration = Duration::from_secs(30);

/// A certificate tells its time in whole seconds, and so does a condition.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// When a certificate was signed for each public key, oldest first, by Vault's own storage.
#[derive(Default)]
pub(super) struct Signatures(BTreeMap<Vec<u8>, Vec<Timestamp>>);

impl Signatures {
    /// Reads all certificates of a mount but those of CAs.
    pub(super) async fn read(&mut self, stage: &Stage<'_>, mount: &str) -> anyhow::Result<()> {
        let admin = &stage.env.vault.admin;
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

/// From when to when something was.
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

/// What accounts for a certificate more than one.
#[derive(Debug)]
pub(super) struct Allowed {
    losses: Vec<Span>,
    /// When two led; none where that must not add a certificate.
    overlaps: Vec<Span>,
    /// How many led.
    terms: usize,
}

impl Allowed {
    /// Takes what failed and who led; `claims` tells whether requests are claimed.
    pub(super) fn new(faults: &[Fault], terms: &[Term], claims: bool) -> Self {
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

    /// Returns how many certificates there may be, if these are all of them.
    fn most(&self, signed: &[Timestamp]) -> usize {
        let (Some(first), Some(last)) = (signed.first(), signed.last()) else {
            return 0;
        };
        let all = self.losses.iter().chain(&self.overlaps);
        1 + all.filter(|span| span.meets(*first, *last)).count()
    }

    /// Tells whether something may be signed then for a request that is saved.
    fn after_saved(&self, signed: Timestamp) -> bool {
        self.overlaps.iter().any(|span| span.meets(signed, signed))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (losses, overlaps) = (self.losses.len(), self.overlaps.len());
        write!(
            f,
            "{losses} losses, {} leaders, {overlaps} overlaps that count",
            self.terms
        )
    }
}

/// Returns when two of them led at once, for each two.
fn overlaps(terms: &[Term]) -> Vec<Span> {
    let runs_until = |term: &Term| term.ended.unwrap_or(Timestamp::MAX);
    let pairs = terms.iter().flat_map(|one| terms.iter().map(move |other| (one, other)));
    // Each two once.
    let pairs = pairs.filter(|(one, other)| (one.begun, one.id) < (other.begun, other.id));
    let spans = pairs.map(|(one, other)| Span {
        begun: other.begun,
        ended: runs_until(one).min(runs_until(other)),
    });
    spans.filter(|span| span.begun <= span.ended).collect()
}

/// How many signatures there are, and how many there may be.
#[derive(Debug, Default)]
pub(super) struct Account {
    requests: usize,
    signatures: usize,
    /// How many there may be in all.
    bound: usize,
    /// The most for one request.
    most: usize,
    /// What has no reason.
    excess: Vec<String>,
}

impl Account {
    /// Checks that every request is issued for its key, and counts what was signed for it.
    ///
    /// Certificates for other keys do not count: they belong to requests that cert-manager has deleted, as it does when
    /// it starts over after the API server has failed.
    pub(super) fn take(
        requests: &[CertificateRequest],
        signatures: &Signatures,
        allowed: &Allowed,
    ) -> anyhow::Result<Self> {
        let mut account = Self::default();
        for request in requests {
            let name = request.metadata.name.clone().unwrap_or_default();
            let (key, saved) = issued(request).with_context(|| format!("request {name}"))?;
            let signed = signatures.0.get(&key).map_or(&[][..], Vec::as_slice);
            ensure!(!signed.is_empty(), "Vault has no certificate for request {name}");
            account.add(&name, signed, saved, allowed);
        }
        Ok(account)
    }

    fn add(&mut self, name: &str, signed: &[Timestamp], saved: Timestamp, allowed: &Allowed) {
        let most = allowed.most(signed);
        self.requests += 1;
        self.signatures += signed.len();
        self.bound += most;
        self.most = self.most.max(signed.len());
        if signed.len() > most {
            self.excess
                .push(format!("{name}, signed at {signed:?}, may be {most} times"));
        }
        let mut late = signed.iter().filter(|signed| **signed > saved + RESOLUTION);
        if let Some(late) = late.find(|late| !allowed.after_saved(**late)) {
            self.excess
                .push(format!("{name}, signed at {late}, was saved at {saved}"));
        }
    }

    /// Fails if more was signed than may be, and if less was signed than there must be: when Vault is killed, what
    /// nobody has got of it is lost for certain, and signed again.
    pub(super) fn check(&self, faults: &[Fault]) -> anyhow::Result<()> {
        ensure!(self.excess.is_empty(), "signed too often: {:?}", self.excess);
        let lost = faults.iter().filter(|fault| fault.blow == Blow::VaultKilled);
        let least = self.requests + lost.map(|fault| fault.under_way).sum::<usize>();
        ensure!(self.signatures >= least, "not {least} signatures: {self}");
        Ok(())
    }
}

impl fmt::Display for Account {
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

/// Checks that a request is issued, with a certificate for the key of its CSR; that key, and when it was saved.
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

    fn fault(begun: i64, ended: i64) -> Fault {
        Fault {
            blow: Blow::LeaderKilled,
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

    fn excess(signed: &[i64], saved: i64, allowed: &Allowed) -> usize {
        let signed: Vec<Timestamp> = signed.iter().copied().map(at).collect();
        let mut account = Account::default();
        account.add("a request", &signed, at(saved), allowed);
        account.excess.len()
    }

    #[test]
    fn a_loss_accounts_for_a_certificate_after_it() {
        let allowed = Allowed::new(&[fault(10, 20), fault(50, 60)], &[], true);
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
            assert_eq!(excess(signed, 99, &allowed), excess_of_it, "{signed:?}");
        }
    }

    #[test]
    fn one_that_loses_nothing_accounts_for_nothing() {
        let harmless = Fault {
            loses: false,
            ..fault(10, 20)
        };
        assert_eq!(excess(&[5, 30], 30, &Allowed::new(&[harmless], &[], false)), 1);
    }

    #[test]
    fn who_gives_up_loses() {
        let terms = |gave_up| {
            [Term {
                gave_up,
                ..term(1, 0, Some(20))
            }]
        };
        assert_eq!(excess(&[10, 30], 30, &Allowed::new(&[], &terms(true), true)), 0);
        assert_eq!(excess(&[10, 30], 30, &Allowed::new(&[], &terms(false), true)), 1);
    }

    #[test]
    fn two_leaders_account_for_a_certificate_more_unless_requests_are_claimed() {
        let terms = [term(1, 0, Some(20)), term(2, 15, None)];
        let (unclaimed, claimed) = (Allowed::new(&[], &terms, false), Allowed::new(&[], &terms, true));
        assert_eq!(excess(&[10, 17], 17, &unclaimed), 0);
        assert_eq!(excess(&[10, 17], 17, &claimed), 1);
        assert_eq!(excess(&[10, 12], 17, &unclaimed), 1);
        assert_eq!(excess(&[23, 40], 40, &unclaimed), 1);
    }

    #[test]
    fn nothing_is_signed_for_what_is_saved_but_by_two_leaders() {
        let terms = [term(1, 0, Some(20)), term(2, 15, None)];
        let faults = [fault(50, 60)];
        let (unclaimed, claimed) = (
            Allowed::new(&faults, &terms, false),
            Allowed::new(&faults, &terms, true),
        );
        assert_eq!(excess(&[16, 18], 16, &unclaimed), 0);
        assert_eq!(excess(&[40, 62], 41, &unclaimed), 1);
        assert_eq!(excess(&[40, 62], 41, &claimed), 1);
        assert_eq!(excess(&[40, 62], 62, &claimed), 0);
    }

    #[test]
    fn leaders_overlap_two_by_two() {
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
