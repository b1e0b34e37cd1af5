//! Secrets that do not hold what they should: the issuer says which one, and why.

use anyhow::{Context, ensure};
use issuer_api::VaultIssuer;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::super::controller::NAMESPACE;
use super::super::pki::{Csr, Names};
use super::super::stage::{Ask, LATER, SOON, Stage};

/// Values that are missing, empty, not text, or not PEM.
pub(super) async fn bad(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let vault = &stage.env.vault;
    let pair = vault.clients.client(stage.case)?;
    let stranger = vault.clients.client("stranger")?;
    stage.secret("no-key", &[("another", "0123456789abcdef")]).await?;
    stage
        .secret("empty", &[("secretId", ""), ("token", ""), ("ca.crt", "")])
        .await?;
    stage
        .secret(
            "text",
            &[
                ("ca.crt", "no PEM"),
                ("tls.crt", "no PEM"),
                ("tls.key", "no PEM at all"),
            ],
        )
        .await?;
    stage
        .secret("halves", &[("tls.crt", &pair.certificate), ("tls.key", &stranger.key)])
        .await?;
    stage.secret("token", &[("token", "no such token")]).await?;
    let approle = |secret: &str| json!({ "appRole": { "roleId": "r", "secretRef": { "name": secret } } });
    let token = |secret: &str| json!({ "tokenSecretRef": { "name": secret } });
    let mut bundle = stage.spec(&path, token("token"));
    bundle["caBundle"] = Value::Null;
    let mut rows = vec![
        (
            "approle-no-key",
            stage.spec(&path, approle("no-key")),
            "SecretInvalid",
            "secretId",
        ),
        (
            "approle-empty",
            stage.spec(&path, approle("empty")),
            "SecretInvalid",
            "secretId",
        ),
        (
            "token-empty",
            stage.spec(&path, token("empty")),
            "SecretInvalid",
            "token",
        ),
        (
            "certificate-text",
            stage.spec(&path, certificate("text")),
            "SecretInvalid",
            "text",
        ),
        (
            "certificate-none",
            stage.spec(&path, certificate("none")),
            "SecretNotFound",
            "none",
        ),
    ];
    for secret in ["empty", "text"] {
        let mut spec = bundle.clone();
        spec["caBundleSecretRef"] = json!({ "name": secret });
        rows.push((
            if secret == "text" {
                "bundle-text"
            } else {
                "bundle-empty"
            },
            spec,
            "SecretInvalid",
            "ca.crt",
        ));
    }
    let mut inline = bundle.clone();
    inline["caBundle"] = json!("bm8gUEVN");
    rows.push(("bundle-inline", inline, "InvalidSpec", "caBundle"));
    rows.push((
        "halves",
        stage.spec(&path, certificate("halves")),
        "InvalidConnection",
        "client certificate",
    ));
    rows.push(("token-unknown", stage.spec(&path, token("token")), "LoginDenied", ""));
    for (name, spec, _, _) in &rows {
        stage.issuer(name, spec.clone()).await?;
    }
    for (name, _, reason, hint) in &rows {
        stage.unready(name, reason, SOON).await?;
        says(stage, name, hint).await?;
        stage.event(name, reason).await?;
    }
    Ok(())
}

fn certificate(secret: &str) -> Value {
    json!({ "clientCertificate": { "secretName": secret } })
}

/// Specs that no rule of the CRD keeps out.
pub(super) async fn bad_specs(stage: &Stage<'_>) -> anyhow::Result<()> {
    let token = json!({ "tokenSecretRef": { "name": "token" } });
    let good = stage.spec("pki/sign/web", token);
    let rows = [
        ("plain-http", json!({ "server": "http://127.0.0.1:8200" }), "https"),
        ("namespace", json!({ "namespace": "t\u{7}am" }), "namespace"),
        (
            "no-certificate",
            json!({ "auth": { "clientCertificate": {} } }),
            "secretName",
        ),
        ("user", json!({ "server": "https://user@127.0.0.1:8200" }), "server"),
        ("issue", json!({ "path": "pki/issue/sign" }), "path"),
    ];
    for (name, change, _) in &rows {
        let mut spec = good.clone();
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change.clone()) {
            spec.extend(change);
        }
        stage.issuer(name, spec).await?;
    }
    for (name, _, hint) in &rows {
        stage.unready(name, "InvalidSpec", SOON).await?;
        says(stage, name, hint).await?;
    }
    Ok(())
}

/// Checks that an issuer's condition has this word.
async fn says(stage: &Stage<'_>, name: &str, hint: &str) -> anyhow::Result<()> {
    let issuer = stage.api::<VaultIssuer>().get(name).await?;
    let status = issuer.status.unwrap_or_default();
    let message = &status.ready().context("no Ready condition")?.message;
    ensure!(message.contains(hint), "{name}: {message:?} does not say {hint}");
    Ok(())
}

/// A namespace where the controller may not read Secrets, and then may.
pub(super) async fn no_rights(stage: &Stage<'_>) -> anyhow::Result<()> {
    let binding = "vault-issuer-credentials";
    stage
        .api::<RoleBinding>()
        .delete(binding, &DeleteParams::default())
        .await?;
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.unready("vault", "SecretForbidden", SOON).await?;
    let csr = Csr::new(&Names::common("rights.example.com"))?;
    stage.request("waiting", &csr.pem, Ask::default()).await?;
    let account = json!({ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE });
    stage.bind(binding, account).await?;
    stage.issued("waiting", &csr, LATER).await?;
    Ok(())
}
