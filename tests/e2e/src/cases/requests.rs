//! Requests that must not be signed, or not yet.

use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::CertificateRequest;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::servers::controller::NAMESPACE;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// A request without approval is not touched, and is signed once it is approved.
pub(super) async fn approval(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("waiting.example.com"))?;
    test.unapproved("waiting", &csr.pem, Ask::default()).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let request = test.api::<CertificateRequest>().get("waiting").await?;
    ensure!(
        request.status.unwrap_or_default().certificate.is_none(),
        "signed without approval"
    );
    ensure!(test.signatures(&path)? == 0, "signed without approval");
    test.decide("waiting", "Approved").await?;
    test.issued("waiting", &csr, SOON).await?;
    ensure!(test.signatures(&path)? == 1, "{} signatures", test.signatures(&path)?);
    Ok(())
}

/// A request that is both approved and denied is denied.
pub(super) async fn approved_and_denied(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("denied.example.com"))?;
    test.unapproved("denied", &csr.pem, Ask::default()).await?;
    test.decide("denied", "Denied").await?;
    test.failed("denied", "Denied").await?;
    test.decide("denied", "Approved").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    test.failed("denied", "Denied").await?;
    ensure!(test.signatures(&path)? == 0, "a denied request was signed");
    Ok(())
}

/// Malformed CSRs fail for good, with a reason and without a signature.
pub(super) async fn malformed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let good = Csr::new(&Names::common("good.example.com"))?.pem;
    let certificate = test.env.vault.root.clone();
    let truncated = good.replace("-----END", "AAAA\n-----END");
    for (name, csr) in [
        ("text", "not a CSR".to_owned()),
        ("certificate", certificate),
        (
            "garbage",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".to_owned(),
        ),
        ("trailing", truncated),
        ("signature", forged(&good)?),
    ] {
        test.request(name, &csr, Ask::default()).await?;
        let message = test.failed(name, "Failed").await.with_context(|| name.to_owned())?;
        ensure!(!message.is_empty() && message.len() < 1024, "{name}: {message:?}");
        let request = test.api::<CertificateRequest>().get(name).await?;
        ensure!(request.is("InvalidRequest"), "{name} has no condition InvalidRequest");
    }
    ensure!(test.signatures(&path)? == 0, "something was signed");
    Ok(())
}

/// Changes the last byte of a CSR, which belongs to its signature.
fn forged(pem: &str) -> anyhow::Result<String> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = STANDARD.decode(body)?;
    let last = der.last_mut().context("an empty CSR")?;
    *last ^= 1;
    let body = STANDARD.encode(der);
    Ok(format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"
    ))
}

/// A cluster issuer refuses the requests of a namespace that it neither names nor selects, for good, and says why; after a
/// correction it signs new ones.
pub(super) async fn allowed_namespaces(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let id = test.secret_id("approle").await?;
    test.secret_in(NAMESPACE, test.case, &[("secretId", &id)]).await?;
    let mut spec = test.spec(&path, auth);
    spec["auth"]["appRole"]["secretRef"] = json!({ "name": test.case });
    spec["allowedNamespaces"] = json!({ "names": ["elsewhere"] });
    test.cluster_issuer(spec.clone()).await?;
    test.cluster_ready().await?;
    let csr = Csr::new(&Names::common("www.example.com"))?;
    let ask = Ask {
        issuer: test.case,
        cluster: true,
        ..Ask::default()
    };
    test.request("refused", &csr.pem, ask).await?;
    let message = test.failed("refused", "Failed").await?;
    ensure!(
        message.contains(&format!("does not sign for namespace {}", test.namespace)),
        "{message}"
    );
    test.event("refused", "NamespaceNotAllowed").await?;
    ensure!(test.signatures(&path)? == 0, "a refused request was signed");

    spec["allowedNamespaces"] = json!({ "names": ["elsewhere", test.namespace] });
    test.cluster_issuer(spec.clone()).await?;
    test.cluster_ready().await?;
    test.request("signed", &csr.pem, ask).await?;
    test.issued("signed", &csr, SOON).await?;
    super::scope::selected_namespaces(test, spec).await
}

