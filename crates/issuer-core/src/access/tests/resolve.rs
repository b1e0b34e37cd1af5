//! Secrets that are missing or unusable, and connections that are shared.

use std::sync::Arc;

use issuer_api::ConfigMapKeySelector;

use super::credentials::aws;
use super::*;
use crate::Roots;

#[test]
fn unusable_secrets_name_the_cause() {
    let read = |error| issuer(app_role()).no_secret("approle", error).run();
    let holds = |data: &[(&str, &str)]| issuer(app_role()).secret("approle", "1", data).run();
    for (checked, reason, says) in [
        (
            read(ReadError::NotFound),
            "SecretNotFound",
            "Secret team/approle does not exist",
        ),
        (
            read(ReadError::Forbidden),
            "SecretForbidden",
            "may not read Secret team/approle",
        ),
        (read(ReadError::Unavailable), "SecretUnavailable", "it is tried again"),
        (holds(&[]), "SecretInvalid", "has no key secretId"),
        (holds(&[("secretId", "a\nb")]), "SecretInvalid", "holds no secret ID"),
    ] {
        assert_eq!(checked.asked, ["Secret team/approle"]);
        let (found, message) = checked.not_ready();
        assert!(found == reason && message.contains(says), "{found}: {message}");
    }
}

#[test]
fn secrets_stay_with_their_servers() {
    let check = |servers: &str| {
        let mut check = issuer(app_role());
        if let Some(Ok(secret)) = check.secrets.get_mut("approle") {
            secret.servers = Some(servers.to_owned());
        }
        check.run()
    };
    for servers in ["https://a", "https://b, https://a:443/vault"] {
        check(servers).ready();
    }
    for servers in ["", "a", "https://b", "https://a:8200", "http://a"] {
        let checked = check(servers);
        assert_eq!(checked.asked, ["Secret team/approle"]);
        let message = "Secret team/approle may not be used with https://a: its annotation vault-issuer.io/servers does \
                       not list this server";
        assert_eq!(checked.not_ready(), ("SecretNotAllowed", message.to_owned()));
    }
    for (servers, reason) in [
        ("https://a", Some("SecretNotAllowed")),
        ("https://a, http://proxy:3128", None),
    ] {
        let mut check = issuer(app_role());
        check.spec.proxy = Some("http://proxy:3128".to_owned());
        if let Some(Ok(secret)) = check.secrets.get_mut("approle") {
            secret.servers = Some(servers.to_owned());
        }
        let checked = check.run();
        match reason {
            Some(reason) => assert_eq!(checked.not_ready().0, reason),
            None => drop(checked.ready()),
        }
    }
}

#[test]
fn only_a_secret_id_may_be_empty() {
    let checked = issuer(app_role()).secret("approle", "1", &[("secretId", " \n")]).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login", "probe"]);
    let checked = issuer(given_token()).secret("token", "1", &[("token", " \n")]).run();
    let (reason, message) = checked.not_ready();
    assert_eq!(
        (reason, &*message),
        ("SecretInvalid", "key token of Secret team/token is empty")
    );
}

#[test]
fn role_id_from_a_secret_is_text() {
    // Vault takes any text for an ID that is chosen.
    issuer(app_role_in_secret())
        .secret("role", "1", &[("roleId", "r\u{f6}le")])
        .run()
        .ready();
    for (data, says) in [
        (&[][..], "Secret team/role has no key roleId"),
        (&[("roleId", " ")], "key roleId of Secret team/role is empty"),
        (&[("roleId", "a\nb")], "key roleId of Secret team/role holds no role ID"),
    ] {
        let checked = issuer(app_role_in_secret()).secret("role", "1", data).run();
        assert_eq!(checked.not_ready(), ("SecretInvalid", says.to_owned()));
    }
}

#[test]
fn ca_bundle_must_hold_a_certificate() {
    let indented = CERTIFICATE.replace("-----BEGIN", "  -----BEGIN");
    for pem in ["no PEM", &indented] {
        let mut check = issuer(app_role());
        check.spec.ca_bundle = Some(issuer_api::Base64::encode(pem.as_bytes()));
        assert_eq!(check.run().not_ready().0, "InvalidSpec");
        let mut check = issuer(app_role()).secret("ca", "1", &[("ca.crt", pem)]);
        check.spec.ca_bundle_secret_ref = Some(selector("ca"));
        assert_eq!(check.run().not_ready().0, "SecretInvalid");
    }
}

#[test]
fn all_requests_go_through_the_proxy() {
    let mut check = issuer(app_role());
    check.spec.proxy = Some("http://proxy.example:3128".to_owned());
    let vault = check.run().ready().vault;
    for connect in [&vault.connect, &vault.login] {
        assert_eq!(connect.peer(), ("proxy.example", 3128));
    }
}

