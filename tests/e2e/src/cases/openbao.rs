//! Namespaces and CEL roles, which OpenBao has and the community edition of Vault has not.

use anyhow::ensure;
use http::Method;
use issuer_api::VaultIssuer;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::process::eventually;
use crate::servers::vault::{Admin, text};
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// The PKI mount and the auth method are in a namespace, or the auth method is in the namespace around it.
pub(super) async fn namespaces(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let root = &test.env.vault.admin;
    root.write(&format!("sys/namespaces/{}", test.case), json!({})).await?;
    let outer = root.within(test.case);
    outer.write("sys/namespaces/inner", json!({})).await?;
    let name = format!("{}/inner", test.case);
    let inner = root.within(&name);
    inner.root("pki", "e2e root in a namespace").await?;
    let role = json!({ "allow_any_name": true, "key_type": "any", "max_ttl": "24h" });
    inner.write("pki/roles/web", role).await?;
    let mut spec = test.spec("pki/sign/web", json!({}));
    spec["namespace"] = json!(name);

    spec["auth"] = approle(test, &inner, "inner", "pki/sign/web").await?;
    test.issuer("inner", spec.clone()).await?;
    test.ready("inner", SOON).await?;
    sign(test, "inner").await?;

    // A policy names paths from its own namespace.
    spec["auth"] = approle(test, &outer, "outer", "inner/pki/sign/web").await?;
    test.issuer("outer", spec.clone()).await?;
    test.unready("outer", "LoginDenied", SOON).await?;
    spec["auth"]["namespace"] = json!(test.case);
    test.issuer("outer", spec).await?;
    test.ready("outer", SOON).await?;
    sign(test, "outer").await?;

    // Each token is revoked in the namespace that it belongs to.
    for (issuer, namespace) in [("inner", &inner), ("outer", &outer)] {
        ensure!(tokens(namespace).await? == 1, "not one token for {issuer}");
        let issuers = test.api::<VaultIssuer>();
        issuers.delete(issuer, &DeleteParams::default()).await?;
        eventually(SOON, async || {
            let left = tokens(namespace).await?;
            ensure!(left == 0, "{left} tokens for {issuer}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Creates a policy for a path and an AppRole with it, in a namespace of OpenBao, and a Secret of this name; returns the
/// `auth` block.
async fn approle(test: &TestNamespace<'_>, namespace: &Admin, secret: &str, path: &str) -> anyhow::Result<Value> {
    let rules = format!("path \"{path}\" {{ capabilities = [\"update\"] }}");
    namespace
        .write("sys/policies/acl/sign", json!({ "policy": rules }))
        .await?;
    namespace
        .write("sys/auth/approle", json!({ "type": "approle" }))
        .await?;
    let role = "auth/approle/role/web";
    namespace.write(role, json!({ "token_policies": "sign" })).await?;
    let id = text(&namespace.read(&format!("{role}/role-id")).await?["role_id"])?;
    let answer = namespace.write(&format!("{role}/secret-id"), json!({})).await?;
    let secret_id = text(&answer["data"]["secret_id"])?;
    test.secret(secret, &[("secretId", &secret_id)]).await?;
    Ok(json!({ "appRole": { "path": "approle", "roleId": id, "secretRef": { "name": secret } } }))
}

/// Counts the tokens of a namespace of OpenBao.
async fn tokens(namespace: &Admin) -> anyhow::Result<usize> {
    let list = Method::from_bytes(b"LIST")?;
    let (status, answer) = namespace.call(list, "auth/token/accessors", None).await?;
    // It has none.
    ensure!([200, 404].contains(&status), "auth/token/accessors: {status}");
    Ok(answer["data"]["keys"].as_array().map_or(0, Vec::len))
}

/// A CEL role signs what its program permits. OpenBao answers 500 to what it does not, as if it were out of order.
pub(super) async fn cel_role(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let certificate = "CertTemplate{ Subject: PKIX.Name{ CommonName: request.common_name }, NotBefore: now, \
                       NotAfter: now + duration(request.ttl), DNSNames: [request.common_name], KeyUsage: 5, \
                       ExtKeyUsage: [1, 2] }";
    let program = json!({
        "variables": [
            { "name": "permitted", "expression": "request.common_name.endsWith('.example.com')" },
            { "name": "output", "expression": format!("ValidationOutput{{ template: {certificate} }}") },
        ],
        "expression": "permitted ? output : 'the name must end with .example.com'",
    });
    let admin = &test.env.vault.admin;
    admin
        .write(
            &format!("pki/cel/roles/{}", test.case),
            json!({ "cel_program": program }),
        )
        .await?;
    let path = format!("pki/cel/sign/{}", test.case);
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    let denied = csr("www.example.org")?;
    test.request("denied", &denied.pem, Ask::default()).await?;
    sign(test, "vault").await?;
    let message = test.pending("denied").await?;
    ensure!(message.contains("the name must end with .example.com"), "{message}");
    Ok(())
}

/// Has an issuer sign a request of its own name.
async fn sign(test: &TestNamespace<'_>, issuer: &str) -> anyhow::Result<()> {
    let csr = csr("www.example.com")?;
    let ask = Ask {
        issuer,
        duration: Some("1h"),
        ..Ask::default()
    };
    test.request(&format!("by-{issuer}"), &csr.pem, ask).await?;
    test.issued(&format!("by-{issuer}"), &csr, LATER).await.map(drop)
}

fn csr(name: &str) -> anyhow::Result<Csr> {
    Csr::new(&Names {
        common_name: name,
        dns: &[name],
        ..Names::default()
    })
}
