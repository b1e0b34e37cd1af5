//! What is asked for is what comes: keys, names, durations, CA flags, chains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::ensure;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::issued::{Issued, common_name};
use crate::pki::{Csr, Names};
use crate::servers::vault::text;
use crate::test_namespace::{Ask, SOON, Stage};

/// RSA, ECDSA and Ed25519 keys.
pub(super) async fn keys(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.signer(json!({})).await?;
    for (name, algorithm) in [
        ("rsa-2048", &rcgen::PKCS_RSA_SHA256),
        ("ecdsa-256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("ecdsa-384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("ed25519", &rcgen::PKCS_ED25519),
    ] {
        let key = KeyPair::generate_for(algorithm)?;
        let csr = Csr::with_key(&Names::common("key.example.com"), &key, false)?;
        stage.request(name, &csr.pem, Ask::default()).await?;
        stage.issued(name, &csr, SOON).await?.rooted_in(&stage.env.vault.root)?;
    }
    Ok(())
}

/// DNS names, IP addresses, URIs, e-mail addresses and user principal names, where Vault takes them from the CSR.
pub(super) async fn names(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.signer(json!({})).await?;
    let names = Names {
        upn: &["web@corp.example.com"],
        ..all("www.example.com")
    };
    named(stage, &names, "other:1.3.6.1.4.1.311.20.2.3:web@corp.example.com").await
}

/// The same where the role takes nothing from the CSR but its key: all names but the last are in the parameters.
pub(super) async fn names_as_parameters(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage
        .signer(json!({ "use_csr_sans": false, "use_csr_common_name": false }))
        .await?;
    named(stage, &all("www.example.com"), "").await
}

/// A request without a common name.
pub(super) async fn names_without_common_name(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.signer(json!({})).await?;
    named(stage, &all(""), "").await
}

/// Names of every kind that Vault takes from parameters as well as from a CSR.
fn all(common_name: &str) -> Names<'_> {
    const ADDRESSES: &[IpAddr] = &[
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
    ];
    Names {
        common_name,
        dns: &["www.example.com", "*.example.org"],
        ip: ADDRESSES,
        uri: &["spiffe://example.org/ns/web"],
        email: &["web@example.com"],
        upn: &[],
    }
}

/// Has these names signed, and checks that the certificate bears them all and no others.
async fn named(stage: &Stage<'_>, names: &Names<'_>, other: &str) -> anyhow::Result<()> {
    let csr = Csr::new(names)?;
    stage.request("all", &csr.pem, Ask::default()).await?;
    let issued = stage.issued("all", &csr, SOON).await?;
    ensure!(
        common_name(&issued.leaf()?) == names.common_name,
        "the common name is {}",
        common_name(&issued.leaf()?)
    );
    let wanted = [
        "dns:*.example.org",
        "dns:www.example.com",
        "email:web@example.com",
        "ip:192.0.2.7",
        "ip:2001:db8::7",
        other,
        "uri:spiffe://example.org/ns/web",
    ];
    let wanted: Vec<&str> = wanted.into_iter().filter(|name| !name.is_empty()).collect();
    ensure!(issued.names()? == wanted, "the names are {:?}", issued.names()?);
    Ok(())
}

/// The duration asked for is honoured, and capped where the role does so.
pub(super) async fn duration(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.signer(json!({ "max_ttl": "3h" })).await?;
    for (name, asked, hours) in [("within", "2h0m0s", 2), ("beyond", "48h0m0s", 3)] {
        let csr = Csr::new(&Names::common("duration.example.com"))?;
        let ask = Ask {
            duration: Some(asked),
            ..Ask::default()
        };
        stage.request(name, &csr.pem, ask).await?;
        let lifetime = stage.issued(name, &csr, SOON).await?.lifetime()?;
        // Vault backdates by half a minute.
        ensure!((lifetime - hours * 3600).abs() <= 60, "{asked} gives {lifetime} s");
    }
    Ok(())
}

/// A CA certificate is signed where the path says so and the request asks for one, and nowhere else.
pub(super) async fn certificate_authority(stage: &Stage<'_>) -> anyhow::Result<()> {
    let leaves = stage.role(json!({})).await?;
    let authorities = "pki/root/sign-intermediate";
    let auth = stage
        .approle("approle", &stage.policy(&[&leaves, authorities]).await?, json!({}))
        .await?;
    stage.issuer("leaves", stage.spec(&leaves, auth.clone())).await?;
    stage.issuer("authorities", stage.spec(authorities, auth)).await?;
    stage.ready("leaves", SOON).await?;
    stage.ready("authorities", SOON).await?;

    let ca = Csr::with_key(&Names::common("e2e subordinate"), &KeyPair::generate()?, true)?;
    let is_ca = Ask {
        is_ca: true,
        duration: Some("24h"),
        issuer: "authorities",
        ..Ask::default()
    };
    stage.request("ca", &ca.pem, is_ca).await?;
    let issued = stage.issued("ca", &ca, SOON).await?;
    issued.rooted_in(&stage.env.vault.root)?;
    ensure!(issued.leaf()?.is_ca(), "no CA certificate");
    ensure!(issued.chain.len() == 1, "{:?}", issued.subjects()?);

    stage
        .request(
            "ca-from-leaves",
            &ca.pem,
            Ask {
                issuer: "leaves",
                ..is_ca
            },
        )
        .await?;
    stage.failed("ca-from-leaves", "Failed").await?;
    let leaf = Csr::new(&Names::common("leaf.example.com"))?;
    stage
        .request("leaf-from-authorities", &leaf.pem, Ask { is_ca: false, ..is_ca })
        .await?;
    stage.failed("leaf-from-authorities", "Failed").await?;
    Ok(())
}

