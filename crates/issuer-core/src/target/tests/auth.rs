//! The auth methods of a spec.

use issuer_api::{AppRole, JwtAuth, JwtServiceAccountRef, KubernetesAuth, ServiceAccountRef};

use super::*;

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
