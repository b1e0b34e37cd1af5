use issuer_api::{Auth, SecretKeySelector};

use super::*;
use crate::reference::IssuerKind;

#[test]
fn a_namespace_is_printable_ascii() {
    let key = IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "web".to_owned(),
        name: "vault".to_owned(),
    };
    let token = SecretKeySelector {
        name: "token".to_owned(),
        key: None,
    };
    let parse = |namespace: &str| {
        let spec = VaultSpec {
            server: "https://vault.example".to_owned(),
            path: "pki/sign/web".to_owned(),
            namespace: Some(namespace.to_owned()),
            auth: Auth {
                token_secret_ref: Some(token.clone()),
                ..Auth::default()
            },
            ..VaultSpec::default()
        };
        Target::parse(&spec, &key, false).map(|target| target.namespace)
    };
    assert_eq!(parse("team/a"), Ok(Some(HeaderValue::from_static("team/a"))));
    assert_eq!(parse(" "), Ok(None));
    for name in ["t\u{e9}am", "a\nb", "a\u{0}"] {
        assert_eq!(parse(name), Err(SpecError::Namespace));
    }
}

#[test]
fn mounts_are_taken_in_every_form() {
    for form in [
        "approle",
        "/approle/",
        "auth/approle",
        "/auth/approle",
        "v1/auth/approle",
        "/v1/auth/approle/",
    ] {
        assert_eq!(Mount::parse(form).unwrap().to_string(), "approle", "{form}");
    }
    assert_eq!(Mount::parse("auth/team/a").unwrap().to_string(), "team/a");
    assert_eq!(Mount::parse("auth").unwrap().to_string(), "auth");
    for form in [
        "", "/", "a//b", "../sys", "auth/..", "a?b", "a%2fb", "a b", "ä", "a`b", "a\\b",
    ] {
        assert_eq!(Mount::parse(form), None, "{form}");
    }
    assert!(Mount::parse(&"a".repeat(1024)).is_some() && Mount::parse(&"a".repeat(1025)).is_none());
}

#[test]
fn secrets_are_named_as_kubernetes_names_them() {
    let select = |name: &str, key: Option<&str>| {
        let selector = SecretKeySelector {
            name: name.to_owned(),
            key: key.map(str::to_owned),
        };
        secret_key(&selector, "token", "field").map(|key| key.key)
    };
    assert_eq!(select("a.b-1", None), Ok("token".to_owned()));
    assert_eq!(select(" a ", Some("Ca_1.crt")), Ok("Ca_1.crt".to_owned()));
    assert_eq!(select(" ", None), Err(SpecError::Empty("field")));
    for name in ["../a", "a/b", "a?b", "A", "-a", "a.", "a..b", "a\nb", &"a".repeat(254)] {
        assert_eq!(select(name, None), Err(SpecError::Name("field")), "{name}");
    }
    for key in ["a/b", "a b", "a\nb", &"a".repeat(254)] {
        assert_eq!(select("a", Some(key)), Err(SpecError::Key("field")), "{key}");
    }
}

#[test]
fn only_signing_endpoints_are_paths() {
    for (form, path, ca) in [
        ("pki/sign/web", "pki/sign/web", false),
        ("/v1/pki/sign/web/", "pki/sign/web", false),
        ("team/pki/issuer/old/sign/web", "team/pki/issuer/old/sign/web", false),
        ("pki/sign-verbatim", "pki/sign-verbatim", false),
        ("pki/sign-verbatim/web", "pki/sign-verbatim/web", false),
        ("pki/root/sign-intermediate", "pki/root/sign-intermediate", true),
        (
            "pki/issuer/default/sign-intermediate",
            "pki/issuer/default/sign-intermediate",
            true,
        ),
        ("pki/cel/sign/web", "pki/cel/sign/web", false),
        ("pki/external-policy/sign", "pki/external-policy/sign", false),
        ("pki/external-policy/sign/web", "pki/external-policy/sign/web", false),
        (
            "pki/external-policy/sign-intermediate",
            "pki/external-policy/sign-intermediate",
            true,
        ),
        (
            "pki/issuer/old/external-policy/sign-intermediate/web",
            "pki/issuer/old/external-policy/sign-intermediate/web",
            true,
        ),
    ] {
        let parsed = SignPath::parse(form).unwrap();
        assert_eq!((parsed.as_str(), parsed.takes(ca)), (path, Ok(())), "{form}");
        assert!(parsed.takes(!ca).is_err(), "{form}");
    }
    for form in [
        "",
        "pki",
        "sign/web",
        "pki/sign",
        "pki/issue/web",
        "pki/sign/../issue/web",
        "pki/sign/web?x=1",
        "pki//sign/web",
        "pki/sign/we b",
        "sign-intermediate",
    ] {
        assert_eq!(SignPath::parse(form), None, "{form}");
    }
}
