//! Every auth method, and every way to reach a server.

use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::tools;
use crate::pki::{Csr, Names};
use crate::servers::audit::Answered;
use crate::servers::cluster;
use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::servers::vault::text;
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// AppRole at its own mount, with the mount path in each form that people write.
pub(super) async fn approle_mounts(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let mut auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    let forms = [
        mount.clone(),
        format!("auth/{mount}"),
        format!("/v1/auth/{mount}"),
        format!("/{mount}/"),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        auth["appRole"]["path"] = json!(form);
        test.issuer(&format!("form-{number}"), test.spec(&path, auth.clone()))
            .await?;
    }
    for number in 0..4 {
        test.ready(&format!("form-{number}"), SOON).await?;
    }
    Ok(())
}

/// A role ID from a Secret, beside the secret ID and without one.
pub(super) async fn approle_role_id(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let policy = test.policy(&[&path]).await?;
    let bound = test.approle("approle", &policy, json!({})).await?;
    let id = text(&bound["appRole"]["roleId"])?;
    test.secret("role", &[("roleId", &id), ("id", "another-role-id")])
        .await?;
    let role = json!({ "roleIdSecretRef": { "name": "role" }, "secretRef": { "name": "approle" } });
    signs(test, test.spec(&path, json!({ "appRole": role }))).await?;

    let wrong = json!({ "roleIdSecretRef": { "name": "role", "key": "id" }, "secretRef": { "name": "approle" } });
    test.issuer("wrong", test.spec(&path, json!({ "appRole": wrong })))
        .await?;
    test.unready("wrong", "LoginDenied", SOON).await
}

/// An AppRole that needs no secret ID, so the spec names none.
pub(super) async fn approle_no_secret_id(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let policy = test.policy(&[&path]).await?;
    let open = json!({ "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.0/8"] });
    let role = format!("auth/approle/role/{}", test.case);
    let admin = &test.env.vault.admin;
    admin
        .write(&role, json!({ "token_policies": policy, "token_ttl": "1h" }))
        .await?;
    let id = admin.read(&format!("{role}/role-id")).await?["role_id"].clone();
    let spec = test.spec(&path, json!({ "appRole": { "roleId": id } }));
    test.issuer("bound", spec.clone()).await?;
    test.unready("bound", "LoginDenied", SOON).await?;
    admin.write(&role, open).await?;
    signs(test, spec).await
}

/// A token from a Secret is used and never revoked.
pub(super) async fn token(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let token = signs_with_token(test, json!({ "ttl": "1h" })).await?;
    let admin = test.env.vault.admin.with_token(&token);
    admin.read("auth/token/lookup-self").await?;
    Ok(())
}

/// A periodic token from a Secret, with a period of 20 seconds, is renewed as long as the issuer exists.
pub(super) async fn periodic_token(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let token = signs_with_token(test, json!({ "period": "20s" })).await?;
    tokio::time::sleep(Duration::from_secs(45)).await;
    let admin = test.env.vault.admin.with_token(&token);
    admin.read("auth/token/lookup-self").await.context("it has expired")?;
    let csr = Csr::new(&Names::common("after.example.com"))?;
    test.request("after", &csr.pem, Ask::default()).await?;
    test.issued("after", &csr, SOON).await?;
    Ok(())
}

/// A login with a TTL of 20 seconds is renewed at least twice within 90 seconds and not repeated.
pub(super) async fn short_login(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let policy = test.policy(&[&path]).await?;
    let auth = test
        .approle(&mount, &policy, json!({ "token_ttl": "20s", "token_max_ttl": "10m" }))
        .await?;
    signs(test, test.spec(&path, auth)).await?;
    let renewed = |answers: &[Answered]| {
        answers
            .iter()
            .filter(|answer| answer.path == "auth/token/renew-self" && answer.role == test.case)
            .count()
    };
    eventually(Duration::from_secs(90), async || {
        let renewals = renewed(&test.env.vault.audit.answered()?);
        ensure!(renewals >= 2, "{renewals} renewals");
        Ok(())
    })
    .await?;
    let csr = Csr::new(&Names::common("after.example.com"))?;
    test.request("after", &csr.pem, Ask::default()).await?;
    test.issued("after", &csr, SOON).await?;
    let logins = test.env.vault.audit.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 1, "{logins} logins");
    Ok(())
}

