//! The report that metrics are made from.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::scenario::{Answer, RequestBuilder, Scenario, at, config, issuer, issuer_key, request};
use crate::reconcile::{Backlog, Change, Reporter, Waiting};

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn created(name: &str, seconds: i64) -> RequestBuilder {
    request(name).with(|request| request.metadata.creation_timestamp = Some(Time(second(seconds))))
}

#[test]
fn waiting_requests_are_reported_by_issuer() {
    let mut scenario = Scenario::empty(config());
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.create(created("new", 300).approved());
    scenario.create(created("old", 200).approved());
    scenario.create(created("unapproved", 100));
    scenario.create(created("lost", 50).approved().of("VaultIssuer", "none"));
    let backlog = scenario.controller.report(scenario.now).backlog;
    assert_eq!((backlog.issuers, backlog.tokens), (1, 0));
    scenario.run();
    let report = scenario.controller.report(scenario.now);
    assert_eq!(report.backlog, Backlog::default());
    let waiting = |requests, oldest| Waiting {
        requests,
        oldest: Some(second(oldest)),
    };
    assert_eq!(report.unassigned, waiting(1, 50));
    let [issuer] = &report.issuers[..] else {
        panic!("{report:?}");
    };
    assert_eq!((issuer.is_ready, issuer.waiting), (false, waiting(2, 200)));
    assert_eq!((issuer.token_expires, issuer.ca_expires), (None, None));
}

#[test]
fn report_is_made_in_portions() {
    let mut scenario = Scenario::empty(config());
    for number in 0..600 {
        let mut key = issuer_key();
        key.name = format!("vault-{number}").into();
        scenario.change(Change::Issuer(key.clone(), issuer(1)));
        let name = key.name;
        scenario.create(request(&format!("web-{number}")).approved().of("VaultIssuer", &name));
        scenario.create(request(&format!("lost-{number}")).approved().of("VaultIssuer", "none"));
    }
    let mut reporter = Reporter::default();
    let mut portions = 1;
    let report = loop {
        if let Some(report) = scenario.controller.report_portion(scenario.now, &mut reporter) {
            break report;
        }
        portions += 1;
    };
    assert!(portions >= 5, "{portions}");
    assert_eq!(report, scenario.controller.report(scenario.now));
    assert_eq!((report.issuers.len(), report.unassigned.requests), (600, 600));
    assert!(report.issuers.iter().all(|issuer| issuer.waiting.requests == 1));
}

#[test]
fn expiry_of_token_and_ca_is_reported() {
    let auth = serde_json::json!({ "client_token": "hvs.made", "lease_duration": 600 });
    let mut scenario = Scenario::with_login(auth);
    scenario.create(request("web").approved());
    scenario.run();
    let report = scenario.controller.report(scenario.now);
    let issuer = &report.issuers[0];
    assert_eq!((issuer.is_ready, issuer.waiting), (true, Waiting::default()));
    assert_eq!(issuer.token_expires, Some(at(600).timestamp()));
    // The CA's end is that of a certificate for which rcgen is given none.
    assert_eq!(issuer.ca_expires, "4096-01-01T00:00:00Z".parse().ok());
}
