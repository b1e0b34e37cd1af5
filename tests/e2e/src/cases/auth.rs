//! Every way to log in, and every way to reach a server.

use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::audit::Answered;
use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::servers::vault::text;
use crate::test_namespace::{Ask, SOON, Stage};

/// AppRole at a mount of its own, named in each form that people write.
pub(super) async fn approle_mounts(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mount = stage.approle_mount().await?;
    let mut auth = stage.approle(&mount, &stage.policy(&[&path]).await?, json!({})).await?;
    let forms = [
        mount.clone(),
        format!("auth/{mount}"),
        format!("/v1/auth/{mount}"),
        format!("/{mount}/"),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        auth["appRole"]["path"] = json!(form);
        stage
            .issuer(&format!("form-{number}"), stage.spec(&path, auth.clone()))
            .await?;
    }
    for number in 0..4 {
        stage.ready(&format!("form-{number}"), SOON).await?;
    }
    Ok(())
}

/// A token that is given.
pub(super) async fn token(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let policy = stage.policy(&[&path]).await?;
    let token = make_token(stage, json!({ "policies": [policy], "ttl": "1h" })).await?;
    stage.secret("token", &[("token", &token)]).await?;
    signs(
        stage,
        stage.spec(&path, json!({ "tokenSecretRef": { "name": "token" } })),
    )
    .await?;
    // It is not ours to end.
    stage
        .env
        .vault
        .admin
        .with_token(&token)
        .read("auth/token/lookup-self")
        .await?;
    Ok(())
}

/// A given periodic token that lives for 20 seconds is renewed for as long as the issuer is there.
pub(super) async fn periodic_token(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let policy = stage.policy(&[&path]).await?;
    let token = make_token(stage, json!({ "policies": [policy], "period": "20s" })).await?;
    stage.secret("token", &[("token", &token)]).await?;
    signs(
        stage,
        stage.spec(&path, json!({ "tokenSecretRef": { "name": "token" } })),
    )
    .await?;
    tokio::time::sleep(Duration::from_secs(45)).await;
    stage
        .env
        .vault
        .admin
        .with_token(&token)
        .read("auth/token/lookup-self")
        .await
        .context("it has expired")?;
    let csr = Csr::new(&Names::common("after.example.com"))?;
    stage.request("after", &csr.pem, Ask::default()).await?;
    stage.issued("after", &csr, SOON).await?;
    Ok(())
}

/// A login that lives for 20 seconds is renewed, at least twice in 90 seconds, and not made again.
pub(super) async fn short_login(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mount = stage.approle_mount().await?;
    let policy = stage.policy(&[&path]).await?;
    let auth = stage
        .approle(&mount, &policy, json!({ "token_ttl": "20s", "token_max_ttl": "10m" }))
        .await?;
    signs(stage, stage.spec(&path, auth)).await?;
    let renewed = |answers: &[Answered]| {
        answers
            .iter()
            .filter(|answer| answer.path == "auth/token/renew-self" && answer.role == stage.case)
            .count()
    };
    eventually(Duration::from_secs(90), async || {
        let renewals = renewed(&stage.env.vault.audit.answered()?);
        ensure!(renewals >= 2, "{renewals} renewals");
        Ok(())
    })
    .await?;
    let csr = Csr::new(&Names::common("after.example.com"))?;
    stage.request("after", &csr.pem, Ask::default()).await?;
    stage.issued("after", &csr, SOON).await?;
    let logins = stage.env.vault.audit.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 1, "{logins} logins");
    Ok(())
}

/// Kubernetes, with a token that lies in a Secret.
pub(super) async fn kubernetes_secret(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    kubernetes_role(stage, &path, json!({})).await?;
    account(stage).await?;
    stage
        .apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": { "name": "jwt", "annotations": { "kubernetes.io/service-account.name": "vault-login" } },
        }))
        .await?;
    eventually(SOON, async || {
        let secret = stage.api::<Secret>().get("jwt").await?;
        let token = secret
            .data
            .context("no data")?
            .remove("token")
            .context("no token yet")?;
        stage.env.canary(std::str::from_utf8(&token.0)?);
        Ok(())
    })
    .await?;
    let auth = json!({ "kubernetes": { "role": stage.case, "secretRef": { "name": "jwt" } } });
    signs(stage, stage.spec(&path, auth)).await
}

