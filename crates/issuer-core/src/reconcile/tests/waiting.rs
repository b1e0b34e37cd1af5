//! How requests wait: without polling, in turns, and with bounded room.

use std::time::Duration;

use issuer_api::Base64;

use super::scenario::{Answer, RequestBuilder, Scenario, issuer, issuer_key, key, request};
use crate::Operation;
use crate::reconcile::{Change, Key, Step, WriteError};
use crate::reference::{IssuerKey, IssuerKind};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shared() -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Cluster,
        namespace: "".into(),
        name: "shared".into(),
    }
}

fn signatures(log: &[String]) -> usize {
    log.iter().filter(|line| line.starts_with("sign ")).count()
}

#[test]
fn long_csr_is_read_only_to_sign() {
    let long = |request: RequestBuilder| {
        request.with(|request| {
            let pem = request.spec.request.decode().unwrap();
            request.spec.request = Base64::encode([pem, vec![b'\n'; 4000]].concat());
        })
    };
    let reads = |log: Vec<String>| log.iter().filter(|line| *line == "read web").count();
    let mut scenario = Scenario::ready();
    scenario.create(long(request("web")));
    assert_eq!(reads(scenario.pass(60)), 0);
    let mut scenario = Scenario::empty(super::scenario::config());
    scenario.create(long(request("web").approved()));
    assert_eq!(reads(scenario.pass(60)), 0);
    // To save what is signed takes no CSR.
    let mut scenario = Scenario::ready();
    scenario.write_errors.extend([WriteError::Unavailable; 3]);
    scenario.create(long(request("web").approved()));
    assert_eq!(reads(scenario.pass(60)), 1);
    assert_eq!(scenario.reason("web"), "Issued");
}

#[test]
fn waiting_requests_are_not_polled() {
    let mut scenario = Scenario::ready();
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.signs.insert("first".to_owned(), Answer::Lost);
    scenario.create(request("first").approved());
    scenario.run();
    for number in 0..50 {
        scenario.create(request(&format!("web-{number}")).approved());
    }
    let log = scenario.run();
    assert_eq!(log.iter().filter(|line| line.starts_with("write web-")).count(), 50);
    let mut polled = 0;
    for _ in 0..3600 {
        scenario.now.monotonic += secs(1);
        while let Some((polled_key, step)) = scenario.controller.poll(scenario.now) {
            polled += usize::from(matches!(polled_key, Key::Request(_)));
            scenario.answer(&polled_key, step);
        }
    }
    assert_eq!(polled, 0);
    scenario.checks = Answer::Well;
    scenario.signs.clear();
    let log = scenario.pass(16);
    assert_eq!(log.iter().filter(|line| line.starts_with("sign ")).count(), 51);
}

#[test]
fn first_check_writes_no_status() {
    for (answer, expected) in [
        (Answer::Well, "Issued"),
        (Answer::Refuses(503, "Vault is sealed"), "Pending"),
    ] {
        let mut scenario = Scenario::empty(super::scenario::config());
        scenario.checks = answer;
        scenario.change(Change::Issuer(issuer_key(), issuer(1)));
        for number in 0..50 {
            scenario.create(request(&format!("web-{number}")).approved());
        }
        let (check, step) = scenario.controller.poll(scenario.now).unwrap();
        assert_eq!(check, Key::Issuer(issuer_key()));
        // The check waits for its first answer.
        assert!(scenario.pass(3600).is_empty());
        scenario.answer(&check, step);
        let log = scenario.run();
        let written: Vec<_> = log.iter().filter(|line| line.starts_with("write web-")).collect();
        assert_eq!(written.len(), 50);
        assert!(written.iter().all(|line| line.ends_with(expected)), "{written:?}");
    }
}

#[test]
fn demanded_issuers_are_checked_first() {
    let mut scenario = Scenario::empty(super::scenario::config());
    for number in 0..100 {
        let key = IssuerKey {
            name: format!("a-{number}").into(),
            ..issuer_key()
        };
        scenario.change(Change::Issuer(key, issuer(1)));
    }
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.create(request("web").approved());
    let first = scenario.controller.poll(scenario.now).map(|(key, _)| key);
    assert_eq!(first, Some(Key::Issuer(issuer_key())));
}

