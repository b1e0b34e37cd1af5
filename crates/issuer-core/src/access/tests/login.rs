//! Credentials of each method, and the tokens that they are exchanged for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// Returns the path and the body of the request that logs in.
fn login(checked: &Checked) -> (String, String) {
    let is_login = |request: &&Request| matches!(request.operation, Operation::Login | Operation::Lookup);
    let request = checked.requests.iter().find(is_login).unwrap();
    let body = request.http.body().as_bytes().to_vec();
    (request.http.uri().path().to_owned(), String::from_utf8(body).unwrap())
}

#[test]
fn each_method_sends_its_credentials() {
    let pair = [("tls.crt", CERTIFICATE), ("tls.key", KEY)];
    for (auth, path, body) in [
        (
            app_role(),
            "/v1/auth/approle/login",
            r#"{"role_id":"r","secret_id":"x"}"#,
        ),
        (app_role_in_secret(), "/v1/auth/approle/login", r#"{"role_id":"s"}"#),
        (
            kubernetes(Some("jwt")),
            "/v1/auth/kubernetes/login",
            r#"{"jwt":"a.b.c","role":"web"}"#,
        ),
        (
            kubernetes(None),
            "/v1/auth/kubernetes/login",
            r#"{"jwt":"jwt","role":"web"}"#,
        ),
        (
            jwt(Some("jwt")),
            "/v1/auth/jwt/login",
            r#"{"jwt":"a.b.c","role":"web"}"#,
        ),
        (jwt(None), "/v1/auth/jwt/login", r#"{"jwt":"jwt","role":"web"}"#),
        (certificate(Some("pair")), "/v1/auth/cert/login", "{}"),
        (given_token(), "/v1/auth/token/lookup-self", ""),
    ] {
        let check = issuer(auth)
            .secret("jwt", "1", &[("token", "a.b.c\n")])
            .secret("role", "1", &[("roleId", "s\n")])
            .secret("pair", "1", &pair);
        let checked = check.run();
        assert_eq!(login(&checked), (path.to_owned(), body.to_owned()));
        checked.ready();
    }
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

#[test]
fn service_account_token_is_minted() {
    let checked = issuer(kubernetes(None)).run();
    assert_eq!(checked.asked, ["health", "token team/signer", "login", "probe"]);
    let held = checked.ready();
    let checked = issuer(kubernetes(None)).holds(&held).at(1).run();
    assert_eq!(checked.asked, ["health"]);
}

#[test]
fn requested_token_is_as_the_spec_says() {
    let requested = |auth: Auth| issuer(auth).run().tokens.pop().unwrap();
    let token = |audiences: &[&str], expiration_seconds: i64| TokenSpec {
        namespace: "team".to_owned(),
        service_account: "signer".to_owned(),
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        expiration_seconds,
    };
    assert_eq!(requested(jwt(None)), token(&["vault://own"], 900));
    assert_eq!(
        requested(kubernetes(None)),
        token(&["vault://team/vault", "https://a"], 600)
    );
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

#[test]
fn service_account_assumes_an_aws_role() {
    let credentials = |token: &str| {
        let xml = format!(
            "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>x</SecretAccessKey>\
             <SessionToken>{token}</SessionToken></Credentials>"
        );
        reply(200, &xml)
    };
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
fn missing_service_account_token_names_the_cause() {
    for (error, reason, says) in [
        (
            ReadError::Forbidden,
            "TokenForbidden",
            "may not request tokens for ServiceAccount team/signer",
        ),
        (ReadError::Invalid, "TokenRefused", "as invalid: correct spec.auth"),
        (
            ReadError::NotFound,
            "ServiceAccountNotFound",
            "ServiceAccount team/signer does not exist",
        ),
        (ReadError::Unavailable, "TokenUnavailable", "it is tried again"),
    ] {
        let checked = issuer(kubernetes(None)).no_token(error).run();
        assert_eq!(checked.asked, ["health", "token team/signer"]);
        let (found, message) = checked.not_ready();
        assert!(found == reason && message.contains(says), "{found}: {message}");
    }
}

#[test]
fn given_token_may_lack_the_lookup() {
    let forbidden = || refusal(403, "permission denied");
    let access = issuer(given_token())
        .replies(Operation::Lookup, forbidden())
        .run()
        .ready();
    assert_eq!(access.lease.refresh_at(), None);
    let check = issuer(given_token()).replies(Operation::Lookup, forbidden());
    let checked = check.replies(Operation::Probe, forbidden()).run();
    assert_eq!(checked.not_ready().0, "LoginDenied");
    let check = issuer(given_token()).always(Operation::Probe, forbidden());
    assert_eq!(check.run().not_ready().0, "PermissionDenied");
}

#[test]
fn login_without_token_is_misbehaviour() {
    for (body, says) in [
        (r#"{"auth":null}"#, "auth is missing"),
        (r#"{"auth":{"client_token":""}}"#, "auth.client_token is missing"),
        (r#"{"auth":{"mfa_requirement":{}}}"#, "second factor"),
        ("<html>", "not JSON"),
    ] {
        let (reason, message) = issuer(app_role())
            .replies(Operation::Login, reply(200, body))
            .run()
            .not_ready();
        assert_eq!(reason, "VaultMisbehaved");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn missing_path_is_not_a_failed_login() {
    let check = issuer(given_token()).replies(Operation::Lookup, refusal(403, "permission denied"));
    let checked = check.replies(Operation::Probe, refusal(404, "no handler")).run();
    assert_eq!(checked.not_ready().0, "PathNotFound");
}

#[test]
fn credentials_print_as_their_method() {
    let token = crate::vault::Credentials::Token(Secret::from("hvs.x"));
    assert_eq!(format!("{token:?}"), "Token");
}
