//! Ten thousand mutations of a good answer.

use std::collections::BTreeSet;

use fake_vault::Authority;
use issuer_core::{Body, Chain, Operation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{LIES, pure};
use crate::world::Dice;

const CHANGES: usize = 10_000;

/// A mutation in one place of an answer.
type Change = fn(&mut Dice, &mut Answer);

const KINDS: [Change; 6] = [bytes, characters, fields, foreign, lines, swap];

/// An answer: JSON, or text after a textual mutation.
struct Answer {
    json: Value,
    text: Option<Vec<u8>>,
}

/// The places of certificates.
const PLACES: [&str; 4] = [
    "/data/certificate",
    "/data/issuing_ca",
    "/data/ca_chain/0",
    "/data/ca_chain/1",
];

/// Returns a place with a certificate: the leaf in half of all cases.
fn place(dice: &mut Dice) -> &'static str {
    if dice.below(2) == 0 {
        PLACES[0]
    } else {
        dice.pick(&PLACES[1..])
    }
}

fn text(answer: &mut Answer, place: &str) -> Option<String> {
    answer.json.pointer(place).and_then(Value::as_str).map(str::to_owned)
}

fn set(answer: &mut Answer, place: &str, text: String) {
    if let Some(value) = answer.json.pointer_mut(place) {
        *value = json!(text);
    }
}

/// Changes the DER of a certificate.
fn bytes(dice: &mut Dice, answer: &mut Answer) {
    let place = place(dice);
    let Some(mut der) = text(answer, place).and_then(|pem| parse(&pem)) else {
        return;
    };
    let at = dice.below(der.len());
    match dice.below(6) {
        0 => drop(der.remove(at)),
        1 => der.insert(at, u8::try_from(dice.below(256)).unwrap()),
        2 => der.truncate(at),
        3 => der[at] = der[at].wrapping_add(1),
        4 => {
            let other = dice.below(der.len());
            der.swap(at, other);
        }
        _ => der[at] ^= 1 << dice.below(8),
    }
    set(answer, place, pem(&der));
}

/// Changes the body as text.
fn characters(dice: &mut Dice, answer: &mut Answer) {
    let mut text = answer
        .text
        .take()
        .unwrap_or_else(|| answer.json.to_string().into_bytes());
    let at = dice.below(text.len());
    let end = (at + 1 + dice.below(40)).min(text.len());
    match dice.below(5) {
        0 => drop(text.drain(at..end)),
        1 => text.truncate(at),
        2 => {
            let copy = text[at..end].to_vec();
            drop(text.splice(at..at, copy));
        }
        3 => text.insert(at, dice.pick(b"\"{}[],:\\ \n0-Az\xff\0")),
        _ => text[at] ^= 1 << dice.below(8),
    }
    answer.text = Some(text);
}

/// Changes a field of the JSON.
fn fields(dice: &mut Dice, answer: &mut Answer) {
    const FIELDS: [&str; 5] = ["data", "certificate", "issuing_ca", "ca_chain", "serial_number"];
    let field = dice.pick(&FIELDS);
    let values = [
        json!(null),
        json!(7),
        json!(""),
        json!([]),
        json!({}),
        json!([[]]),
        json!("no PEM"),
        json!(true),
    ];
    let parent = if field == "data" { "" } else { "/data" };
    let Some(parent) = answer.json.pointer_mut(parent).and_then(Value::as_object_mut) else {
        return;
    };
    match dice.below(values.len() + 2) {
        0 => drop(parent.remove(field)),
        1 => {
            let value = parent.remove(field).unwrap_or_default();
            parent.insert(field.to_uppercase(), value);
        }
        choice => drop(parent.insert(field.to_owned(), values[choice - 2].clone())),
    }
}

/// Inserts a certificate from elsewhere.
fn foreign(dice: &mut Dice, answer: &mut Answer) {
    let (place, other) = (place(dice), dice.below(FOREIGN.len()));
    set(answer, place, FOREIGN[other].clone());
}

/// Changes the PEM of a certificate.
fn lines(dice: &mut Dice, answer: &mut Answer) {
    let place = place(dice);
    let Some(text) = text(answer, place) else { return };
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return;
    }
    let at = dice.below(lines.len());
    let other = &FOREIGN[dice.below(FOREIGN.len())];
    match dice.below(7) {
        0 => drop(lines.remove(at)),
        1 => lines[at] = lines[at].to_lowercase(),
        2 => lines.insert(at, "AAAA".to_owned()),
        3 => lines.insert(0, other.clone()),
        4 => lines.push(other.clone()),
        5 => lines[at] = lines[at].replace("CERTIFICATE", "X509 CRL").replace('=', "A"),
        _ => lines.insert(0, "-----BEGIN CERTIFICATE-----".to_owned()),
    }
    set(answer, place, lines.join("\n"));
}

