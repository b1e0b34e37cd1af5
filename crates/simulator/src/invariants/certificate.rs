use issuer_core::Operation;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::{Finding, ensure};
use crate::cluster::Object;
use crate::fact::Fact;
use crate::fixture::{self, Flaw};
use crate::record;
use crate::vault::UNIX;
use crate::world::World;
use crate::world::certificate;

/// How long every request of the world asks for.
const DAY: i64 = 24 * 3600;

/// How far clocks may be apart, and how far a CA may stretch a life.
const HOUR: i64 = 3600;

/// Returns the object that a certificate has just been written to.
fn issued(fact: &Fact) -> Option<&Object> {
    let Fact::Wrote(wrote) = fact else {
        return None;
    };
    let after = wrote.after.as_ref().ok()?;
    let before = wrote.before.as_ref().and_then(|before| certificate(before));
    (certificate(after) != before).then_some(after)
}

/// Looks at the certificate that was written, with the number of the uid that it was written to.
fn look(fact: &Fact, at: impl FnOnce(u32, &X509Certificate<'_>) -> Finding) -> Finding {
    let Some(object) = issued(fact) else {
        return Ok(());
    };
    let number = record::number(object.uid()).ok_or("another uid than any")?;
    let pem = certificate(object).unwrap_or_default();
    let (_, pem) = parse_x509_pem(&pem).map_err(|_| "the certificate is not PEM")?;
    let leaf = pem.parse_x509().map_err(|_| "the certificate is not one")?;
    at(number, &leaf)
}

fn serial(leaf: &X509Certificate<'_>) -> String {
    let digits = leaf
        .raw_serial()
        .iter()
        .skip_while(|byte| **byte == 0)
        .map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().join(":")
}

pub(super) fn s5(world: &World, fact: &Fact) -> Finding {
    look(fact, |number, leaf| {
        let serial = serial(leaf);
        let made_for = world.vaults.iter().find_map(|vault| vault.csr_of(&serial));
        ensure(made_for == Some(number), || {
            format!("uid-{number} got the certificate of uid-{made_for:?}")
        })
    })
}

pub(super) fn s6(world: &World, fact: &Fact) -> Finding {
    if let Fact::Asks(asks) = fact
        && asks.operation == Operation::Sign
    {
        let flaw = asks
            .csr
            .and_then(|csr| world.record.requests.get(&csr))
            .map(|request| request.want.flaw);
        let sound = matches!(flaw, Some(Flaw::None | Flaw::Refused));
        ensure(sound, || format!("{:?} sends a CSR with flaw {flaw:?}", asks.key))?;
    }
    look(fact, |number, leaf| {
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
        .map_or(Flaw::None, |request| request.want.flaw)
}

pub(super) fn s7(world: &World, fact: &Fact) -> Finding {
    look(fact, |number, leaf| {
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
