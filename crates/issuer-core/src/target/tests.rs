//! Specs that are accepted and refused.

use issuer_api::{
    AllowedNamespaces, AppRole, Auth, Base64, JwtAuth, JwtServiceAccountRef, KubernetesAuth, SecretKeySelector,
    ServiceAccountRef,
};

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

/// The same with `auth.jwt`.
fn with_jwt_account(audiences: &[&str], expiration_seconds: Option<i64>) -> VaultSpec {
    let account = JwtServiceAccountRef {
        name: "signer".to_owned(),
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        expiration_seconds,
    };
    VaultSpec {
        auth: Auth {
            jwt: Some(JwtAuth {
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
fn audiences_of_others_must_be_allowed() {
    let strict = IssuerPolicy::default();
    let open = IssuerPolicy {
        allowed_audiences: AllowedAudiences::Listed(["vault".to_owned()].into()),
        ..IssuerPolicy::default()
    };
    let cases: [(&[&str], Option<usize>, Option<usize>); 7] = [
        (&[], None, None),
        (&["vault://other"], None, None),
        (&["vault"], Some(0), None),
        (&["vault://a", "https://kubernetes.default.svc"], Some(1), Some(1)),
        (&[""], Some(0), Some(0)),
        (&["Vault://a"], Some(0), Some(0)),
        (&["https://vault.example"], None, None),
    ];
    for (audiences, in_strict, in_open) in cases {
        for (spec, field) in [
            (with_account(audiences), "spec.auth.kubernetes.serviceAccountRef"),
            (with_jwt_account(audiences, None), "spec.auth.jwt.serviceAccountRef"),
        ] {
            for (policy, forbidden) in [(&strict, in_strict), (&open, in_open)] {
                let verdict = forbidden.map_or(Ok(()), |place| Err(SpecError::Audience(field, place)));
                assert_eq!(parse(&spec, policy).map(drop), verdict, "{audiences:?}");
            }
        }
    }
    let all = IssuerPolicy {
        allowed_audiences: AllowedAudiences::All,
        ..IssuerPolicy::default()
    };
    assert!(parse(&with_account(&["https://kubernetes.default.svc"]), &all).is_ok());
}

#[test]
fn jwt_audiences_replace_the_defaults() {
    let requested = |spec: &VaultSpec| match parse(spec, &IssuerPolicy::default()).unwrap().method {
        Method::ServiceAccount {
            audiences,
            expiration_seconds,
            ..
        } => (audiences, expiration_seconds),
        other => panic!("{other:?}"),
    };
    let of = |audiences: &[&str]| {
        audiences
            .iter()
            .map(|audience| (*audience).to_owned())
            .collect::<Vec<_>>()
    };
    let defaults = ["vault://web/vault", "https://vault.example"];
    let (first, [second, third]) = ("vault://own", defaults);
    assert_eq!(requested(&with_account(&[first])), (of(&[first, second, third]), 600));
    assert_eq!(requested(&with_jwt_account(&[first], Some(3600))), (of(&[first]), 3600));
    assert_eq!(requested(&with_jwt_account(&[], None)), (of(&defaults), 600));
}

#[test]
fn jwt_lifetimes_have_limits() {
    for (seconds, permitted) in [
        (599, false),
        (600, true),
        (86_400, true),
        (86_401, false),
        (i64::MIN, false),
    ] {
        let parsed = parse(&with_jwt_account(&[], Some(seconds)), &IssuerPolicy::default());
        match parsed {
            Ok(_) => assert!(permitted, "{seconds}"),
            Err(error) => assert_eq!(
                (permitted, error),
                (false, SpecError::TokenLifetime("spec.auth.jwt.serviceAccountRef"))
            ),
        }
    }
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
        namespace: String::new(),
        name: "vault".to_owned(),
    };
    assert!(Target::parse(&spec, &key, "web", &policy).is_ok());
}

#[test]
fn role_id_has_one_source() {
    let parse = |role_id: Option<&str>, secret: Option<&str>| {
        let role = AppRole {
            role_id: role_id.map(str::to_owned),
            role_id_secret_ref: secret.map(selector),
            ..AppRole::default()
        };
        let auth = Auth {
            app_role: Some(role),
            ..Auth::default()
        };
        let target = parse(&VaultSpec { auth, ..spec() }, &IssuerPolicy::default())?;
        Ok(target.secrets().into_iter().collect::<Vec<_>>())
    };
    assert_eq!(parse(Some("id"), None), Ok(vec![]));
    assert_eq!(parse(None, Some("role")), Ok(vec!["role".to_owned()]));
    assert_eq!(
        parse(Some(" "), None),
        Err(SpecError::Empty("spec.auth.appRole.roleId"))
    );
    for (role_id, secret) in [(None, None), (Some("id"), Some("role"))] {
        assert_eq!(parse(role_id, secret), Err(SpecError::RoleIdSource));
    }
}

#[test]
fn wrapping_path_needs_a_token() {
    let parse = |path: &str, secret: Option<&str>| {
        let role = AppRole {
            role_id: Some("id".to_owned()),
            secret_id_wrapping_path: Some(path.to_owned()),
            secret_ref: secret.map(selector),
            ..AppRole::default()
        };
        let auth = Auth {
            app_role: Some(role),
            ..Auth::default()
        };
        parse(&VaultSpec { auth, ..spec() }, &IssuerPolicy::default())
    };
    for path in ["auth/approle/role/web/secret-id", "/v1/auth/a/b/role/web/secret-id/"] {
        let target = parse(path, Some("wrapped")).unwrap();
        assert!(target.method.is_wrapped(), "{path}");
    }
    for (path, secret) in [
        ("auth/approle/role/web/secret-id", None),
        ("approle/role/web/secret-id", Some("wrapped")),
        ("auth/approle", Some("wrapped")),
        ("auth/../sys/x", Some("wrapped")),
        ("", Some("wrapped")),
    ] {
        assert_eq!(parse(path, secret), Err(SpecError::WrappingPath), "{path}");
    }
}

#[test]
fn exactly_one_method_is_set() {
    let mut spec = with_account(&[]);
    spec.auth.jwt = with_jwt_account(&[], None).auth.jwt;
    assert_eq!(parse(&spec, &IssuerPolicy::default()), Err(SpecError::Method));
    spec.auth = Auth::default();
    assert_eq!(parse(&spec, &IssuerPolicy::default()), Err(SpecError::Method));
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
    for (spec, field) in [
        (with_account(&[]), "spec.auth.kubernetes.serviceAccountRef"),
        (with_jwt_account(&[], None), "spec.auth.jwt.serviceAccountRef"),
    ] {
        let verdict = Err(SpecError::OwnAccount(field));
        assert_eq!(parse(&spec, &policy("web", "signer")), verdict);
        for (namespace, name) in [("web", "other"), ("other", "signer")] {
            assert!(parse(&spec, &policy(namespace, name)).is_ok());
        }
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
    assert_eq!(
        parse(&spec, &IssuerPolicy::default()),
        Err(SpecError::JwtSource("spec.auth.kubernetes"))
    );
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
