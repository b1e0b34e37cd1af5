//! Requests that are deleted while they are signed or saved.

use std::collections::BTreeSet;

use issuer_api::IssuerRef;

use super::scenario::{Answer, Scenario, key, request};
use crate::reconcile::{Change, NamedIssuer, WriteError};
use crate::reference::{ListScope, RequestKind};

#[test]
fn certificate_of_a_deleted_request_is_dropped() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.objects.clear();
    scenario.change(Change::RequestGone(key("web")));
    assert!(scenario.release("web", &Answer::Well).is_empty());
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (0, 0));
}

#[test]
fn certificate_never_reaches_a_successor() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.create(request("web").uid("uid-2"));
    let log = scenario.release("web", &Answer::Well);
    assert!(log.is_empty(), "{log:?}");
    assert_eq!(scenario.reason("web"), "none");
}

#[test]
fn certificate_survives_a_spurious_404() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::NotFound);
    let log = scenario.pass(2);
    assert_eq!(
        log,
        [
            "sign web",
            "write web Issued: NotFound",
            "unsaved",
            "write web Issued",
            "event web Normal CertificateIssued"
        ]
    );
}

#[test]
fn finished_request_is_remembered_until_listed() {
    let mut scenario = Scenario::ready();
    scenario.watch_lags = true;
    scenario.create(request("web").approved());
    scenario.run();
    assert_eq!((scenario.reason("web"), scenario.controller.tracked()), ("Issued", 0));
    let other = IssuerRef {
        group: Some("example.com".to_owned()),
        ..IssuerRef::default()
    };
    let elsewhere = ListScope::Namespace("other".to_owned());
    for (kind, scope, listed, is_remembered) in [
        (RequestKind::CertificateSigningRequest, ListScope::Cluster, false, true),
        (RequestKind::CertificateRequest, elsewhere, false, true),
        (RequestKind::CertificateRequest, ListScope::Cluster, true, true),
        (RequestKind::CertificateRequest, ListScope::Cluster, false, false),
    ] {
        let listed: BTreeSet<_> = listed.then(|| key("web")).into_iter().collect();
        scenario.change(Change::Requests(kind, scope, listed));
        let issuer = NamedIssuer::Reference(&other);
        assert_eq!(scenario.controller.needs(&key("web"), "uid-web", issuer), is_remembered);
    }
}

#[test]
fn deletion_in_the_watch_forgets_the_request() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.objects.clear();
    scenario.run();
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (1, 1));
    scenario.change(Change::RequestGone(key("web")));
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (0, 0));
    assert!(scenario.pass(30).is_empty());
}
