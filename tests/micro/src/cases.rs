//! The operations that are measured, and their budgets.
//!
//! A budget is about one and a half times the ratio that was measured: tighter than any mistake that matters, such as a
//! signature that is verified twice or a queue that is searched, and looser than what two compilers or two processors
//! differ by.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use issuer_api::CertificateRequest;
use issuer_core::reconcile::{Change, Key, Outcome};
use issuer_core::reference::RequestKey;
use issuer_core::{Issued, KnownSignatures, Now, RequestSpec, SigningRequest, VerifyOptions, verify};

use crate::controller::Driven;
use crate::cost::Unit;
use crate::fixture::{self, NOW};
use crate::reference::{JSON, P256};
use crate::work::{Run, Work};

/// An operation, what it is compared with, and how much it may cost.
pub(crate) struct Case {
    pub(crate) work: Work,
    pub(crate) about: &'static str,
    pub(crate) reference: &'static Work,
    pub(crate) budget: Budget,
}

/// The highest ratio of the cost of an operation to that of its reference, in each unit.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    instructions: f64,
    seconds: f64,
}

impl Budget {
    /// Returns the highest ratio in a unit.
    pub(crate) fn of(self, unit: Unit) -> f64 {
        match unit {
            Unit::Instructions => self.instructions,
            Unit::Seconds => self.seconds,
        }
    }
}

/// All operations.
pub(crate) static CASES: [Case; 7] = [
    case(
        "csr",
        csr,
        &P256,
        [1.6, 1.6],
        "a CSR is parsed and its signature verified",
    ),
    case(
        "chain",
        chain,
        &P256,
        [4.9, 5.2],
        "a leaf of a new CA is verified: three signatures",
    ),
    case(
        "known",
        known,
        &P256,
        [1.9, 2.1],
        "a leaf of a known CA is verified: one signature",
    ),
    case(
        "request",
        request,
        &P256,
        [3.9, 5.4],
        "a request, from its approval until it is issued",
    ),
    case(
        "check",
        check,
        &JSON,
        [15.0, 31.0],
        "a new issuer is checked; the token of the old one is revoked",
    ),
    case(
        "queue",
        queue,
        &JSON,
        [4.5, 12.0],
        "one of 10 000 waiting requests becomes due, is taken and forgotten",
    ),
    case(
        "scrape",
        scrape,
        &JSON,
        [300.0, 600.0],
        "what a scrape reads of 500 issuers and 1000 waiting requests",
    ),
];

const fn case(
    name: &'static str,
    prepare: fn() -> Run,
    reference: &'static Work,
    [instructions, seconds]: [f64; 2],
    about: &'static str,
) -> Case {
    Case {
        work: Work { name, prepare },
        about,
        reference,
        budget: Budget { instructions, seconds },
    }
}

fn csr() -> Run {
    let usages = fixture::usages();
    let signatures = issuer_tls::signatures();
    Box::new(move || {
        let spec = RequestSpec {
            csr: black_box(fixture::CSR.as_bytes()),
            duration: Some(fixture::DURATION),
            is_ca: false,
            least_duration: Duration::ZERO,
            usages: &usages,
        };
        black_box(SigningRequest::parse(spec, &signatures).unwrap());
    })
}

fn chain() -> Run {
    verification(fixture::issued(), KnownSignatures::default())
}

fn known() -> Run {
    let issued = fixture::issued();
    let options = issuer_tls::signatures().into();
    let verified = verify(&fixture::signing_request(), &issued, NOW, &options).unwrap();
    verification(issued, verified.known().clone())
}

fn verification(issued: Issued, known: KnownSignatures) -> Run {
    let wanted = fixture::signing_request();
    let options = VerifyOptions {
        known,
        ..issuer_tls::signatures().into()
    };
    Box::new(move || {
        black_box(verify(&wanted, black_box(&issued), NOW, &options).unwrap());
    })
}

fn request() -> Run {
    let mut driven = Driven::ready();
    let mut approved = fixture::request("web");
    fixture::approve(&mut approved);
    driven.observe(Change::Request(approved.clone().into()));
    assert_eq!(driven.work(NOW).1, Outcome::Issued);
    let mut issued = approved.clone();
    issued.status = serde_json::from_value(driven.written.take().unwrap().value()["status"].take()).unwrap();
    driven.observe(Change::Request(issued.clone().into()));
    Box::new(move || {
        driven.observe(Change::Request(approved.clone().into()));
        assert_eq!(driven.work(NOW).1, Outcome::Issued);
        // The watch shows that it has finished, so it is forgotten.
        driven.observe(Change::Request(issued.clone().into()));
    })
}

fn check() -> Run {
    let mut driven = Driven::ready();
    let mut number = 0;
    Box::new(move || {
        number += 1;
        let observed = fixture::issuer(format!("uid-{number}"));
        driven.observe(Change::Issuer(fixture::issuer_key("vault"), observed));
        let mut outcomes = [driven.work(NOW).1, driven.work(NOW).1];
        outcomes.sort();
        assert_eq!(outcomes, [Outcome::Ready, Outcome::Revoked]);
    })
}

/// The number of requests that wait for approval in `queue`.
const WAITING: u32 = 10_000;

/// How long the core lets a request wait for approval before it says so.
const APPROVAL: Duration = Duration::from_secs(10);

fn queue() -> Run {
    let mut driven = Driven::new();
    let template = fixture::request("web");
    let mut waiting: VecDeque<_> = (0..WAITING)
        .map(|number| arrive(&mut driven, &template, number))
        .collect();
    let mut next = WAITING;
    let mut operation = move || {
        waiting.push_back(arrive(&mut driven, &template, next));
        let due = waiting.pop_front().unwrap();
        let (key, outcome) = driven.work(moment(next));
        assert_eq!(key, Key::Request(due.clone()));
        assert_eq!(outcome, Outcome::Pending("WaitingForApproval"));
        driven.controller.observe(moment(next), Change::RequestGone(due));
        next += 1;
    };
    // One of the first hundred operations costs as much as fifty: what grows then must not fall into what is counted.
    for _ in 0..200 {
        operation();
    }
    Box::new(operation)
}

/// Returns when a request arrives: one becomes due with each arrival.
fn moment(number: u32) -> Now {
    fixture::after(APPROVAL / WAITING * number)
}

/// Lets a request arrive, in one of a hundred namespaces; returns its key.
fn arrive(driven: &mut Driven, template: &CertificateRequest, number: u32) -> RequestKey {
    let mut request = template.clone();
    request.metadata.namespace = Some(format!("team-{}", number % 100));
    request.metadata.name = Some(format!("web-{number}"));
    request.metadata.uid = Some(format!("uid-{number}"));
    let key = RequestKey::of(&request);
    driven
        .controller
        .observe(moment(number), Change::Request(request.into()));
    key
}

fn scrape() -> Run {
    let mut driven = Driven::new();
    let mut template = fixture::request("web");
    fixture::approve(&mut template);
    for number in 0..500 {
        driven.add_issuer(fixture::issuer_key(&format!("vault-{number}")));
    }
    for number in 0..1000 {
        let mut request = template.clone();
        request.metadata.name = Some(format!("web-{number}"));
        request.metadata.uid = Some(format!("uid-{number}"));
        request.spec.issuer_ref.name = format!("vault-{}", number % 500);
        driven.observe(Change::Request(request.into()));
    }
    Box::new(move || {
        black_box(driven.controller.report(NOW));
    })
}