#[test]
fn ca_bundle_may_be_in_a_config_map() {
    let trusts = |key: Option<&str>| {
        // A Secret of the same name is another object.
        let mut check = issuer(app_role()).secret("ca", "1", &[("ca.crt", "no PEM")]);
        check.spec.ca_bundle_config_map_ref = Some(ConfigMapKeySelector {
            name: "ca".to_owned(),
            key: key.map(str::to_owned),
        });
        check
    };
    let checked = trusts(None).config_map("ca", "1", &[("ca.crt", CERTIFICATE)]).run();
    let asked = ["ConfigMap team/ca", "Secret team/approle", "health", "login", "probe"];
    assert_eq!(checked.asked, asked);
    let mut access = checked.ready();
    assert_eq!(access.vault.connect.roots, Roots::bundle(CERTIFICATE));

    // A new version of the bundle is taken when the ConfigMap is read again.
    access.reread();
    let other = [CERTIFICATE, CERTIFICATE].concat();
    let checked = trusts(None)
        .config_map("ca", "2", &[("ca.crt", &other)])
        .holds(&access)
        .run();
    assert_eq!(checked.ready().vault.connect.roots, Roots::bundle(other));

    let missing = trusts(None).run();
    let message = "ConfigMap team/ca does not exist".to_owned();
    assert_eq!(missing.not_ready(), ("ConfigMapNotFound", message));
    let holds = |key, data| trusts(key).config_map("ca", "1", data).run();
    for (checked, says) in [
        (
            holds(Some("root"), &[("ca.crt", CERTIFICATE)]),
            "ConfigMap team/ca has no key root",
        ),
        (
            holds(None, &[("ca.crt", "\n")]),
            "key ca.crt of ConfigMap team/ca is empty",
        ),
        (
            holds(None, &[("ca.crt", "x")]),
            "key ca.crt of ConfigMap team/ca holds no PEM certificate",
        ),
    ] {
        assert_eq!(checked.not_ready(), ("ConfigMapInvalid", says.to_owned()));
    }
}

#[test]
fn client_certificate_is_read_as_go_reads_it() {
    let broken = CERTIFICATE.replace("MAA=", "*");
    let headers = |pem: &str| pem.replacen("-----\n", "-----\na: b\n\n", 1);
    for (certificate, key) in [
        (format!("{broken}{CERTIFICATE}"), KEY.to_owned()),
        (format!("{CERTIFICATE}{broken}"), KEY.to_owned()),
        (headers(CERTIFICATE), headers(KEY)),
        (format!("{KEY}{CERTIFICATE}"), format!("{CERTIFICATE}{KEY}")),
        (CERTIFICATE.to_owned(), KEY.replace("PRIVATE", "ANY PRIVATE")),
        (CERTIFICATE.replace('\n', "\t\r\n"), KEY.replace('\n', "\t\r\n")),
    ] {
        let data = [("tls.crt", &*certificate), ("tls.key", &*key)];
        let mut check = issuer(app_role()).secret("pair", "1", &data);
        check.spec.client_cert_secret_ref = Some(selector("pair"));
        check.spec.client_key_secret_ref = Some(selector("pair"));
        check.run().ready();
    }
}