/// Swaps two certificates.
fn swap(dice: &mut Dice, answer: &mut Answer) {
    let (one, two) = (place(dice), place(dice));
    if let (Some(first), Some(second)) = (text(answer, one), text(answer, two)) {
        set(answer, one, second);
        set(answer, two, first);
    }
}

/// Certificates of the same CA for others, and certificates of other CAs.
static FOREIGN: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| {
    let mut vault = pure::vault();
    let access = pure::check(&mut vault, None).unwrap();
    let mut foreign: Vec<_> = ["Issuing", "Root", "Else"]
        .map(|name| Authority::root(name).certificate().pem.to_string())
        .into();
    pure::sign(&mut vault, &access, "other").1.unwrap();
    for lie in LIES {
        vault.faults_mut().script(Operation::Sign, lie);
        pure::sign(&mut vault, &access, "web").1.unwrap();
    }
    foreign.extend(vault.issued().iter().map(|issued| issued.certificate.clone()));
    assert_eq!(foreign.len(), 3 + 1 + LIES.len());
    foreign
});

fn parse(pem: &str) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .ok()
        .map(|der| der.to_vec())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----")
}

/// The name and key of a CA, which identify it.
fn identity(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    (
        certificate.subject().as_raw().to_vec(),
        certificate.public_key().raw.to_vec(),
    )
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.unwrap().to_vec())
        .collect()
}

/// An accepted answer has exactly the certificate that the CA signed, and above it only CAs of the good answer, perhaps
/// fewer. The next CA vouches for the other contents of a CA certificate, if it is present; clients that trust the root
/// do not trust this copy of it.
///
/// Returns `true` if the CA certificates are unchanged, too.
fn assert_same(accepted: &Chain, good: &Chain, known: &BTreeSet<(Vec<u8>, Vec<u8>)>, round: &str) -> bool {
    let (accepted_chain, good_chain) = (ders(&accepted.certificate), ders(&good.certificate));
    assert_eq!(accepted_chain[0], good_chain[0], "{round}");
    assert_eq!(
        (&accepted.serial, accepted.not_after),
        (&good.serial, good.not_after),
        "{round}"
    );
    let above = accepted_chain[1..]
        .iter()
        .cloned()
        .chain(accepted.ca.as_deref().into_iter().flat_map(ders));
    let mut intact = true;
    for ca in above {
        assert!(known.contains(&identity(&ca)), "{round}");
        intact &= good_chain.contains(&ca) || good.ca.as_deref().is_some_and(|good| ders(good).contains(&ca));
    }
    intact
}

#[test]
fn no_changed_answer_is_accepted() {
    let mut vault = pure::vault();
    let access = pure::check(&mut vault, None).unwrap();
    let (sign, reply) = pure::sign(&mut vault, &access, "web");
    let reply = reply.unwrap();
    let json: Value = serde_json::from_slice(reply.body().as_bytes()).unwrap();
    let good = pure::resume(sign.clone(), Ok(reply.clone())).unwrap();
    let known: BTreeSet<_> = PLACES[1..]
        .iter()
        .map(|place| identity(&parse(json.pointer(place).unwrap().as_str().unwrap()).unwrap()))
        .collect();
    let (mut refused, mut equal, mut fewer, mut other) = (0, 0, 0, 0);
    for round in 0..CHANGES {
        let mut dice = Dice::new(u64::try_from(round).unwrap());
        let mut answer = Answer {
            json: json.clone(),
            text: None,
        };
        for _ in 0..1 + dice.below(2) {
            if answer.text.is_none() {
                dice.pick(&KINDS)(&mut dice, &mut answer);
            }
        }
        let text = answer.text.unwrap_or_else(|| answer.json.to_string().into_bytes());
        let round = format!("round {round}: {}", String::from_utf8_lossy(&text));
        let mut changed = reply.clone();
        *changed.body_mut() = Body::from(text);
        match pure::resume(sign.clone(), Ok(changed)) {
            Err(_) => refused += 1,
            Ok(accepted) if accepted.chain() == good.chain() => equal += 1,
            Ok(accepted) if assert_same(accepted.chain(), good.chain(), &known, &round) => fewer += 1,
            Ok(_) => other += 1,
        }
    }
    assert!(
        refused > CHANGES * 3 / 4 && equal > 100 && fewer > 100,
        "{refused} {equal} {fewer} {other}"
    );
}
