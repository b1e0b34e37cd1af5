//! A hostile Vault against the whole controller, through both drivers, over TLS.
//!
//! A request that got no certificate of a broken CA is Issued in the end, whatever else fails. One that did is Failed:
//! every signing request yields another certificate, and this one must not be used.

mod bounds;
mod mutations;
mod origins;
pub(crate) mod pure;

use std::collections::BTreeMap;
use std::time::Duration;

use fake_vault::{CaDefect, Fault, KeyType};
use issuer_core::reconcile::Key;
use issuer_core::reference::RequestKey;
use issuer_core::{Operation, Reply, Request};
use rcgen::PublicKeyData as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::drivers::Either;
use crate::world::{Dice, Login, Vault, World};

/// The certificates of a broken CA.
const LIES: [Fault; 5] = [
    Fault::Certificate(CaDefect::AnotherIssuer),
    Fault::Certificate(CaDefect::AnotherKey),
    Fault::Certificate(CaDefect::AnotherName),
    Fault::Certificate(CaDefect::CaCertificate),
    Fault::Certificate(CaDefect::FarExpiry),
];

/// Faults that change an answer but not its meaning.
const HARMLESS: [Fault; 4] = [
    Fault::ChainDoubled,
    Fault::ChainShuffled,
    Fault::ExtraFields,
    Fault::WrongContentType,
];

/// Sends a request. One that will get no reply is not waited for as long as is allowed.
fn call(driver: &Either, mut request: Request, silent: bool) -> Reply {
    if silent {
        request.timeout = Duration::from_millis(300);
    }
    driver.call(request)
}

/// Compares a certificate with its request, without the code under test.
fn assert_is_what_was_asked_for(world: &World<'_>, key: &RequestKey, context: &str) {
    let status = world.cluster.request(key).unwrap().status.as_ref().unwrap();
    let pem = &status.certificate.as_ref().unwrap().decode().unwrap();
    let der = CertificateDer::from_pem_slice(pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let name = format!("{}.example.com", key.name);
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::DNSName(&name)], "{context}");
    let asked = fake_vault::key(KeyType::Ed25519, &name).subject_public_key_info();
    assert_eq!(certificate.public_key().raw, asked, "{context}");
    assert!(!certificate.is_ca(), "{context}");
    let latest = world.now().unix + Duration::from_secs(25 * 60 * 60);
    let end = certificate.validity().not_after.timestamp();
    assert!(end <= i64::try_from(latest.as_secs()).unwrap(), "{context}");
}

/// One fault in one request of a kind.
fn one_fault(driver: &Either, vault: &Vault, operation: Operation, fault: Fault) {
    let context = format!("{fault:?} on {}, {}", operation.as_str(), driver.name());
    let login = if operation == Operation::Lookup {
        Login::Token
    } else {
        Login::AppRole
    };
    let mut world = World::new(vault, login);
    let mut honest = |_: &Key, request| driver.call(request);
    if matches!(operation, Operation::Renew | Operation::Revoke) {
        world.run(&mut honest, World::is_ready);
    }
    let signed = vault.fake().counts().signs;
    vault.fake().faults_mut().script(operation, fault);
    let mut hostile = |_: &Key, request: Request| {
        let silent = fault == Fault::Silent && request.operation == operation;
        call(driver, request, silent && vault.fake().faults_mut().scripted() > 0)
    };
    match operation {
        Operation::Renew => world.pass(Duration::MAX),
        Operation::Revoke => world.stop(&mut hostile),
        _ => {}
    }
    world.work(&mut hostile);
    if operation != Operation::Revoke {
        let key = world.request("web");
        world.run(&mut hostile, World::is_finished);
        let (reason, message) = world.ready(&key);
        let lied = operation == Operation::Sign && LIES.contains(&fault);
        assert_eq!(reason, if lied { "Failed" } else { "Issued" }, "{context}: {message}");
        if lied {
            assert!(
                message.starts_with("Vault returned a certificate that does not match"),
                "{context}: {message}"
            );
        } else {
            assert_is_what_was_asked_for(&world, &key, &context);
        }
        let again = operation == Operation::Sign && fault.is_handled() && !lied && !is_harmless(fault);
        let signs = vault.fake().counts().signs - signed;
        assert_eq!(signs, 1 + u64::from(again), "{context}");
        world.stop(&mut honest);
    }
    assert_eq!(vault.fake().faults_mut().scripted(), 0, "{context} did not happen");
}

