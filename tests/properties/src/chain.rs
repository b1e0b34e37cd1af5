//! Properties of chains: any combination of certificates is ordered or refused.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use fake_vault::{KeyType, key};
use issuer_core::vault::{Sign, SignError};
use issuer_core::{Flow, Step, Verified};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, date_time_ymd};
use serde_json::json;

use crate::fixture::{self, LEASE, NOW, PATH, VAULT, sent, signatures, signing_request};
use crate::oracle::{assert_sound, ders};
use crate::reply;
use crate::text::assert_shown;

/// The certificates that inputs combine. The issuing CA's key has signed the leaf and has three certificates: by the
/// policy CA, by another root, and one that is not a CA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Leaf,
    Issuing,
    Cross,
    NoCa,
    Policy,
    Root,
    OtherRoot,
    /// Has the root's name and another key.
    Impostor,
    /// A leaf for another request.
    Stranger,
}

use Piece::{Cross, Impostor, Issuing, Leaf, NoCa, OtherRoot, Policy, Root, Stranger};

const PIECES: [Piece; 9] = [Leaf, Issuing, Cross, NoCa, Policy, Root, OtherRoot, Impostor, Stranger];

/// The pairs of signer and CA certificate.
const SIGNED: [(Piece, Piece); 5] = [
    (Issuing, Leaf),
    (Cross, Leaf),
    (Policy, Issuing),
    (Root, Policy),
    (OtherRoot, Cross),
];

static PALETTE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let keys = |label| key(KeyType::Ed25519, label);
    let (root, policy, issuing, other) = (ca("Root"), ca("Policy"), ca("Issuing"), ca("Other"));
    let by = |params: &CertificateParams, label| Issuer::new(params.clone(), keys(label));
    let mut no_ca = issuing.clone();
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let mut leaf = fixture::params();
    leaf.not_before = date_time_ymd(2026, 1, 1);
    leaf.not_after = date_time_ymd(2026, 1, 2);
    let stranger = CertificateParams::new(["else.example".to_owned()]).unwrap();
    let der = |certificate: rcgen::Certificate| certificate.der().to_vec();
    PIECES
        .map(|piece| match piece {
            Leaf => der(leaf.signed_by(&keys("fuzz"), &by(&issuing, "issuing")).unwrap()),
            Issuing => der(issuing.signed_by(&keys("issuing"), &by(&policy, "policy")).unwrap()),
            Cross => der(issuing.signed_by(&keys("issuing"), &by(&other, "other")).unwrap()),
            NoCa => der(no_ca.signed_by(&keys("issuing"), &by(&policy, "policy")).unwrap()),
            Policy => der(policy.signed_by(&keys("policy"), &by(&root, "root")).unwrap()),
            Root => der(root.self_signed(&keys("root")).unwrap()),
            OtherRoot => der(other.self_signed(&keys("other")).unwrap()),
            Impostor => der(root.self_signed(&keys("impostor")).unwrap()),
            Stranger => der(stranger.signed_by(&keys("stranger"), &by(&issuing, "issuing")).unwrap()),
        })
        .to_vec()
});

/// The certificates in the three fields of an answer.
#[derive(Debug, Default)]
struct Soup {
    texts: [Vec<String>; 3],
    pieces: [Vec<Piece>; 3],
    is_broken: bool,
}

impl Soup {
    /// Reads one byte for each certificate: which one (four bits), the field (two bits), the encoding (two bits).
    fn read(data: &[u8]) -> Self {
        let mut soup = Self::default();
        for byte in data.iter().take(64) {
            let (what, place, form) = (usize::from(byte & 15), usize::from(byte >> 4 & 3), byte >> 6);
            // Once more into the chain, as another string.
            let (place, anew) = if place == 3 { (2, true) } else { (place, false) };
            let text = match PIECES.get(what) {
                Some(piece) => {
                    soup.pieces[place].push(*piece);
                    written(&PALETTE[what], form)
                }
                None => soup.junk(what),
            };
            let texts = &mut soup.texts[place];
            match texts.last_mut().filter(|_| !anew) {
                Some(last) => *last += &text,
                None => texts.push(text),
            }
        }
        soup
    }