/// Kubernetes auth with a token from a Secret.
pub(super) async fn kubernetes_secret(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    kubernetes_role(test, &path, json!({})).await?;
    account(test).await?;
    test.apply(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": { "name": "jwt", "annotations": { "kubernetes.io/service-account.name": "vault-login" } },
    }))
    .await?;
    eventually(SOON, async || {
        let secret = test.api::<Secret>().get("jwt").await?;
        let token = secret
            .data
            .context("no data")?
            .remove("token")
            .context("no token yet")?;
        test.env.canary(std::str::from_utf8(&token.0)?);
        Ok(())
    })
    .await?;
    let auth = json!({ "kubernetes": { "role": test.case, "secretRef": { "name": "jwt" } } });
    signs(test, test.spec(&path, auth)).await
}

/// Kubernetes auth with a token of a service account, whose audience is the issuer. The default permissions allow no
/// such token.
pub(super) async fn kubernetes_account(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let audience = format!("vault://{}/vault", test.namespace);
    kubernetes_role(test, &path, json!({ "audience": audience })).await?;
    account(test).await?;
    let kubernetes = json!({
        "role": test.case,
        "mountPath": "/v1/auth/kubernetes",
        "serviceAccountRef": { "name": "vault-login" },
    });
    let spec = test.spec(&path, json!({ "kubernetes": kubernetes }));
    test.issuer("forbidden", spec.clone()).await?;
    test.unready("forbidden", "TokenForbidden", SOON).await?;
    grant_tokens(test, "vault-login").await?;
    signs(test, spec).await
}

/// `check` of cert-manager's own issuer in a file, with a token that is given, and with one that the cluster issues.
pub(super) async fn check_from_file(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let audience = format!("vault://{}/vault", test.namespace);
    kubernetes_role(test, &path, json!({ "audience": audience })).await?;
    account(test).await?;
    let auth = json!({ "role": test.case, "serviceAccountRef": { "name": "vault-login" } });
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": { "name": "vault", "namespace": test.namespace },
        "spec": { "vault": test.spec(&path, json!({ "kubernetes": auth })) },
    });
    let token = cluster::token_for(&test.env.client, &test.namespace, "vault-login", &[&audience]).await?;

    let (dir, kubeconfig) = {
        let local = test.env.local_servers().await?;
        (local.dir.clone(), local.cluster.kubeconfig(cluster::ADMIN))
    };
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let file = dir.join(name);
        std::fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let file = write("check-from-file.json", &issuer.to_string())?;
    let token = write("check-from-file.token", &token)?;
    let kubeconfig = kubeconfig.display().to_string();
    for (flag, value, note) in [
        ("--service-account-token", &token, "the given token"),
        ("--kubeconfig", &kubeconfig, "token for vault://"),
    ] {
        let (good, output) = tools::run(test, &["check", "-f", &file, flag, value]).await?;
        ensure!(good && output.contains(note), "check {flag} says {output}");
    }
    let (good, output) = tools::run(test, &["check", "-f", &file]).await?;
    ensure!(
        !good && output.contains("--service-account-token"),
        "check says {output}"
    );
    Ok(())
}

