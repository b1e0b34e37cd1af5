//! Specs that are accepted and refused.

mod auth;

use issuer_api::{AllowedNamespaces, Auth, Base64, SecretKeySelector};

use super::*;
use crate::fixture::selector;
use crate::reference::IssuerKind;

fn spec() -> VaultSpec {
    VaultSpec {
        server: "https://vault.example".to_owned(),
        path: "pki/sign/web".to_owned(),
        auth: Auth {
            token_secret_ref: Some(selector("token")),
            ..Auth::default()
        },
        ..VaultSpec::default()
    }
}

fn parse(spec: &VaultSpec, policy: &IssuerPolicy) -> Result<Target, SpecError> {
    let key = IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "web".into(),
        name: "vault".into(),
    };
    Target::parse(spec, &key, "web", policy)
}

#[test]
fn sign_timeout_is_bounded() {
    let parse = |timeout: &str| {
        let spec = VaultSpec {
            sign_timeout: Some(timeout.to_owned()),
            ..spec()
        };
        parse(&spec, &IssuerPolicy::default()).map(|target| target.sign_timeout)
    };
    for (timeout, seconds) in [("1s", 1), ("1m30s", 90), ("10m", 600)] {
        assert_eq!(parse(timeout), Ok(Some(Duration::from_secs(seconds))), "{timeout}");
    }
    for timeout in ["", "0", "999ms", "10m1ms", "1h", "-5s", "60", "a minute"] {
        assert_eq!(parse(timeout), Err(SpecError::SignTimeout), "{timeout}");
    }
}

#[test]
fn namespace_is_printable_ascii() {
    let parse = |namespace: &str| {
        let spec = VaultSpec {
            namespace: Some(namespace.to_owned()),
            ..spec()
        };
        parse(&spec, &IssuerPolicy::default()).map(|target| target.namespace)
    };
    assert_eq!(parse("team/a"), Ok(Some(HeaderValue::from_static("team/a"))));
    assert_eq!(parse(" "), Ok(None));
    assert_eq!(parse("root"), Ok(None));
    for name in ["t\u{e9}am", "a\nb", "a\u{0}"] {
        assert_eq!(parse(name), Err(SpecError::Namespace("spec.namespace")));
    }
}

#[test]
fn large_bundles_are_refused() {
    let parse = |bytes: usize| {
        let spec = VaultSpec {
            ca_bundle: Some(Base64::encode(vec![b'-'; bytes])),
            ..spec()
        };
        parse(&spec, &IssuerPolicy::default()).map(drop)
    };
    assert_eq!(parse(384 << 10), Ok(()));
    assert_eq!(parse((384 << 10) + 1), Err(SpecError::CaBundleSize));
}

#[test]
fn login_may_have_another_namespace() {
    let parse = |namespace: Option<&str>| {
        let mut spec = VaultSpec {
            namespace: Some("team/a".to_owned()),
            ..spec()
        };
        spec.auth.namespace = namespace.map(str::to_owned);
        parse(&spec, &IssuerPolicy::default()).map(|target| target.login_namespace)
    };
    for same in [None, Some(""), Some("team/a")] {
        assert_eq!(parse(same), Ok(Some(HeaderValue::from_static("team/a"))));
    }
    assert_eq!(parse(Some("team")), Ok(Some(HeaderValue::from_static("team"))));
    assert_eq!(parse(Some("root")), Ok(None));
    assert_eq!(parse(Some("a\nb")), Err(SpecError::Namespace("spec.auth.namespace")));
}

#[test]
fn only_cluster_issuers_limit_namespaces() {
    let spec = VaultSpec {
        allowed_namespaces: Some(AllowedNamespaces {
            names: vec!["web".to_owned()],
            selector: None,
        }),
        ..spec()
    };
    let policy = IssuerPolicy::default();
    assert_eq!(parse(&spec, &policy), Err(SpecError::AllowedNamespaces));
    let key = IssuerKey {
        kind: IssuerKind::Cluster,
        namespace: "".into(),
        name: "vault".into(),
    };
    assert!(Target::parse(&spec, &key, "web", &policy).is_ok());
}