#[test]
fn nothing_is_begun_during_a_pause() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    let begun = scenario.now.monotonic;
    for (wait, paused) in [(7, 7), (3, 7), (3600, 60)].map(|(wait, paused)| (secs(wait), secs(paused))) {
        scenario.controller.pause(scenario.now, wait);
        assert!(scenario.controller.poll(scenario.now).is_none());
        assert_eq!(scenario.controller.next_due(), Some(begun + paused));
    }
    scenario.now.monotonic += secs(60);
    assert_eq!(scenario.run().first().map(String::as_str), Some("sign web"));
}

#[test]
fn restarted_controller_writes_nothing_again() {
    let mut scenario = Scenario::ready();
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.signs.insert("web".to_owned(), Answer::Lost);
    scenario.create(request("web").approved());
    scenario.pass(30);
    let object = scenario.object("web").clone();
    let mut scenario = Scenario::empty(super::scenario::config());
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.objects.insert(key("web"), object.into());
    scenario.show("web");
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    let log = scenario.pass(3600);
    assert!(log.iter().all(|line| !line.starts_with("write web")), "{log:?}");
}

#[test]
fn namespaces_take_turns_at_a_cluster_issuer() {
    let mut scenario = Scenario::ready();
    for number in 0..40 {
        let crowd = request(&format!("crowd-{number}")).approved();
        scenario.create(crowd.in_namespace("crowd").of("VaultClusterIssuer", "shared"));
    }
    let single = request("single").approved().in_namespace("single");
    scenario.create(single.of("VaultClusterIssuer", "shared"));
    scenario.run();
    scenario.change(Change::Issuer(shared(), issuer(1)));
    let log = scenario.run();
    let signed: Vec<_> = log.iter().filter(|line| line.starts_with("sign ")).collect();
    assert_eq!(signed.len(), 41, "{log:?}");
    assert!(signed.iter().take(2).any(|line| *line == "sign single"), "{signed:?}");
}

#[test]
fn unsaved_certificates_fill_one_issuer_only() {
    let mut scenario = Scenario::ready();
    scenario.change(Change::Issuer(shared(), issuer(1)));
    scenario.run();
    scenario.write_errors.extend([WriteError::Forbidden; 100]);
    for number in 0..101 {
        scenario.create(request(&format!("web-{number}")).approved());
    }
    let log = scenario.run();
    assert_eq!(log.iter().filter(|line| line.starts_with("sign ")).count(), 100);
    assert_eq!(scenario.controller.unsaved(), 100);
    scenario.create(request("other").approved().of("VaultClusterIssuer", "shared"));
    assert_eq!(scenario.run().first().map(String::as_str), Some("sign other"));
    let log = scenario.pass(2);
    assert_eq!(log.iter().filter(|line| line.starts_with("sign ")).count(), 1);
    assert_eq!(scenario.controller.unsaved(), 0);
}

#[test]
fn unsaved_certificates_of_one_requester_stop_no_other() {
    let mut scenario = Scenario::ready();
    scenario.change(Change::Issuer(shared(), issuer(1)));
    scenario.run();
    scenario.write_errors.extend([WriteError::Forbidden; 100]);
    let of_requester = |namespace: &str, number: u32| {
        let request = request(&format!("{namespace}-{number}")).approved();
        request.in_namespace(namespace).of("VaultClusterIssuer", "shared")
    };
    for number in 0..103 {
        scenario.create(of_requester("hostile", number));
    }
    assert_eq!(signatures(&scenario.run()), 100);
    assert_eq!(scenario.controller.unsaved(), 100);
    let log = [
        "sign other-0",
        "write other-0 Issued",
        "event other-0 Normal CertificateIssued",
    ];
    scenario.create(of_requester("other", 0));
    assert_eq!(scenario.run(), log);
    // What is saved at last makes room for the rest.
    assert_eq!(signatures(&scenario.pass(2)), 3);
    assert_eq!(scenario.controller.unsaved(), 0);
}

