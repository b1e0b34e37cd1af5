//! Roles and policies with limits: what Vault would sign is signed, and nothing in use is harmed.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// A policy that requires parameters of every request to the path.
pub(super) async fn required_parameters(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    constrained(test, "required_parameters = [\"csr\", \"common_name\"]").await
}

/// A policy that allows only the parameters that cert-manager's built-in issuer sends.
pub(super) async fn allowed_parameters(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let names = [
        "csr",
        "common_name",
        "alt_names",
        "ip_sans",
        "uri_sans",
        "ttl",
        "exclude_cn_from_sans",
    ];
    let names = names.map(|name| format!("\"{name}\" = []"));
    constrained(test, &format!("allowed_parameters = {{ {} }}", names.join(", "))).await
}

async fn constrained(test: &TestNamespace<'_>, constraint: &str) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let rules = format!("path \"{path}\" {{\n capabilities = [\"update\"]\n {constraint}\n}}");
    let admin = &test.env.vault.admin;
    admin
        .write(&format!("sys/policies/acl/{}", test.case), json!({ "policy": rules }))
        .await?;
    let auth = test.approle("approle", test.case, json!({})).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    sign(test, "constrained").await.map(drop)
}

/// The role of the AppRole documentation, with limited uses of tokens and secret IDs: idle time spends none of them.
pub(super) async fn limited_uses(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let limits = json!({
        "token_num_uses": 10,
        "token_ttl": "20m",
        "token_max_ttl": "30m",
        "secret_id_num_uses": 40,
    });
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, limits).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    sign(test, "first").await?;
    let before = uses(test, &path)?;
    // Two periodic checks.
    tokio::time::sleep(Duration::from_secs(130)).await;
    let spent = uses(test, &path)? - before;
    ensure!(spent == 0, "{spent} uses of the token in two minutes without requests");
    sign(test, "second").await?;
    let logins = test.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 1, "{logins} logins");
    Ok(())
}

/// Counts the requests with the case's tokens, or on its path.
fn uses(test: &TestNamespace<'_>, path: &str) -> anyhow::Result<usize> {
    let answers = test.env.vault.audit.answered()?;
    let counted = answers
        .iter()
        .filter(|answer| answer.role == test.case || answer.path == path);
    Ok(counted.count())
}

/// A role whose certificates have leases: the end of the issuer, and so of its token, revokes none of them.
pub(super) async fn leases(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({ "generate_lease": true })).await?;
    let serial = sign(test, "leased").await?;
    let mut local = test.env.local_servers().await?;
    local.stop_controller()?;
    local.start_controller().await?;
    drop(local);
    let certificate = test.env.vault.admin.read(&format!("pki/cert/{serial}")).await?;
    ensure!(
        certificate["revocation_time"] == json!(0),
        "the certificate was revoked: {}",
        certificate["revocation_time"]
    );
    Ok(())
}

/// An AppRole that needs no secret ID.
pub(super) async fn no_secret_id(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let open = json!({ "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.0/8"] });
    let role = format!("auth/approle/role/{}", test.case);
    let admin = &test.env.vault.admin;
    let mut params = json!({ "token_policies": test.policy(&[&path]).await?, "token_ttl": "1h" });
    if let (Value::Object(params), Value::Object(open)) = (&mut params, open) {
        params.extend(open);
    }
    admin.write(&role, params).await?;
    let id = admin.read(&format!("{role}/role-id")).await?["role_id"].clone();
    test.secret("approle", &[("secretId", "")]).await?;
    let auth = json!({ "appRole": { "path": "approle", "roleId": id, "secretRef": { "name": "approle" } } });
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    sign(test, "no-secret-id").await.map(drop)
}

/// A role with a fixed end of all certificates, which refuses requests with a lifetime.
pub(super) async fn not_after(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    test.signer(json!({ "not_after": end, "ttl": "0s", "max_ttl": "0s" }))
        .await?;
    sign(test, "fixed-end").await.map(drop)
}

/// Has a request signed; returns the serial number as Vault writes it.
async fn sign(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<String> {
    let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
    test.request(name, &csr.pem, Ask::default()).await?;
    let issued = test.issued(name, &csr, SOON).await?;
    // DER adds a zero byte before a first byte that would make the number negative.
    let serial = issued.leaf()?.raw_serial_as_string().replace(':', "-");
    Ok(serial.strip_prefix("00-").map_or_else(|| serial.clone(), Into::into))
}