#[test]
fn servers_must_be_allowed() {
    let local = VaultSpec {
        server: "https://127.0.0.1:8200".to_owned(),
        ..spec()
    };
    let all = IssuerPolicy {
        allowed_servers: AllowedServers::All,
        ..IssuerPolicy::default()
    };
    assert_eq!(
        parse(&local, &IssuerPolicy::default()),
        Err(SpecError::ServerNotAllowed)
    );
    assert!(parse(&local, &all).is_ok());
    let listed = IssuerPolicy {
        allowed_servers: AllowedServers::Listed(vec!["vault.example".parse().unwrap()]),
        ..IssuerPolicy::default()
    };
    assert!(parse(&spec(), &listed).is_ok());
    assert_eq!(parse(&local, &listed), Err(SpecError::ServerNotAllowed));
}

#[test]
fn plain_http_must_be_allowed() {
    let plain = VaultSpec {
        server: "http://vault.example".to_owned(),
        ..spec()
    };
    let allowed = IssuerPolicy {
        allow_http: true,
        ..IssuerPolicy::default()
    };
    assert_eq!(parse(&plain, &IssuerPolicy::default()), Err(SpecError::PlainHttp));
    assert!(parse(&plain, &allowed).is_ok());
}

#[test]
fn plain_http_may_be_allowed_for_some_servers() {
    let listed = IssuerPolicy {
        http_servers: ["vault.lab", "*.test", "10.0.0.0/8"]
            .map(|pattern| pattern.parse().unwrap())
            .into(),
        ..IssuerPolicy::default()
    };
    for (server, permitted) in [
        ("http://vault.lab:8200", true),
        ("http://a.test", true),
        ("http://10.1.2.3:8200", true),
        ("http://vault.lab.example", false),
        ("http://11.1.2.3", false),
        // The addresses of a name are not known here.
        ("http://vault.example", false),
        ("https://vault.example", true),
    ] {
        let spec = VaultSpec {
            server: server.to_owned(),
            ..spec()
        };
        let verdict = if permitted { Ok(()) } else { Err(SpecError::PlainHttp) };
        assert_eq!(parse(&spec, &listed).map(drop), verdict, "{server}");
    }
}

#[test]
fn mounts_have_many_forms() {
    for form in [
        "approle",
        "/approle/",
        "auth/approle",
        "/auth/approle",
        "v1/auth/approle",
        "/v1/auth/approle/",
        "//v1//auth/./approle//",
    ] {
        assert_eq!(Mount::parse(form).unwrap().to_string(), "approle", "{form}");
    }
    assert_eq!(Mount::parse("auth/team/a").unwrap().to_string(), "team/a");
    assert_eq!(Mount::parse("auth").unwrap().to_string(), "auth");
    for form in [
        "", "/", "//", ".", "../sys", "auth/..", "a?b", "a%2fb", "a b", "ä", "a`b", "a\\b",
    ] {
        assert_eq!(Mount::parse(form), None, "{form}");
    }
    assert!(Mount::parse(&"a".repeat(1024)).is_some() && Mount::parse(&"a".repeat(1025)).is_none());
}

#[test]
fn names_and_keys_are_those_of_kubernetes() {
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
        ("//v1//pki//sign/./web//", "pki/sign/web", false),
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
            "pki/issuer/old/external-policy/sign-intermediate",
            "pki/issuer/old/external-policy/sign-intermediate",
            true,
        ),
        (
            "pki/external-policy/sign-intermediate/web",
            "pki/external-policy/sign-intermediate/web",
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
        "pki/sign//",
        "external-policy/sign",
        "pki/root/sign-intermediate/web",
        "pki/sign/we b",
        "sign-intermediate",
    ] {
        assert_eq!(SignPath::parse(form), None, "{form}");
    }
    for (form, error) in [
        ("pki/issue/web", SpecError::Path),
        ("pki/sign/../issue/web", SpecError::PathSegments),
        ("my pki/sign/web", SpecError::PathSegments),
        ("pki/sign/we%20b", SpecError::PathSegments),
        ("pki\u{fc}/sign/web", SpecError::PathSegments),
    ] {
        assert_eq!(sign_path(form), Err(error), "{form}");
    }
}