    fn junk(&mut self, what: usize) -> String {
        match what {
            9 => "subject=CN = Root\n".to_owned(),
            10 => fixture::pem("PRIVATE KEY", b"\x30\x00"),
            11 => "\u{feff}-----".to_owned(),
            12 => "-----BEGIN CERTIFICATE REQUEST-----\nAA\n-----END CERTIFICATE REQUEST-----".to_owned(),
            13 => String::new(),
            14 => {
                self.is_broken = true;
                "-----BEGIN CERTIFICATE-----\nA*==\n-----END CERTIFICATE-----\n".to_owned()
            }
            _ => "\r\n\t ".to_owned(),
        }
    }

    /// Returns the required certificates of the chain besides the leaf and the highest CAs; `None` if the answer is invalid.
    fn expected(&self) -> Option<(BTreeSet<Piece>, BTreeSet<Piece>)> {
        let [certificate, issuing_ca, ca_chain] = &self.pieces;
        let sound = certificate.first() == Some(&Leaf) && !self.is_broken;
        let pool: BTreeSet<Piece> = [issuing_ca.as_slice(), ca_chain, certificate]
            .concat()
            .into_iter()
            .collect();
        let pool: BTreeSet<Piece> = pool.into_iter().filter(|piece| *piece != Leaf).collect();
        let mut reached = BTreeSet::from([Leaf]);
        for _ in PIECES {
            let signed = SIGNED
                .iter()
                .filter(|(by, of)| pool.contains(by) && reached.contains(of));
            reached = signed.map(|(by, _)| *by).chain([Leaf]).collect();
        }
        let mut named = issuing_ca.iter().filter(|piece| **piece != Leaf).peekable();
        let named = named.peek().is_none() || named.any(|piece| matches!(piece, Issuing | Cross | NoCa));
        let led = pool.is_empty() || reached.len() > 1;
        reached.remove(&Leaf);
        let roots = reached
            .iter()
            .filter(|piece| matches!(piece, Root | OtherRoot))
            .copied()
            .collect();
        (sound && named && led).then(|| (&reached - &roots, roots))
    }
}

/// Encodes a certificate: with long lines, as Vault does, with CRLF, or indented.
fn written(der: &[u8], form: u8) -> String {
    let pem = fixture::pem("CERTIFICATE", der);
    match form {
        0 => pem,
        1 => pem.trim_end().to_owned(),
        2 => pem.replace('\n', "\r\n"),
        _ => pem.replace('\n', "\n  "),
    }
}

/// Chains in any order, with other certificates in between: a chain from the leaf to its issuers is accepted, sorted and
/// reduced to its own certificates; any other answer is refused.
pub fn chain(data: &[u8]) {
    let soup = Soup::read(data);
    let [certificate, issuing_ca, ca_chain] = &soup.texts;
    let mut body = json!({ "certificate": certificate.concat(), "ca_chain": ca_chain });
    if !issuing_ca.is_empty() {
        body["issuing_ca"] = issuing_ca.concat().into();
    }
    let reply = reply::with(200, json!({ "data": body }).to_string());
    let (_, sign) = sent(Sign::begin(&VAULT, &PATH, &LEASE, signing_request(false), signatures()));
    match (sign.resume(NOW, Ok(reply)), soup.expected()) {
        (Step::Done(Ok(verified)), Some((issuers, roots))) => {
            assert_sound(&verified, false);
            assert_chain(&verified, &issuers, &roots);
        }
        (Step::Done(Err(error)), None) => {
            let misses = certificate.concat().trim().is_empty();
            assert!(misses || matches!(error, SignError::Mismatch(_)), "{error:?}");
            assert_shown(&error.to_string());
        }
        (result, expected) => panic!("{expected:?} was expected of {:?}, there came {result:?}", soup.pieces),
    }
}

fn assert_chain(verified: &Verified, issuers: &BTreeSet<Piece>, roots: &BTreeSet<Piece>) {
    let piece = |der: &Vec<u8>| PIECES[PALETTE.iter().position(|known| known == der).expect("of the palette")];
    let chain = verified.chain();
    let written: Vec<Piece> = ders(&chain.certificate).iter().map(piece).collect();
    assert_eq!(written[0], Leaf);
    assert_eq!(&written[1..].iter().copied().collect::<BTreeSet<_>>(), issuers);
    let ca = chain.ca.as_deref().map(|ca| piece(&ders(ca)[0]));
    match ca {
        Some(ca) if roots.is_empty() => assert!(issuers.contains(&ca), "{ca:?}"),
        Some(ca) => assert!(roots.contains(&ca), "{ca:?}"),
        None => assert!(issuers.is_empty() && roots.is_empty()),
    }
}