/// An intermediate CA, with and without its root known to Vault.
pub(super) async fn intermediate(stage: &Stage<'_>) -> anyhow::Result<()> {
    let root = stage.env.vault.root.clone();
    for (mount, chain) in [("e2e-int", vec![root.clone()]), ("e2e-int-alone", vec![])] {
        let signed = signed_intermediate(stage, mount, "pki", "e2e intermediate").await?;
        import(stage, mount, &[vec![signed.clone()], chain].concat()).await?;
        let issued = leaf_of(stage, mount).await?;
        if mount == "e2e-int" {
            ensure!(
                issued.subjects()? == ["leaf.example.com", "e2e intermediate"],
                "{:?}",
                issued.subjects()?
            );
            issued.rooted_in(&root)?;
        } else {
            // The highest certificate that Vault knows stands in for the root.
            issued.rooted_in(&signed)?;
        }
    }
    Ok(())
}

/// A CA with certificates from two roots: one straight way up is taken, the other is left out.
pub(super) async fn cross_signed(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (first, mount) = (stage.env.vault.root.clone(), "e2e-cross");
    let second = stage.env.vault.admin.root("e2e-other-root", "e2e other root").await?;
    let (one, csr) = intermediate_of(stage, mount, "pki", "e2e cross-signed").await?;
    let other = sign_intermediate(stage, "e2e-other-root", &csr).await?;
    import(stage, mount, &[one, first.clone(), other, second.clone()]).await?;
    let issued = leaf_of(stage, mount).await?;
    ensure!(
        issued.subjects()? == ["leaf.example.com", "e2e cross-signed"],
        "{:?}",
        issued.subjects()?
    );
    issued.rooted_in(&first).or_else(|_| issued.rooted_in(&second))
}

/// Signs a leaf with an issuer for a mount, which bears the mount's name.
async fn leaf_of(stage: &Stage<'_>, mount: &str) -> anyhow::Result<Issued> {
    let path = stage.role_in(mount, json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    stage.issuer(mount, stage.spec(&path, auth)).await?;
    stage.ready(mount, SOON).await?;
    let csr = Csr::new(&Names::common("leaf.example.com"))?;
    stage
        .request(
            mount,
            &csr.pem,
            Ask {
                issuer: mount,
                ..Ask::default()
            },
        )
        .await?;
    stage.issued(mount, &csr, SOON).await
}

/// Mounts a PKI engine whose key is certified by another; the certificate.
async fn signed_intermediate(stage: &Stage<'_>, mount: &str, parent: &str, name: &str) -> anyhow::Result<String> {
    intermediate_of(stage, mount, parent, name)
        .await
        .map(|(certificate, _)| certificate)
}

/// The same, with the CSR that was signed.
async fn intermediate_of(stage: &Stage<'_>, mount: &str, parent: &str, name: &str) -> anyhow::Result<(String, String)> {
    let admin = &stage.env.vault.admin;
    admin.mount(mount).await?;
    let body = json!({ "common_name": name, "key_type": "ec", "key_bits": 256 });
    let answer = admin
        .write(&format!("{mount}/intermediate/generate/internal"), body)
        .await?;
    let csr = text(&answer["data"]["csr"])?;
    Ok((sign_intermediate(stage, parent, &csr).await?, csr))
}

async fn sign_intermediate(stage: &Stage<'_>, parent: &str, csr: &str) -> anyhow::Result<String> {
    let body = json!({ "csr": csr, "ttl": "43800h", "use_csr_values": true });
    let answer = stage
        .env
        .vault
        .admin
        .write(&format!("{parent}/root/sign-intermediate"), body)
        .await?;
    text(&answer["data"]["certificate"])
}

/// Gives a mount its certificates; the first is the one that signs.
async fn import(stage: &Stage<'_>, mount: &str, certificates: &[String]) -> anyhow::Result<()> {
    let admin = &stage.env.vault.admin;
    let bundle = json!({ "certificate": certificates.join("\n") });
    let answer = admin.write(&format!("{mount}/intermediate/set-signed"), bundle).await?;
    let keys: &Value = &answer["data"]["mapping"];
    let signs = |id: &&Value| {
        keys[id.as_str().unwrap_or_default()]
            .as_str()
            .is_some_and(|key| !key.is_empty())
    };
    let first = answer["data"]["imported_issuers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(signs);
    if let Some(first) = first {
        admin
            .write(&format!("{mount}/config/issuers"), json!({ "default": first }))
            .await?;
    }
    Ok(())
}
