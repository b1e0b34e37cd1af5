//! Credentials of each method, and the tokens that they are exchanged for.

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
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAUCAQAwAA==\n-----END PRIVATE KEY-----\n";

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

#[test]
fn missing_service_account_token_names_the_cause() {
    for (error, reason, says) in [
        (
            ReadError::Forbidden,
            "TokenForbidden",
            "may not request tokens for ServiceAccount team/signer",
        ),
        (ReadError::Invalid, "TokenRefused", "as invalid: correct the audiences"),
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
fn login_without_token_is_misbehavior() {
    let endless = format!(r#"{{"auth":{{"client_token":"{}"}}}}"#, "x".repeat(20_000));
    for (body, says) in [
        (endless.as_str(), "auth.client_token is missing"),
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