fn is_harmless(fault: Fault) -> bool {
    HARMLESS.contains(&fault) || matches!(fault, Fault::Late(_))
}

fn every_fault(driver: &Either) {
    let vault = Vault::start(1);
    for operation in Operation::ALL {
        for fault in Fault::ALL {
            one_fault(driver, &vault, operation, fault);
        }
    }
}

#[test]
fn every_fault_on_every_operation_async() {
    every_fault(&Either::asynchronous());
}

#[test]
fn every_fault_on_every_operation_blocking() {
    every_fault(&Either::blocking());
}

/// Three of ten requests have a fault of any kind.
fn mix(driver: &Either, seed: u64) {
    const REQUESTS: usize = 12;
    let context = format!("seed {seed}, {}", driver.name());
    let vault = Vault::start(seed);
    let mut world = World::new(&vault, Login::ALL[usize::try_from(seed).unwrap() % Login::ALL.len()]);
    let keys: Vec<_> = (0..REQUESTS)
        .map(|number| world.request(&format!("web-{number}")))
        .collect();
    let mut dice = Dice::new(seed);
    let (mut lied, mut lost) = (BTreeMap::new(), 0);
    let mut hostile = |key: &Key, request: Request| {
        let fault = (dice.below(10) < 3).then(|| dice.pick(&Fault::ALL));
        let signs = request.operation == Operation::Sign;
        if let Some(fault) = fault {
            vault.fake().faults_mut().script(None, fault);
            if signs && LIES.contains(&fault) {
                lied.insert(key.clone(), fault);
            } else if signs && fault.is_handled() && !is_harmless(fault) {
                lost += 1;
            }
        }
        let reply = call(driver, request, fault == Some(Fault::Silent));
        vault.fake().faults_mut().clear();
        reply
    };
    world.run(&mut hostile, World::is_finished);
    for key in &keys {
        let (reason, message) = world.ready(key);
        let context = format!("{context}, {key}: {message}");
        if let Some(lie) = lied.get(&Key::Request(key.clone())) {
            assert_eq!(reason, "Failed", "{context}, {lie:?}");
            assert!(
                message.starts_with("Vault returned a certificate that does not match"),
                "{context}"
            );
        } else {
            assert_eq!(reason, "Issued", "{context}");
            assert_is_what_was_asked_for(&world, key, &context);
        }
    }
    let signs = vault.fake().counts().signs;
    assert!(
        signs <= u64::try_from(REQUESTS).unwrap() + lost,
        "{context}: {signs} signatures, {lost} of them lost"
    );
}

/// Returns the seeds to run: `VAULT_ISSUER_SEED` or the first few.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("VAULT_ISSUER_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("VAULT_ISSUER_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..40,
    }
}

#[test]
fn every_mix_of_faults_async() {
    seeds().for_each(|seed| mix(&Either::asynchronous(), seed));
}

#[test]
fn every_mix_of_faults_blocking() {
    seeds().for_each(|seed| mix(&Either::blocking(), seed));
}

/// A request that always fails is retried with backoff while the token is valid (L3).
#[test]
fn permanent_failure_is_retried_seldom() {
    let driver = Either::blocking();
    for operation in [
        Operation::Health,
        Operation::Login,
        Operation::Lookup,
        Operation::Probe,
        Operation::Renew,
    ] {
        let vault = Vault::start(1);
        let login = if operation == Operation::Lookup {
            Login::Token
        } else {
            Login::AppRole
        };
        let mut world = World::new(&vault, login);
        let mut requests = 0;
        let mut call = |_: &Key, request: Request| {
            requests += 1;
            assert!(requests < 1000, "{operation:?} is asked for without a pause");
            if request.operation == operation {
                vault.fake().faults_mut().script(operation, Fault::MissingState);
            }
            driver.call(request)
        };
        let hour = world.now().monotonic + Duration::from_secs(60 * 60);
        world.run(&mut call, |world| world.now().monotonic > hour);
        assert!((20..=250).contains(&requests), "{operation:?}: {requests} in an hour");
    }
}
