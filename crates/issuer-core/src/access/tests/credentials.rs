//! Credentials that are requested before a login: the keys of AWS identities, and unwrapped secret IDs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::{AwsAuth, AwsServiceAccountRef};

use super::*;
use crate::access::login::WrappedLogin;
use crate::target::{AmbientAws, AwsEnvironment, Mount, WrappingPath};

/// An AWS identity: the keys in this Secret, or those of a role that a service account assumes.
pub(super) fn aws(secret: Option<&str>) -> Auth {
    let account = AwsServiceAccountRef {
        name: "signer".to_owned(),
        audiences: Vec::new(),
    };
    Auth {
        aws: Some(AwsAuth {
            role: "web".to_owned(),
            secret_name: secret.map(str::to_owned),
            service_account_ref: secret.is_none().then_some(account),
            iam_role_arn: secret
                .is_none()
                .then(|| "arn:aws:iam::123456789012:role/web".to_owned()),
            ..AwsAuth::default()
        }),
        ..Auth::default()
    }
}

/// Returns the body of a login with an AWS identity, and the headers of the signed request in it.
fn signed_request(request: &Request) -> (serde_json::Value, serde_json::Value) {
    let body: serde_json::Value = serde_json::from_slice(request.http.body().as_bytes()).unwrap();
    let headers = STANDARD.decode(body["iam_request_headers"].as_str().unwrap()).unwrap();
    (body, serde_json::from_slice(&headers).unwrap())
}

#[test]
fn aws_login_sends_a_signed_request() {
    let keys = [
        ("accessKeyID", "AKIA\n"),
        ("secretAccessKey", "x"),
        ("sessionToken", "y"),
    ];
    for keys in [&keys[..2], &keys] {
        let checked = issuer(aws(Some("keys"))).secret("keys", "1", keys).run();
        assert_eq!(checked.asked, ["Secret team/keys", "health", "login", "probe"]);
        let (body, headers) = signed_request(&checked.requests[1]);
        assert_eq!(checked.requests[1].http.uri().path(), "/v1/auth/aws/login");
        assert_eq!(body["role"], "web");
        let authorization = headers["authorization"][0].as_str().unwrap();
        let credential = "Credential=AKIA/20260101/us-east-1/sts/aws4_request,";
        assert!(authorization.contains(credential), "{authorization}");
        assert_eq!(headers.get("x-amz-security-token").is_some(), keys.len() == 3);
        checked.ready();
    }
    let missing = issuer(aws(Some("keys"))).secret("keys", "1", &keys[..1]).run();
    assert_eq!(missing.not_ready().0, "SecretInvalid");
}

/// Returns the reply of STS with the keys of an assumed role.
fn credentials(token: &str) -> Reply {
    let xml = format!(
        "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>x</SecretAccessKey>\
         <SessionToken>{token}</SessionToken></Credentials>"
    );
    reply(200, &xml)
}

#[test]
fn service_account_assumes_an_aws_role() {
    let check = || issuer(aws(None)).replies(Operation::Login, credentials("session"));
    let checked = check().run();
    assert_eq!(
        checked.asked,
        ["health", "token team/signer", "login", "login", "probe"]
    );
    assert_eq!(checked.tokens[0].audiences, ["sts.amazonaws.com"]);
    let [_, to_aws, to_vault, ..] = &checked.requests[..] else {
        panic!("{:?}", checked.asked);
    };
    // The token of the service account goes to AWS only.
    assert_eq!(to_aws.http.uri(), "https://sts.us-east-1.amazonaws.com/");
    assert_eq!(to_aws.connect.origin.host(), "sts.us-east-1.amazonaws.com");
    assert!(to_aws.http.body().as_bytes().ends_with(b"&WebIdentityToken=jwt"));
    let (_, headers) = signed_request(to_vault);
    assert_eq!(headers["x-amz-security-token"][0], "session");
    let held = checked.ready();
    assert_eq!(held.lease.token().expose_str(), Some("hvs.of-a"));

    for (status, verdict) in [(503, "AwsUnavailable"), (403, "AwsDenied")] {
        let failed = issuer(aws(None)).replies(Operation::Login, reply(status, "<Code>AccessDenied</Code>"));
        let checked = failed.run();
        assert_eq!(checked.asked, ["health", "token team/signer", "login"]);
        assert_eq!(checked.not_ready().0, verdict);
    }
}