/// JWT auth with a token of a service account, whose only audience is the spec's, and with a token from a Secret. Vault
/// knows the key of the API server's tokens, so it asks nobody.
pub(super) async fn jwt(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let key = {
        let local = test.env.local_servers().await?;
        std::fs::read_to_string(local.dir.join("service-account.pub"))?
    };
    let admin = &test.env.vault.admin;
    admin.write("sys/auth/e2e-jwt", json!({ "type": "jwt" })).await?;
    let config = json!({ "jwt_validation_pubkeys": [key], "bound_issuer": ISSUER });
    admin.write("auth/e2e-jwt/config", config).await?;
    let audience = format!("vault://{}/jwt", test.namespace);
    let role = json!({
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [audience],
        "bound_subject": format!("system:serviceaccount:{}:vault-login", test.namespace),
        "token_policies": test.policy(&[&path]).await?,
        "token_ttl": "1h",
    });
    admin.write("auth/e2e-jwt/role/web", role).await?;
    account(test).await?;
    grant_tokens(test, "vault-login").await?;

    let auth = |audience: &str| {
        let account = json!({ "name": "vault-login", "audiences": [audience], "expirationSeconds": 900 });
        json!({ "jwt": { "mountPath": "/v1/auth/e2e-jwt", "role": "web", "serviceAccountRef": account } })
    };
    test.issuer("other", test.spec(&path, auth("vault://other"))).await?;
    test.unready("other", "LoginDenied", SOON).await?;
    test.issuer("forbidden", test.spec(&path, auth("https://kubernetes.default.svc")))
        .await?;
    test.unready("forbidden", "InvalidSpec", SOON).await?;
    signs(test, test.spec(&path, auth(&audience))).await?;

    let token = cluster::token_for(&test.env.client, &test.namespace, "vault-login", &[&audience]).await?;
    test.secret("jwt", &[("token", &token)]).await?;
    let auth = json!({ "jwt": { "mountPath": "e2e-jwt", "role": "web", "secretRef": { "name": "jwt" } } });
    test.issuer("secret", test.spec(&path, auth)).await?;
    test.ready("secret", SOON).await
}

/// The issuer of the API server's tokens.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Allows the controller to request tokens of one service account, as the documentation describes.
pub(super) async fn grant_tokens(test: &TestNamespace<'_>, account: &str) -> anyhow::Result<()> {
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
    test.apply(role).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE }],
    });
    test.apply(binding).await
}

/// Login with a client certificate.
pub(super) async fn client_certificate(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let policy = test.policy(&[&path]).await?;
    let vault = &test.env.vault;
    let role = json!({ "certificate": vault.clients.pem, "token_policies": policy, "allowed_common_names": test.case });
    vault
        .admin
        .write(&format!("auth/cert/certs/{}", test.case), role)
        .await?;
    let pair = vault.clients.client(test.case)?;
    test.secret("login", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)])
        .await?;
    let auth = json!({ "clientCertificate": { "secretName": "login", "name": test.case } });
    signs(test, test.spec(&path, auth)).await
}

/// A listener that wants a client certificate, with a CA bundle from a Secret and another server name.
pub(super) async fn mutual_tls(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let vault = &test.env.vault;
    let spec = json!({ "server": vault.mutual, "serverName": vault.server_name, "path": path, "auth": auth });
    let mut bare = spec.clone();
    bare["caBundle"] = json!(STANDARD.encode(&vault.ca));
    test.issuer("bare", bare).await?;
    test.unready("bare", "TlsFailed", SOON).await?;

    let pair = vault.clients.client(test.case)?;
    test.secret("client", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)])
        .await?;
    test.secret("ca", &[("ca.crt", &vault.ca)]).await?;
    let mut full = spec;
    full["caBundleSecretRef"] = json!({ "name": "ca" });
    full["clientCertSecretRef"] = json!({ "name": "client" });
    full["clientKeySecretRef"] = json!({ "name": "client" });
    signs(test, full).await
}

/// A CA bundle from a ConfigMap, as trust-manager writes it, which is corrected later.
pub(super) async fn ca_from_config_map(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let vault = &test.env.vault;
    let spec = |name: &str| {
        let bundle = json!({ "name": name, "key": "trust-bundle.pem" });
        json!({ "server": vault.server, "caBundleConfigMapRef": bundle, "path": path, "auth": auth })
    };
    test.issuer("missing", spec("missing")).await?;
    test.unready("missing", "ConfigMapNotFound", SOON).await?;
    let bundle = |name: &str, text: &str| {
        let metadata = json!({ "name": name });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "trust-bundle.pem": text } })
    };
    test.apply(bundle("empty", "# no certificate yet\n")).await?;
    test.issuer("empty", spec("empty")).await?;
    test.unready("empty", "ConfigMapInvalid", SOON).await?;
    test.apply(bundle("empty", &format!("# Vault\n{}", vault.ca))).await?;
    test.ready("empty", LATER).await?;
    test.apply(bundle("bundle", &vault.ca)).await?;
    signs(test, spec("bundle")).await
}

