//! Promises about the certificates that are saved.

use fake_kube::Object;
use issuer_core::Operation;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::clock::UNIX;
use crate::fixture::{self, Flaw};
use crate::observation::Observation;
use crate::record;
use crate::world::{Finding, World, ensure};

/// The duration that every request asks for.
const DAY: i64 = 24 * 3600;

/// The tolerance for clock skew and for the backdating of certificates.
const HOUR: i64 = 3600;

/// Returns the object that a certificate was just written to.
fn issued(observation: &Observation) -> Option<&Object> {
    let Observation::Wrote(wrote) = observation else {
        return None;
    };
    let after = wrote.after.as_ref().ok()?;
    let before = wrote.before.as_ref().and_then(|before| before.certificate());
    (after.certificate() != before).then_some(after)
}

/// Checks a certificate that was just written, with the number in the uid of its request.
fn check_issued(observation: &Observation, check: impl FnOnce(u32, &X509Certificate<'_>) -> Finding) -> Finding {
    let Some(object) = issued(observation) else {
        return Ok(());
    };
    let number = record::number(object.uid()).ok_or("an unknown uid")?;
    let pem = object.certificate().unwrap_or_default();
    let (_, pem) = parse_x509_pem(&pem).map_err(|_| "the certificate is not PEM")?;
    let leaf = pem.parse_x509().map_err(|_| "the certificate cannot be parsed")?;
    check(number, &leaf)
}

fn serial(leaf: &X509Certificate<'_>) -> String {
    let digits = leaf
        .raw_serial()
        .iter()
        .skip_while(|byte| **byte == 0)
        .map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().join(":")
}

/// S5: a certificate is only written to the uid that it was signed for.
pub(super) fn certificate_of_uid(world: &World, observation: &Observation) -> Finding {
    check_issued(observation, |number, leaf| {
        let serial = serial(leaf);
        let signed_for = world.vaults.iter().find_map(|vault| vault.csr_of(&serial));
        ensure(signed_for == Some(number), || {
            format!("uid-{number} got the certificate of uid-{signed_for:?}")
        })
    })
}

/// S6: a written certificate has the key of the CSR, and a CSR without a valid signature is never sent.
pub(super) fn key_of_csr(world: &World, observation: &Observation) -> Finding {
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
        ensure(leaf.public_key().raw == csr.key, || {
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

/// S7: a written certificate has the requested names, CA flag and lifetime.
pub(super) fn contents_as_requested(world: &World, observation: &Observation) -> Finding {
    check_issued(observation, |number, leaf| {
        let csr = fixture::csr(number, flaw_of(world, number));
        let names = leaf
            .subject_alternative_name()
            .map_err(|_| "the names are not well-formed")?;
        let names: Vec<_> = names.iter().flat_map(|names| &names.value.general_names).collect();
        let right = matches!(names.as_slice(), [GeneralName::DNSName(name)] if *name == csr.name);
        ensure(right, || format!("uid-{number} got a certificate for {names:?}"))?;
        ensure(!leaf.is_ca(), || format!("uid-{number} got a CA certificate"))?;
        let now = i64::try_from((UNIX + world.now).as_secs()).unwrap_or(i64::MAX);
        let (from, to) = (
            leaf.validity().not_before.timestamp(),
            leaf.validity().not_after.timestamp(),
        );
        let fits = from <= now + HOUR && to - from <= DAY + HOUR && to > now;
        ensure(fits, || {
            format!("uid-{number} got a certificate from {from} to {to} at {now}")
        })
    })
}

/// S9: signatures per uid: at most 1 + crashes + lost replies + concurrent processes.
pub(super) fn signatures_are_bounded(world: &World, observation: &Observation) -> Finding {
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

/// L9: a process that stops saves what it has signed.
pub(super) fn stop_saves_certificates(_: &World, observation: &Observation) -> Finding {
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