/// Kubernetes, with a token requested for a service account, whose audience is the issuer itself. The default rights
/// allow no such token.
pub(super) async fn kubernetes_account(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let audience = format!("vault://{}/vault", stage.namespace);
    kubernetes_role(stage, &path, json!({ "audience": audience })).await?;
    account(stage).await?;
    let kubernetes = json!({
        "role": stage.case,
        "mountPath": "/v1/auth/kubernetes",
        "serviceAccountRef": { "name": "vault-login" },
    });
    let spec = stage.spec(&path, json!({ "kubernetes": kubernetes }));
    stage.issuer("forbidden", spec.clone()).await?;
    stage.unready("forbidden", "TokenForbidden", SOON).await?;
    grant_tokens(stage, "vault-login").await?;
    signs(stage, spec).await
}

/// Lets the controller request tokens of one service account, as the pages tell users to.
async fn grant_tokens(stage: &Stage<'_>, account: &str) -> anyhow::Result<()> {
    let name = "vault-issuer-tokens";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": { "name": name },
        "rules": [{
            "apiGroups": [""],
            "resources": ["serviceaccounts/token"],
            "resourceNames": [account],
            "verbs": ["create"],
        }],
    });
    stage.apply(role).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE }],
    });
    stage.apply(binding).await
}

/// A client certificate that logs in.
pub(super) async fn client_certificate(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let policy = stage.policy(&[&path]).await?;
    let vault = &stage.env.vault;
    let role =
        json!({ "certificate": vault.clients.pem, "token_policies": policy, "allowed_common_names": stage.case });
    vault
        .admin
        .write(&format!("auth/cert/certs/{}", stage.case), role)
        .await?;
    let pair = vault.clients.client(stage.case)?;
    stage
        .secret("login", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)])
        .await?;
    let auth = json!({ "clientCertificate": { "secretName": "login", "name": stage.case } });
    signs(stage, stage.spec(&path, auth)).await
}

/// A listener that wants a client certificate, with a CA bundle from a Secret and another server name.
pub(super) async fn mutual_tls(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    let vault = &stage.env.vault;
    let spec = json!({ "server": vault.mutual, "serverName": vault.server_name, "path": path, "auth": auth });
    let mut bare = spec.clone();
    bare["caBundle"] = json!(STANDARD.encode(&vault.ca));
    stage.issuer("bare", bare).await?;
    stage.unready("bare", "TlsFailed", SOON).await?;

    let pair = vault.clients.client(stage.case)?;
    stage
        .secret("client", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)])
        .await?;
    stage.secret("ca", &[("ca.crt", &vault.ca)]).await?;
    let mut full = spec;
    full["caBundleSecretRef"] = json!({ "name": "ca" });
    full["clientCertSecretRef"] = json!({ "name": "client" });
    full["clientKeySecretRef"] = json!({ "name": "client" });
    signs(stage, full).await
}

/// Makes the issuer `vault` and has it sign a request.
async fn signs(stage: &Stage<'_>, spec: Value) -> anyhow::Result<()> {
    stage.issuer("vault", spec).await?;
    stage.ready("vault", SOON).await?;
    let csr = Csr::new(&Names::common("login.example.com"))?;
    stage.request("first", &csr.pem, Ask::default()).await?;
    let issued = stage.issued("first", &csr, SOON).await?;
    issued.rooted_in(&stage.env.vault.root)
}

async fn make_token(stage: &Stage<'_>, body: Value) -> anyhow::Result<String> {
    let answer = stage.env.vault.admin.write("auth/token/create-orphan", body).await?;
    text(&answer["auth"]["client_token"])
}

async fn account(stage: &Stage<'_>) -> anyhow::Result<()> {
    let metadata = json!({ "name": "vault-login" });
    stage
        .apply(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }))
        .await
}

async fn kubernetes_role(stage: &Stage<'_>, path: &str, changes: Value) -> anyhow::Result<()> {
    let mut role = json!({
        "bound_service_account_names": "vault-login",
        "bound_service_account_namespaces": stage.namespace,
        "token_policies": stage.policy(&[path]).await?,
        "token_ttl": "1h",
    });
    if let (Value::Object(role), Value::Object(changes)) = (&mut role, changes) {
        role.extend(changes);
    }
    stage
        .env
        .vault
        .admin
        .write(&format!("auth/kubernetes/role/{}", stage.case), role)
        .await?;
    Ok(())
}
