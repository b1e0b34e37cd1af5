//! Properties of issuer specs.

use issuer_api::VaultSpec;
use issuer_core::target::{AwsIdentity, IssuerPolicy, Method, Target, Trust};

use crate::issuer::{key, permissive};
use crate::paths::assert_within;
use crate::secret::requests;
use crate::text::{assert_hidden, assert_shown};

/// An issuer's spec, JSON: an accepted spec refers to objects that can exist, sends credentials to its server only and
/// never in clear text, and survives serialization.
pub fn spec(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<VaultSpec>(data) else {
        return;
    };
    let written = serde_json::to_vec(&spec).expect("JSON");
    assert_eq!(serde_json::from_slice::<VaultSpec>(&written).expect("a spec"), spec);
    let target = Target::parse(&spec, &key(), "team", &permissive());
    let secure = Target::parse(&spec, &key(), "team", &IssuerPolicy::default());
    match &target {
        Ok(target) if target.origin.is_tls() => assert_eq!(secure.as_ref(), Ok(target)),
        _ => assert!(secure.is_err()),
    }
    match target {
        Ok(target) => assert_target(&spec, &target),
        Err(error) => assert_shown(&error.to_string()),
    }
}

fn assert_target(spec: &VaultSpec, target: &Target) {
    let mut keys = Vec::new();
    if let Trust::Secret(key) = &target.trust {
        keys.push(key);
    }
    if let Some((certificate, key)) = &target.identity {
        keys.extend([certificate, key]);
    }
    keys.extend(target.method.keys());
    if let Method::ServiceAccount { name, audiences, .. } = &target.method {
        assert!(is_name(name), "{name:?}");
        assert!(!audiences.is_empty());
        let is_jwt = spec.auth.jwt.is_some();
        assert!(is_jwt || audiences.contains(&"vault://team/vault".to_owned()));
    }
    if let Method::Aws {
        identity: AwsIdentity::WebIdentity { name, audiences, .. },
        ..
    } = &target.method
    {
        assert!(is_name(name), "{name:?}");
        assert!(audiences.contains(&"sts.amazonaws.com".to_owned()));
    }
    for name in target.secrets() {
        assert!(is_name(&name), "{name:?}");
    }
    for key in keys {
        let mut bytes = key.key.bytes();
        assert!(
            bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
            "{key:?}"
        );
        assert!((1..=253).contains(&key.key.len()), "{key:?}");
    }
    match requests(target) {
        Ok(sent) => {
            assert!(sent.len() >= 3, "{sent:?}");
            for request in sent {
                assert_within(target, &request);
                assert_hidden(&format!("{request:?}"));
            }
        }
        Err(error) => assert_shown(&error),
    }
}

/// Returns `true` if a Secret or a service account may have this name: a DNS subdomain in lower case (RFC 1123).
fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let ends = label.bytes().next().is_some_and(letter) && label.bytes().last().is_some_and(letter);
        ends && label.bytes().all(|byte| letter(byte) || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
