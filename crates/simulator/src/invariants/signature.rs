use std::sync::Arc;

use fake_kube::Object;
use issuer_api::Base64;
use issuer_core::Operation;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;

use crate::cache::Cache;
use crate::clock::UNIX;
use crate::digest::Digest;
use crate::fixture::{self, Flaw};
use crate::observation::{Observation, Wrote};
use crate::record;
use crate::world::{Finding, World, ensure};

/// The duration that every request asks for.
const DAY: i64 = 24 * 3600;

/// The tolerance for clock skew and for the backdating of certificates.
const HOUR: i64 = 3600;

/// The contents of certificates, by their digests.
static LEAVES: Cache<u128, Arc<Result<Leaf, &'static str>>> = Cache::new(1 << 12);

/// The contents of an issued certificate.
struct Leaf {
    /// The serial number as Vault prints it.
    serial: String,
    /// The DER `SubjectPublicKeyInfo`.
    key: Vec<u8>,
    /// The subject alternative names as text.
    names: Vec<String>,
    is_ca: bool,
    /// The first and the last second of its validity, since the Unix epoch.
    validity: (i64, i64),
}

impl Leaf {
    fn parse(certificate: &[u8]) -> Result<Self, &'static str> {
        let (_, pem) = parse_x509_pem(certificate).map_err(|_| "the certificate is not PEM")?;
        let leaf = pem.parse_x509().map_err(|_| "the certificate cannot be parsed")?;
        let names = leaf
            .subject_alternative_name()
            .map_err(|_| "the names are not well-formed")?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let validity = leaf.validity();
        Ok(Self {
            serial: serial(&leaf),
            key: leaf.public_key().raw.to_vec(),
            names: names.map(ToString::to_string).collect(),
            is_ca: leaf.is_ca(),
            validity: (validity.not_before.timestamp(), validity.not_after.timestamp()),
        })
    }
}

/// Checks a certificate that was just written, with the number in the uid of its request.
fn check_issued(observation: &Observation<'_>, check: impl FnOnce(u32, &Leaf) -> Finding) -> Finding {
    let Observation::Wrote(Wrote {
        before,
        after: Ok(after),
        ..
    }) = observation
    else {
        return Ok(());
    };
    if text(Some(after)) == text(before.as_ref()) {
        return Ok(());
    }
    let number = record::number(after.uid()).ok_or("an unknown uid")?;
    let pem = after.certificate().unwrap_or_default();
    let leaf = LEAVES.get_or(Digest::of(&pem), || Arc::new(Leaf::parse(&pem)));
    check(number, (*leaf).as_ref().map_err(|what| *what)?)
}

/// Returns the certificate in the status of a request, in base64.
fn text(object: Option<&Arc<Object>>) -> Option<&Base64> {
    let status = object?.request()?.status.as_ref()?;
    status.certificate.as_ref()
}

fn serial(leaf: &X509Certificate<'_>) -> String {
    let digits = leaf
        .raw_serial()
        .iter()
        .skip_while(|byte| **byte == 0)
        .map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().join(":")
}

/// S5.
pub(super) fn certificate_of_uid(world: &World, observation: &Observation<'_>) -> Finding {
    check_issued(observation, |number, leaf| {
        let signed_for = world.vaults.iter().find_map(|vault| vault.csr_of(&leaf.serial));
        ensure(signed_for == Some(number), || {
            format!("uid-{number} got the certificate of uid-{signed_for:?}")
        })
    })
}

/// S6.
pub(super) fn key_of_csr(world: &World, observation: &Observation<'_>) -> Finding {
    if let Observation::Sent(sent) = observation
        && sent.operation == Operation::Sign
    {
        let flaw = sent
            .csr
            .and_then(|csr| world.record.requests.get(&csr))
            .map(|request| request.fixture.flaw);
        ensure(flaw.is_some_and(Flaw::reaches_vault), || {
            format!("{:?} sends a CSR with flaw {flaw:?}", sent.key)
        })?;
    }
    check_issued(observation, |number, leaf| {
        let csr = fixture::csr(number, flaw_of(world, number));
        ensure(leaf.key == csr.key, || {
            format!("uid-{number} got a certificate for another key")
        })
    })
}

fn flaw_of(world: &World, number: u32) -> Flaw {
    world
        .record
        .requests
        .get(&number)
        .map_or(Flaw::None, |request| request.fixture.flaw)
}

/// S7.
pub(super) fn contents_as_requested(world: &World, observation: &Observation<'_>) -> Finding {
    check_issued(observation, |number, leaf| {
        let csr = fixture::csr(number, flaw_of(world, number));
        let names = &leaf.names;
        let right = *names == [format!("DNSName({})", csr.name)];
        ensure(right, || format!("uid-{number} got a certificate for {names:?}"))?;
        ensure(!leaf.is_ca, || format!("uid-{number} got a CA certificate"))?;
        let now = i64::try_from((UNIX + world.now).as_secs()).unwrap_or(i64::MAX);
        let (from, to) = leaf.validity;
        let fits = from <= now + HOUR && to - from <= DAY + HOUR && to > now;
        ensure(fits, || {
            format!("uid-{number} got a certificate from {from} to {to} at {now}")
        })
    })
}

/// S9.
pub(super) fn signatures_are_bounded(world: &World, observation: &Observation<'_>) -> Finding {
    let Observation::Served(served) = observation else {
        return Ok(());
    };
    let request = served.signed.and_then(|csr| world.record.requests.get(&csr));
    ensure(request.is_none_or(|request| request.credit > 0), || {
        format!(
            "uid-{}: more signatures than allowed, requested by {:?}",
            served.signed.unwrap_or_default(),
            served.process
        )
    })
}

/// L9.
pub(super) fn stop_saves_certificates(_: &World, observation: &Observation<'_>) -> Finding {
    let Observation::Stopped(stopped) = observation else {
        return Ok(());
    };
    ensure(stopped.unsaved == 0 || stopped.hindered, || {
        format!(
            "{:?} stops with {} unsaved certificates",
            stopped.process, stopped.unsaved
        )
    })
}