#[test]
fn long_csr_is_read_again() {
    let mut scenario = Scenario::ready();
    let whole = request("web").approved().build();
    let long = [b"#".repeat(5000), b"\n".to_vec(), whole.spec.request.decode().unwrap()].concat();
    scenario.create(request("web").approved().with_csr(&long));
    assert_eq!(
        scenario.run(),
        [
            "read web",
            "sign web",
            "write web Issued",
            "event web Normal CertificateIssued"
        ]
    );
}

#[test]
fn unknown_kind_is_named_once() {
    for (kind, text) in [
        ("ClusterIssuer", "has no kind ClusterIssuer:"),
        ("", "has no kind Issuer, which an empty spec.issuerRef.kind means:"),
        ("<b>", "has no kind of the name in spec.issuerRef.kind:"),
    ] {
        let mut scenario = Scenario::ready();
        scenario.create(request("web").approved().of(kind, "vault"));
        assert_eq!(
            scenario.run(),
            ["write web Pending", "event web Warning IssuerNotFound"]
        );
        let message = scenario.object("web").condition("Ready").unwrap().message.clone();
        assert!(
            message.as_ref().is_some_and(|message| message.contains(text)),
            "{message:?}"
        );
        scenario.show("web");
        assert!(scenario.run().is_empty());
    }
}

#[test]
fn missing_approval_is_announced_once() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web"));
    assert!(scenario.pass(9).is_empty());
    assert_eq!(scenario.pass(1), ["event web Normal WaitingForApproval"]);
    scenario.show("web");
    assert!(scenario.pass(24 * 60 * 60).iter().all(|line| !line.contains("web")));
    let mut scenario = Scenario::ready();
    scenario.create(request("web"));
    scenario.pass(5);
    scenario.create(request("web").approved());
    scenario.run();
    assert!(
        scenario
            .pass(60)
            .iter()
            .all(|line| !line.contains("WaitingForApproval"))
    );
}

#[test]
fn issuer_has_its_own_time_to_sign() {
    let mut scenario = Scenario::ready();
    for (timeout, seconds) in [(Some("5m"), 300), (None, 30)] {
        scenario.modify_issuer(|spec| spec.sign_timeout = timeout.map(str::to_owned));
        scenario.run();
        scenario.create(request(&format!("web-{seconds}")).approved());
        let Some((_, Step::Exchange(sign, _))) = scenario.controller.poll(scenario.now) else {
            panic!("nothing is signed");
        };
        assert_eq!((sign.operation, sign.timeout.as_secs()), (Operation::Sign, seconds));
    }
}

#[test]
fn unsigned_crowd_delays_no_signature() {
    for denied in [false, true] {
        let mut scenario = Scenario::ready();
        for number in 0..200 {
            let crowd = request(&format!("crowd-{number}"));
            scenario.create(if denied { crowd.denied() } else { crowd });
        }
        scenario.now.monotonic += secs(11);
        scenario.create(request("web").approved());
        // Nothing of the crowd is answered.
        let polled = std::iter::from_fn(|| scenario.controller.poll(scenario.now));
        let signs = polled.filter(|(_, step)| matches!(step, Step::Exchange(..))).count();
        assert_eq!(signs, 1, "{denied}");
    }
}

#[test]
fn missing_issuers_take_no_room() {
    let mut scenario = Scenario::ready();
    for number in 0..2000 {
        let crowd = request(&format!("crowd-{number}")).approved();
        scenario.create(crowd.of("VaultIssuer", &format!("missing-{number}")));
    }
    scenario.create(request("web").approved());
    // Nothing of the crowd is answered.
    let polled: Vec<_> = std::iter::from_fn(|| scenario.controller.poll(scenario.now)).collect();
    assert_eq!(polled.len(), 32);
    assert!(polled.iter().any(|(polled, _)| *polled == Key::Request(key("web"))));
}