/// A name that the role refuses: the request fails for good, with Vault's reason.
pub(super) async fn refused_name(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let role = json!({ "allow_any_name": false, "allowed_domains": "example.com", "allow_subdomains": true });
    let path = test.signer(role).await?;
    let csr = Csr::new(&Names::common("www.example.net"))?;
    test.request("refused", &csr.pem, Ask::default()).await?;
    let message = test.failed("refused", "Failed").await?;
    ensure!(
        message.contains("www.example.net not allowed by this role"),
        "the message is {message:?}"
    );
    ensure!(
        !message.contains('\n') && message.len() < 1024,
        "the message is {message:?}"
    );
    test.event("refused", "SignRefused").await?;
    ensure!(test.signatures(&path)? == 0, "something was signed");
    Ok(())
}

/// A key that the role does not accept.
pub(super) async fn refused_key(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({ "key_type": "rsa" })).await?;
    let csr = Csr::new(&Names::common("www.example.com"))?;
    test.request("refused", &csr.pem, Ask::default()).await?;
    let message = test.failed("refused", "Failed").await?;
    ensure!(
        message.contains("role requires keys of type rsa"),
        "the message is {message:?}"
    );
    Ok(())
}

/// A role that silently drops a name: the certificate does not match the request and is refused.
pub(super) async fn mismatch(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    // Vault takes other names from the CSR only, if at all.
    test.signer(json!({ "use_csr_sans": false })).await?;
    let names = Names {
        upn: &["web@corp.example.com"],
        ..Names::common("www.example.com")
    };
    let csr = Csr::new(&names)?;
    test.request("dropped", &csr.pem, Ask::default()).await?;
    let message = test.failed("dropped", "Failed").await?;
    ensure!(message.contains("web@corp.example.com"), "the message is {message:?}");
    test.event("dropped", "CertificateMismatch").await?;
    Ok(())
}

/// The same role and an issuer that leaves names and lifetimes to Vault: the certificate is taken as it is.
pub(super) async fn vault_decides(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({ "use_csr_sans": false })).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let mut spec = test.spec(&path, auth);
    spec["verification"] = json!("vault");
    test.issuer("vault", spec).await?;
    test.ready("vault", SOON).await?;
    let csr = Csr::new(&Names {
        upn: &["web@corp.example.com"],
        ..Names::common("www.example.com")
    })?;
    test.request("taken", &csr.pem, Ask::default()).await?;
    let issued = test.issued("taken", &csr, SOON).await?;
    // The common name is no subject alternative name unless the CSR says so.
    ensure!(issued.names()?.is_empty(), "{:?}", issued.names()?);
    Ok(())
}

/// Requests for issuers of other groups are not touched, nor are those for a kind that does not exist.
pub(super) async fn foreign(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("foreign.example.com"))?;
    for (name, group, kind) in [
        ("other-group", "example.com", "VaultIssuer"),
        ("no-group", "", "VaultIssuer"),
        ("other-kind", "vault-issuer.io", "Issuer"),
    ] {
        let mut reference = json!({ "kind": kind, "name": "vault" });
        if !group.is_empty() {
            reference["group"] = json!(group);
        }
        test.apply(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "CertificateRequest",
            "metadata": { "name": name },
            "spec": { "request": STANDARD.encode(&csr.pem), "issuerRef": reference },
        }))
        .await?;
        test.decide(name, "Approved").await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for name in ["other-group", "no-group", "other-kind"] {
        let request = test.api::<CertificateRequest>().get(name).await?;
        ensure!(
            request.status.unwrap_or_default().certificate.is_none(),
            "{name} was signed"
        );
    }
    Ok(())
}