/// An AppRole whose Secret holds a wrapping token: Vault unwraps it once, and a spent one is reported.
pub(super) async fn approle_wrapped(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    // A login that lives for a short time is repeated with the secret ID that was unwrapped.
    let short = json!({ "token_ttl": "20s", "token_max_ttl": "20s" });
    let mut auth = test.approle(&mount, &test.policy(&[&path]).await?, short).await?;
    let wrapped_at = format!("auth/{mount}/role/{}/secret-id", test.case);
    let admin = &test.env.vault.admin;
    let token = admin.wrapped(&wrapped_at).await?;
    test.secret("wrapped", &[("secretId", &token)]).await?;
    auth["appRole"]["secretRef"]["name"] = json!("wrapped");
    auth["appRole"]["secretIdWrappingPath"] = json!(format!("/v1/{wrapped_at}"));
    let spec = test.spec(&path, auth);

    // The token was made at another path.
    let mut other = spec.clone();
    other["auth"]["appRole"]["secretIdWrappingPath"] = json!("auth/approle/role/other/secret-id");
    test.issuer("other", other).await?;
    test.unready("other", "WrappingTokenMismatch", SOON).await?;

    signs(test, spec.clone()).await?;
    let login = format!("auth/{mount}/login");
    eventually(LATER, async || {
        let logins = test.env.vault.audit.signatures(&login)?;
        ensure!(logins >= 2, "{logins} logins");
        Ok(())
    })
    .await?;
    let unwrapped = test.env.vault.audit.signatures("sys/wrapping/unwrap")?;
    ensure!(unwrapped == 1, "{unwrapped} secret IDs were unwrapped");

    // The token is spent; another brings the issuer back.
    let mut late = spec;
    late["auth"]["appRole"]["secretRef"]["name"] = json!("late");
    test.secret("late", &[("secretId", &token)]).await?;
    test.issuer("late", late).await?;
    test.unready("late", "WrappingTokenSpent", SOON).await?;
    let token = admin.wrapped(&wrapped_at).await?;
    test.secret("late", &[("secretId", &token)]).await?;
    test.ready("late", LATER).await
}

/// Creates the issuer `vault` and has it sign a request.
pub(super) async fn signs(test: &TestNamespace<'_>, spec: Value) -> anyhow::Result<()> {
    test.issuer("vault", spec).await?;
    test.ready("vault", SOON).await?;
    let csr = Csr::new(&Names::common("login.example.com"))?;
    test.request("first", &csr.pem, Ask::default()).await?;
    let issued = test.issued("first", &csr, SOON).await?;
    issued.rooted_in(&test.env.vault.root)
}

/// Creates a token with these parameters and an issuer that uses it, and has it sign a request; returns the token.
async fn signs_with_token(test: &TestNamespace<'_>, mut params: Value) -> anyhow::Result<String> {
    let path = test.role(json!({})).await?;
    params["policies"] = json!([test.policy(&[&path]).await?]);
    let answer = test.env.vault.admin.write("auth/token/create-orphan", params).await?;
    let token = text(&answer["auth"]["client_token"])?;
    test.secret("token", &[("token", &token)]).await?;
    let auth = json!({ "tokenSecretRef": { "name": "token" } });
    signs(test, test.spec(&path, auth)).await?;
    Ok(token)
}

pub(super) async fn account(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let metadata = json!({ "name": "vault-login" });
    test.apply(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }))
        .await
}

pub(super) async fn kubernetes_role(test: &TestNamespace<'_>, path: &str, changes: Value) -> anyhow::Result<()> {
    let mut role = json!({
        "bound_service_account_names": "vault-login",
        "bound_service_account_namespaces": test.namespace,
        "token_policies": test.policy(&[path]).await?,
        "token_ttl": "1h",
    });
    if let (Value::Object(role), Value::Object(changes)) = (&mut role, changes) {
        role.extend(changes);
    }
    test.env
        .vault
        .admin
        .write(&format!("auth/kubernetes/role/{}", test.case), role)
        .await?;
    Ok(())
}
