//! `vault-issuer sign`.

use std::fs;
use std::process::ExitCode;

use fake_vault::Authority;

use super::{Scene, csr};

#[test]
fn sign_writes_the_chain_and_the_ca() {
    let scene = Scene::new("sign");
    let ended = scene.sign("--duration 24h");
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}", ended.err);
    assert_eq!(ended.out.matches("BEGIN CERTIFICATE").count(), 2, "{}", ended.out);
    assert!(ended.err.contains("ok      logout"), "{}", ended.err);
    assert!(ended.err.contains("Signed: serial "), "{}", ended.err);

    let ended = scene.sign("-o @tls.crt --ca-out @ca.crt");
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}", ended.err);
    assert_eq!(ended.out, "");
    let read = |file| fs::read_to_string(scene.folder.join(file)).unwrap();
    assert_eq!(read("tls.crt").matches("BEGIN CERTIFICATE").count(), 2);
    let root = Authority::root("Test Root");
    assert_eq!(read("ca.crt").trim(), root.certificate().pem.trim());
    let now = scene.server.now();
    assert_eq!(scene.fake().live_tokens(now), Vec::<String>::new());
    assert_eq!(scene.fake().counts().signs, 2);

    // Without a place for the certificate nothing is signed.
    let ended = scene.sign("-o @tls.crt --ca-out @no/such/ca.crt");
    ended.fails_with(1, &[], "no/such/ca.crt: ");
    assert_eq!(scene.fake().counts().signs, 2);
    assert_eq!(read("tls.crt").matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn sign_says_why_it_did_not() {
    let scene = Scene::new("unsigned");
    scene.write("web.csr", &csr("www.example.org"));
    let ended = scene.sign("-o @tls.crt");
    assert!(!scene.folder.join("tls.crt").exists());
    ended.fails_with(
        1,
        &["ok      right to sign", "ok      logout"],
        "VaultIssuer team-a/vault did not sign",
    );
    assert!(ended.err.contains("not allowed by this role"), "{}", ended.err);
    scene.sign("--is-ca").fails_with(
        1,
        &[],
        "a CA certificate needs an issuer whose path ends in sign-intermediate",
    );
    scene
        .sign("--duration tomorrow")
        .fails_with(2, &[], "such as 15s, 1m30s or 24h");

    let asked = scene.fake().counts();
    for text in [
        "",
        "no CSR",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        scene.write("web.csr", text);
        scene.sign("").fails_with(1, &[], "web.csr cannot be signed: ");
    }
    assert_eq!(
        scene.fake().counts(),
        asked,
        "a CSR that is not one is not shown to Vault"
    );
}