#[test]
fn keys_outage_leaves_the_token() {
    let held = issuer(aws(None)).replies(Operation::Login, credentials("session"));
    let held = held.run().ready();
    // The token is due, and not renewed.
    let check = || {
        issuer(aws(None))
            .holds(&held)
            .at(41)
            .replies(Operation::Renew, refusal(403, "no"))
    };
    let checked = check().replies(Operation::Login, reply(503, "")).run();
    assert_eq!(
        checked.asked,
        ["health", "renew", "token team/signer", "login", "probe"]
    );
    assert!(checked.ready().has_token_of(&held));
    let checked = check().replies(Operation::Login, reply(403, "")).run();
    assert_eq!(checked.not_ready().0, "AwsDenied");
}

/// Returns a policy by which issuers log in as the controller's pod, whose environment has these variables.
fn ambient(variables: [(&'static str, &'static str); 2]) -> IssuerPolicy {
    let environment = AwsEnvironment::read(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    IssuerPolicy {
        ambient_aws: AmbientAws {
            issuers: true,
            cluster_issuers: false,
            environment,
        },
        ..IssuerPolicy::default()
    }
}

#[test]
fn pod_logs_in_with_its_identity() {
    let auth = || Auth {
        aws: Some(AwsAuth {
            role: "web".to_owned(),
            ..AwsAuth::default()
        }),
        ..Auth::default()
    };
    let pod_identity = ambient([
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/pod/token"),
    ]);
    let role = ambient([
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/pod/token"),
    ]);
    let json = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"x","Token":"session"}"#;
    for (policy, keys, url) in [
        (pod_identity, reply(200, json), "http://169.254.170.23/v1/credentials"),
        (role, credentials("session"), "https://sts.us-east-1.amazonaws.com/"),
    ] {
        let check = || Scenario {
            policy: policy.clone(),
            ..issuer(auth())
        };
        let checked = check().replies(Operation::Login, keys).run();
        assert_eq!(checked.asked, ["health", "file /pod/token", "login", "login", "probe"]);
        assert_eq!(checked.requests[1].http.uri(), url);
        let (_, headers) = signed_request(&checked.requests[2]);
        assert_eq!(headers["x-amz-security-token"][0], "session");
        checked.ready();

        let (reason, message) = check().no_token(ReadError::NotFound).run().not_ready();
        assert_eq!(reason, "TokenUnavailable");
        assert!(message.contains("/pod/token"), "{message}");
    }
}

const WRAPPED_AT: &str = "auth/approle/role/web/secret-id";

/// Begins a scenario: an AppRole whose Secret holds a wrapping token.
fn wrapped(token: &str) -> Scenario {
    let auth = Auth {
        app_role: Some(AppRole {
            role_id: Some("r".to_owned()),
            secret_id_wrapping_path: Some(format!("/v1/{WRAPPED_AT}")),
            secret_ref: Some(selector("wrapped")),
            ..AppRole::default()
        }),
        ..Auth::default()
    };
    issuer(auth).secret("wrapped", token, &[("secretId", token)])
}

impl Scenario {
    /// Adds the replies to the lookup and the unwrapping of a wrapping token.
    fn unwraps(self, path: &str, secret_id: &str) -> Self {
        let lookup = serde_json::json!({ "data": { "creation_path": path, "creation_ttl": 60 } });
        let unwrap = serde_json::json!({ "data": { "secret_id": secret_id, "secret_id_accessor": "a" } });
        self.replies(Operation::Login, reply(200, &lookup.to_string()))
            .replies(Operation::Login, reply(200, &unwrap.to_string()))
    }

    fn knows(mut self, checked: &Checked) -> Self {
        self.held.secret_id.clone_from(&checked.outcome.secret_id);
        self
    }
}

