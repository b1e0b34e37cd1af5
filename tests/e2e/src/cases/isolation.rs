//! One object costs one object: what the API server admits and what Vault answers to one request delay no other.

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::CertificateRequest;
use kube::api::DeleteParams;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// Objects that the API server admits although strict decoders reject them: other requests are signed all the same, also
/// after a restart of the controller, which lists all objects.
pub(super) async fn odd_objects(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let mut spec = test.spec(&path, json!({ "clientCertificate": {} }));
    spec["caBundle"] = json!("QR==");
    test.issuer("odd", spec).await?;
    let odd = Csr::new(&Names::common("odd.example.com"))?;
    test.request_encoded("odd", &with_trailing_bits(&odd.pem)?, Ask::default())
        .await?;
    test.issued("odd", &odd, SOON).await?;
    good(test, "before").await?;

    let mut local = test.env.local_servers().await?;
    local.stop_controller()?;
    test.request_encoded("waiting", &with_trailing_bits(&odd.pem)?, Ask::default())
        .await?;
    local.start_controller().await?;
    drop(local);
    good(test, "after").await?;
    test.issued("waiting", &odd, SOON).await?;
    test.unready("odd", "InvalidSpec", SOON).await
}

/// Requests to which Vault answers 500: another request of the same issuer is signed, and the issuer stays ready.
pub(super) async fn poison(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.sign_verbatim().await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    for number in 0..12 {
        let csr = Csr::with_unknown_critical_extension(&format!("poison-{number}.example.com"))?;
        test.request(&format!("poison-{number}"), &csr.pem, Ask::default())
            .await?;
    }
    test.pending("poison-0").await?;
    for number in 0..5 {
        good(test, &format!("good-{number}")).await?;
        test.ready("vault", SOON).await?;
    }
    Ok(())
}

/// A kind that does not exist in our group: the request is pending and says so.
pub(super) async fn unknown_kind(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("kind.example.com"))?;
    test.apply(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": { "name": "kind" },
        "spec": {
            "request": STANDARD.encode(&csr.pem),
            "issuerRef": { "group": "vault-issuer.io", "kind": "ClusterIssuer", "name": "vault" },
        },
    }))
    .await?;
    test.decide("kind", "Approved").await?;
    let message = test.pending("kind").await?;
    ensure!(message.contains("VaultClusterIssuer"), "{message:?}");
    good(test, "good").await
}

/// Many requests wait for an issuer that does not exist, also across a restart: another issuer signs at once.
pub(super) async fn waiting_crowd(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("crowd.example.com"))?;
    let ask = Ask {
        issuer: "missing",
        ..Ask::default()
    };
    for number in 0..200 {
        test.request(&format!("crowd-{number}"), &csr.pem, ask).await?;
    }
    good(test, "during").await?;
    let mut local = test.env.local_servers().await?;
    local.stop_controller()?;
    local.start_controller().await?;
    drop(local);
    good(test, "after").await?;
    let signatures = test.signatures(&path)?;
    ensure!(signatures == 2, "{signatures} signatures");
    let requests = test.api::<CertificateRequest>();
    requests
        .delete_collection(&DeleteParams::default(), &Default::default())
        .await
        .context("cannot delete the requests")?;
    Ok(())
}

/// Has a new request signed.
async fn good(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<()> {
    let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
    test.request(name, &csr.pem, Ask::default()).await?;
    test.issued(name, &csr, LATER).await.map(drop)
}

/// Encodes a text in Base64 whose last symbol has bits set that do not belong to any byte, which Go ignores.
fn with_trailing_bits(text: &str) -> anyhow::Result<String> {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = text.to_owned();
    while text.len() % 3 != 1 {
        text.push('\n');
    }
    let mut encoded = STANDARD.encode(text).into_bytes();
    let last = encoded.iter().rposition(|symbol| *symbol != b'=').context("no text")?;
    let value = SYMBOLS
        .iter()
        .position(|symbol| *symbol == encoded[last])
        .context("no symbol")?;
    encoded[last] = SYMBOLS[value | 1];
    Ok(String::from_utf8(encoded)?)
}

#[cfg(test)]
mod tests {
    use base64::alphabet;
    use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

    use super::*;

    #[test]
    fn only_lenient_decoders_read_trailing_bits() {
        for text in ["a", "ab", "abc"] {
            let encoded = with_trailing_bits(text).unwrap();
            STANDARD.decode(&encoded).unwrap_err();
            let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
            let decoded = GeneralPurpose::new(&alphabet::STANDARD, config)
                .decode(&encoded)
                .unwrap();
            assert_eq!(String::from_utf8(decoded).unwrap().trim_end(), text);
        }
    }
}