#[test]
fn client_certificate_must_be_a_pair() {
    for data in [
        [("tls.crt", "x"), ("tls.key", "x")],
        [("tls.crt", CERTIFICATE), ("tls.key", "x")],
        [
            ("tls.crt", CERTIFICATE),
            ("tls.key", &*KEY.replace("MAUCAQAwAA==", "MAA=")),
        ],
    ] {
        let mut check = issuer(app_role()).secret("pair", "1", &data);
        check.spec.client_cert_secret_ref = Some(selector("pair"));
        check.spec.client_key_secret_ref = Some(selector("pair"));
        let (reason, message) = check.run().not_ready();
        assert!(reason == "SecretInvalid" && message.contains("PEM"), "{message}");
    }
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAUCAQAwAA==\n-----END PRIVATE KEY-----\n";

#[test]
fn equal_connections_are_shared() {
    let held = held(app_role());
    assert!(Arc::ptr_eq(&held.vault.connect, &held.vault.login));
    let mut used = held.clone();
    used.demand();
    let next = issuer(app_role()).holds(&used).at(60).run().ready();
    assert_ne!(next.lease, held.lease);
    assert!(Arc::ptr_eq(&held.vault.connect, &next.vault.connect));
}

#[test]
fn login_certificate_has_its_own_connection() {
    let pair = [("tls.crt", CERTIFICATE), ("tls.key", KEY)];
    let checked = issuer(certificate(Some("pair"))).secret("pair", "1", &pair).run();
    let identities = checked
        .requests
        .iter()
        .map(|request| request.connect.identity.is_some());
    assert_eq!(identities.collect::<Vec<_>>(), [false, true, false]);
    checked.ready();
}

#[test]
fn connection_trusts_the_given_ca() {
    let mut inline = issuer(app_role());
    inline.spec.ca_bundle = Some(issuer_api::Base64::encode(CERTIFICATE));
    let mut referenced = issuer(app_role()).secret("ca", "1", &[("ca.crt", CERTIFICATE)]);
    referenced.spec.ca_bundle_secret_ref = Some(selector("ca"));
    for check in [inline, referenced] {
        let checked = check.run();
        let roots = &checked.requests.first().unwrap().connect.roots;
        assert_eq!(*roots, Roots::bundle(CERTIFICATE));
        checked.ready();
    }
}

/// An issuer whose CA bundle is in a Secret.
fn with_ca(version: &str, pem: &str) -> Scenario {
    let mut check = issuer(app_role()).secret("ca", version, &[("ca.crt", pem)]);
    check.spec.ca_bundle_secret_ref = Some(selector("ca"));
    check
}

#[test]
fn new_token_is_of_the_secrets_read() {
    let changed = || with_ca("2", &CERTIFICATE.repeat(2));
    let mut held = with_ca("1", CERTIFICATE).run().ready();
    // The Secret is read to log in again, which Vault's denial demands.
    held.denied();
    let checked = changed().holds(&held).replies(Operation::Probe, denied()).run();
    assert_eq!(checked.count("Secret team/ca"), 1);
    assert_eq!(checked.ready(), changed().run().ready());
}

#[test]
fn kept_token_stays_with_its_connection() {
    let mut held = with_ca("1", CERTIFICATE).run().ready();
    held.reread();
    let changed = with_ca("2", &CERTIFICATE.repeat(2)).holds(&held);
    let checked = changed.replies(Operation::Login, Err(TransportError::Timeout)).run();
    let connections: Vec<_> = checked.requests.iter().map(|request| &request.connect).collect();
    assert_ne!(connections[1], &held.vault.connect, "the login uses the new CA");
    assert_eq!(connections[2], &held.vault.connect, "the probe uses the old one");
    assert_eq!(checked.ready().vault, held.vault);
}

#[test]
fn touched_secret_keeps_the_token() {
    let mut held = held(app_role());
    held.reread();
    let check = issuer(app_role()).secret("approle", "2", &[("secretId", "x")]);
    let checked = check.holds(&held).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health"]);
    let mut kept = checked.ready();
    assert_eq!(kept.lease, held.lease);
    // The version that was read is noted, so the watch tells nothing new.
    kept.compare(|_| Some("2"));
    let checked = issuer(app_role()).holds(&kept).run();
    assert_eq!(checked.asked, ["health"]);
    kept.compare(|_| Some("3"));
    let checked = issuer(app_role()).holds(&kept).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health"]);
}

#[test]
fn unneeded_keys_are_not_kept() {
    let keys = [("accessKeyID", "AKIA"), ("secretAccessKey", "x"), ("sessionToken", "y")];
    let pair = [("tls.crt", CERTIFICATE), ("tls.key", KEY)];
    for (auth, secret, needed) in [
        (app_role(), "approle", &[("secretId", "x")][..]),
        (app_role_in_secret(), "role", &[("roleId", "r")]),
        (given_token(), "token", &[("token", "hvs.given")]),
        (kubernetes(Some("jwt")), "jwt", &[("token", "jwt")]),
        (certificate(Some("pair")), "pair", &pair),
        (aws(Some("keys")), "keys", &keys),
    ] {
        let gathered = |others: &[(&str, &str)]| {
            let mut check = issuer(auth.clone()).secret(secret, "1", &[needed, others].concat());
            check = check.config_map("ca", "1", &[&[("ca.crt", CERTIFICATE)], others].concat());
            check.spec.ca_bundle_config_map_ref = Some(ConfigMapKeySelector {
                name: "ca".to_owned(),
                key: None,
            });
            check.run().ready().inputs
        };
        assert_eq!(gathered(&[("other", "x")]), gathered(&[]), "{secret}");
    }
}

#[test]
fn secrets_without_room_are_not_kept() {
    let pem = CERTIFICATE.repeat(1000);
    let check = || {
        let mut check = issuer(app_role()).config_map("ca", "1", &[("ca.crt", pem.as_str()), ("other", pem.as_str())]);
        check.spec.ca_bundle_config_map_ref = Some(ConfigMapKeySelector {
            name: "ca".to_owned(),
            key: None,
        });
        check
    };
    let access = check().run().ready();
    assert_eq!(access.size(), pem.len() + "x".len());

    // Nothing is sent to Vault: the next check would read, log in and be refused again.
    let checked = check().with_room(access.size() - 1).run();
    assert_eq!(checked.requests.len(), 0);
    let (reason, message) = checked.not_ready();
    assert_eq!(reason, "QuotaExceeded");
    assert!(message.contains("16 MiB"), "{message}");
    check().with_room(access.size()).run().ready();
}