/// Returns the paths and bodies of the requests for a login.
fn logins(checked: &Checked) -> Vec<(&str, &str)> {
    let logins = checked
        .requests
        .iter()
        .filter(|request| request.operation == Operation::Login);
    let parts = logins.map(|request| {
        let body = std::str::from_utf8(request.http.body().as_bytes()).unwrap();
        (request.http.uri().path(), body)
    });
    parts.collect()
}

#[test]
fn wrapped_credentials_print_no_secret() {
    let checked = wrapped("w").unwraps(WRAPPED_AT, "s").run();
    assert_eq!(format!("{:?}", checked.outcome.secret_id), "Some(UnwrappedSecretId)");
    let login = WrappedLogin {
        mount: Mount::parse("approle").unwrap(),
        role_id: Secret::from("r"),
        token: Secret::from("w"),
        wrapped_at: WrappingPath::parse(WRAPPED_AT).unwrap(),
    };
    assert_eq!(format!("{login:?}"), "WrappedLogin(approle)");
}

#[test]
fn secret_id_is_unwrapped_once() {
    let first = wrapped("w").unwraps(WRAPPED_AT, "s").run();
    let login = ("/v1/auth/approle/login", r#"{"role_id":"r","secret_id":"s"}"#);
    let lookup = ("/v1/sys/wrapping/lookup", r#"{"token":"w"}"#);
    assert_eq!(logins(&first), [lookup, ("/v1/sys/wrapping/unwrap", "{}"), login]);
    assert_eq!(first.requests[2].http.headers()["x-vault-token"], "w");
    // A later login uses the same secret ID, also after a failure.
    let denied = wrapped("w")
        .knows(&first)
        .always(Operation::Login, refusal(500, "no"))
        .run();
    assert_eq!(logins(&denied), [login]);
    let again = wrapped("w").knows(&denied).run();
    assert_eq!(logins(&again), [login]);
    again.ready();
    // Another token is another secret ID.
    let other = wrapped("other").knows(&first).unwraps(WRAPPED_AT, "t").run();
    assert_eq!(logins(&other).len(), 3);
}

#[test]
fn unwrapped_secret_id_survives_failed_logins() {
    let denied = wrapped("w")
        .unwraps(WRAPPED_AT, "s")
        .replies(Operation::Login, refusal(400, "no"));
    let denied = denied.run();
    assert_eq!(denied.not_ready().0, "LoginDenied");
    let again = wrapped("w").knows(&denied).run();
    assert_eq!(logins(&again).len(), 1);
    again.ready();
}

#[test]
fn spent_wrapping_token_is_reported() {
    let spent = || refusal(400, "wrapping token is not valid or does not exist");
    let checked = wrapped("w").replies(Operation::Login, spent()).run();
    assert_eq!(checked.asked, ["Secret team/wrapped", "health", "login"]);
    let (reason, message) = checked.not_ready();
    assert_eq!(reason, "WrappingTokenSpent");
    assert!(message.contains("somebody else may have the secret ID"), "{message}");
    // Another has used it between the two requests.
    let mut raced = wrapped("w").unwraps(WRAPPED_AT, "s");
    let replies = raced.replies.get_mut(&Operation::Login).unwrap();
    *replies.back_mut().unwrap() = spent();
    assert_eq!(raced.run().not_ready().0, "WrappingTokenSpent");
}

#[test]
fn forged_wrapping_token_stays_wrapped() {
    for path in ["auth/approle/role/other/secret-id", "sys/wrapping/wrap", ""] {
        let checked = wrapped("w").unwraps(path, "s").run();
        assert_eq!(checked.not_ready().0, "WrappingTokenMismatch");
        assert_eq!(logins(&checked).len(), 1, "{path}");
    }
}

#[test]
fn unwrapping_waits_for_vault() {
    let sealed = refusal(503, "Vault is sealed");
    let (reason, _) = wrapped("w").replies(Operation::Login, sealed).run().not_ready();
    assert_eq!(reason, "VaultSealed");
    let (reason, message) = wrapped("w")
        .replies(Operation::Login, reply(200, "{}"))
        .run()
        .not_ready();
    assert_eq!(reason, "VaultMisbehaved");
    assert!(message.contains("data.creation_path"), "{message}");
}
