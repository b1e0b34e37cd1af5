//! What Vault has signed, held against what was asked for and what failed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use jiff::{SignedDuration, Timestamp};
use x509_parser::prelude::*;

use super::super::super::issued::{Issued, parse, pem};
use super::super::super::stage::Stage;
use super::super::super::vault::text;
use super::blow::{Fault, Loss};
use super::{ISSUERS, SLOTS};

/// How long before it is signed a certificate is valid.
pub(super) const BACKDATING: Duration = Duration::from_secs(30);

/// A certificate tells its time in whole seconds.
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

/// How many signatures there are, and how many there may be.
#[derive(Debug)]
pub(super) struct Account {
    requests: usize,
    signatures: usize,
    /// How many there may be in all: besides one for each request, those under way at each failure.
    bound: usize,
    /// The most for one request.
    most: usize,
    /// The requests that have more than the failures account for.
    excess: Vec<String>,
}

impl Account {
    /// Checks that every request is issued for its key, and counts what was signed for it.
    pub(super) fn take(
        requests: &[CertificateRequest],
        signatures: &Signatures,
        faults: &[Fault],
        claims: bool,
    ) -> anyhow::Result<Self> {
        let counts = |fault: &&Fault| fault.loss == Loss::Lost || fault.loss == Loss::Overlap && !claims;
        let faults: Vec<&Fault> = faults.iter().filter(counts).collect();
        let mut account = Self {
            requests: requests.len(),
            signatures: signatures.0.values().map(Vec::len).sum(),
            bound: requests.len() + faults.len() * ISSUERS.len() * SLOTS,
            most: 0,
            excess: Vec::new(),
        };
        for request in requests {
            let name = request.metadata.name.clone().unwrap_or_default();
            let key = issued(request).with_context(|| format!("request {name}"))?;
            let times = signatures.0.get(&key).map_or(&[][..], Vec::as_slice);
            ensure!(
                !times.is_empty(),
                "Vault has no certificate for the key of request {name}"
            );
            account.most = account.most.max(times.len());
            if times.len() > 1 + between(times, &faults) {
                account.excess.push(format!("{name} at {times:?}"));
            }
        }
        let known = account.requests == signatures.0.len();
        ensure!(known, "{} keys for {} requests", signatures.0.len(), account.requests);
        Ok(account)
    }

    /// Fails if more was signed than there may be.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.excess.is_empty(), "signed too often: {:?}", self.excess);
        ensure!(self.signatures <= self.bound, "{self}");
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

/// Counts the failures between the first and the last of these times.
fn between(times: &[Timestamp], faults: &[&Fault]) -> usize {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return 0;
    };
    let within = |fault: &&&Fault| fault.begun <= *last + RESOLUTION && *first <= fault.ended + RESOLUTION;
    faults.iter().filter(within).count()
}

/// Checks that a request is issued, with a certificate for the key of its CSR; that key.
fn issued(request: &CertificateRequest) -> anyhow::Result<Vec<u8>> {
    let reason = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
    ensure!(reason == Some("Issued"), "it is {reason:?}");
    let block = Pem::iter_from_buffer(&request.spec.request.0)
        .next()
        .context("no CSR")??;
    let (_, csr) = X509CertificationRequest::from_der(&block.contents)?;
    let key = csr.certification_request_info.subject_pki.raw.to_vec();
    Issued::of(request)?.verify(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::super::blow::Blow;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn fault(begun: i64, ended: i64) -> Fault {
        let (begun, ended) = (at(begun), at(ended));
        Fault {
            blow: Blow::LeaderKilled,
            begun,
            ended,
            loss: Loss::Lost,
        }
    }

    #[test]
    fn a_failure_accounts_for_a_signature_after_it() {
        let (early, late) = (fault(10, 20), fault(50, 60));
        let faults = [&early, &late];
        assert_eq!(between(&[at(9), at(21)], &faults), 1);
        assert_eq!(between(&[at(15), at(16)], &faults), 1);
        assert_eq!(between(&[at(5), at(70)], &faults), 2);
        assert_eq!(between(&[at(22), at(48)], &faults), 0);
        assert_eq!(between(&[], &faults), 0);
    }
}
