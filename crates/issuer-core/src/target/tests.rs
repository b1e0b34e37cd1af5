use issuer_api::{Auth, KubernetesAuth, SecretKeySelector, ServiceAccountRef};

use super::*;
use crate::reference::IssuerKind;

fn selector(name: &str) -> SecretKeySelector {
    SecretKeySelector {
        name: name.to_owned(),
        key: None,
    }
}

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

/// Returns a spec that logs in with a token of the service account `signer`.
fn with_account(audiences: &[&str]) -> VaultSpec {
    let account = ServiceAccountRef {
        name: "signer".to_owned(),
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
    };
    VaultSpec {
        auth: Auth {
            kubernetes: Some(KubernetesAuth {
                mount_path: None,
                role: "web".to_owned(),
                secret_ref: None,
                service_account_ref: Some(account),
            }),
            ..Auth::default()
        },
        ..spec()
    }
}

fn parse(spec: &VaultSpec, policy: &IssuerPolicy) -> Result<Target, SpecError> {
    let key = IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "web".to_owned(),
        name: "vault".to_owned(),
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
    for name in ["t\u{e9}am", "a\nb", "a\u{0}"] {
        assert_eq!(parse(name), Err(SpecError::Namespace));
    }
}

#[test]
fn audiences_of_others_must_be_allowed() {
    let strict = IssuerPolicy::default();
    let open = IssuerPolicy {
        allowed_audiences: ["vault".to_owned()].into(),
        ..IssuerPolicy::default()
    };
    type Verdict = Result<(), SpecError>;
    let cases: [(&[&str], Verdict, Verdict); 6] = [
        (&[], Ok(()), Ok(())),
        (&["vault://other"], Ok(()), Ok(())),
        (&["vault"], Err(SpecError::Audience(0)), Ok(())),
        (
            &["vault://a", "https://kubernetes.default.svc"],
            Err(SpecError::Audience(1)),
            Err(SpecError::Audience(1)),
        ),
        (&[""], Err(SpecError::Audience(0)), Err(SpecError::Audience(0))),
        (&["Vault://a"], Err(SpecError::Audience(0)), Err(SpecError::Audience(0))),
    ];
    for (audiences, in_strict, in_open) in cases {
        let spec = with_account(audiences);
        assert_eq!(parse(&spec, &strict).map(drop), in_strict, "{audiences:?}");
        assert_eq!(parse(&spec, &open).map(drop), in_open, "{audiences:?}");
    }
}

#[test]
fn own_account_logs_in_nowhere() {
    let policy = |namespace: &str, name: &str| IssuerPolicy {
        own_account: Some(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        ..IssuerPolicy::default()
    };
    let spec = with_account(&[]);
    assert_eq!(parse(&spec, &policy("web", "signer")), Err(SpecError::OwnAccount));
    for (namespace, name) in [("web", "other"), ("other", "signer")] {
        assert!(parse(&spec, &policy(namespace, name)).is_ok());
    }
}

#[test]
fn account_may_stand_beside_an_empty_secret() {
    let mut spec = with_account(&[]);
    if let Some(kubernetes) = &mut spec.auth.kubernetes {
        kubernetes.secret_ref = Some(selector(""));
    }
    assert!(matches!(
        parse(&spec, &IssuerPolicy::default()).unwrap().method,
        Method::ServiceAccount { .. }
    ));
    if let Some(kubernetes) = &mut spec.auth.kubernetes {
        kubernetes.secret_ref = Some(selector("token"));
    }
    assert_eq!(parse(&spec, &IssuerPolicy::default()), Err(SpecError::JwtSource));
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
fn mounts_have_many_forms() {
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
        "pki//sign/web",
        "external-policy/sign",
        "pki/root/sign-intermediate/web",
        "pki/sign/we b",
        "sign-intermediate",
    ] {
        assert_eq!(SignPath::parse(form), None, "{form}");
    }
}
