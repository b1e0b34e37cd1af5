//! A tenant whose issuers hold more than they may.

use issuer_api::Base64;

use super::scenario::{Scenario, config, issuer, issuer_key, request};
use crate::reconcile::Change;
use crate::reference::IssuerKey;

#[test]
fn issuer_without_room_says_so() {
    let bundle = Base64::encode(vec![0; 384 << 10]);
    let mut scenario = Scenario::empty(config());
    for number in 0..32 {
        let key = IssuerKey {
            name: format!("vault-{number}").into(),
            ..issuer_key()
        };
        let mut large = issuer(1);
        large.spec.ca_bundle = Some(bundle.clone());
        scenario.change(Change::Issuer(key, large));
    }
    let other = IssuerKey {
        namespace: "other".into(),
        ..issuer_key()
    };
    scenario.change(Change::Issuer(other.clone(), issuer(1)));
    scenario.modify_issuer(|spec| spec.ca_bundle = Some(bundle));
    scenario.create(request("web").approved());
    let log = scenario.run();
    assert!(log.contains(&"write issuer \"QuotaExceeded\"".to_owned()), "{log:?}");
    let ready: Vec<_> = scenario.controller.readiness().filter(|(_, ready)| *ready).collect();
    assert_eq!(ready, [(&other, true)]);
    assert_eq!(scenario.reason("web"), "Pending");

    // The request waits, and is signed once its issuer has room.
    scenario.modify_issuer(|spec| spec.ca_bundle = None);
    let log = scenario.run();
    assert!(log.contains(&"sign web".to_owned()), "{log:?}");
}
