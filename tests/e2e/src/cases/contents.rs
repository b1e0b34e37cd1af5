//! Certificates match their requests: keys, names, durations, CA flags, chains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::ensure;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::issued::{Issued, common_name};
use crate::pki::{Csr, Names};
use crate::servers::vault::text;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// RSA, ECDSA and Ed25519 keys.
pub(super) async fn keys(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    for (name, algorithm) in [
        ("rsa-2048", &rcgen::PKCS_RSA_SHA256),
        ("ecdsa-256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("ecdsa-384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("ed25519", &rcgen::PKCS_ED25519),
    ] {
        let key = KeyPair::generate_for(algorithm)?;
        let csr = Csr::with_key(&Names::common("key.example.com"), &key, false)?;
        test.request(name, &csr.pem, Ask::default()).await?;
        test.issued(name, &csr, SOON).await?.rooted_in(&test.env.vault.root)?;
    }
    Ok(())
}

/// DNS names, IP addresses, URIs, e-mail addresses and user principal names, if Vault takes them from the CSR.
pub(super) async fn names(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    let names = Names {
        upn: &["web@corp.example.com"],
        ..all("www.example.com")
    };
    named(test, &names, "other:1.3.6.1.4.1.311.20.2.3:web@corp.example.com").await
}

/// The same if the role takes only the key from the CSR: all names except the last are parameters.
pub(super) async fn names_as_parameters(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({ "use_csr_sans": false, "use_csr_common_name": false }))
        .await?;
    named(test, &all("www.example.com"), "").await
}

/// A request without a common name.
pub(super) async fn names_without_common_name(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    named(test, &all(""), "").await
}

/// Names of every kind that Vault takes from parameters as well as from a CSR.
fn all(common_name: &str) -> Names<'_> {
    const ADDRESSES: &[IpAddr] = &[
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
    ];
    Names {
        common_name,
        organization: "",
        dns: &["www.example.com", "*.example.org"],
        ip: ADDRESSES,
        uri: &["spiffe://example.org/ns/web"],
        email: &["web@example.com"],
        upn: &[],
    }
}

/// Requests these names, and checks that the certificate has all of them and no others.
async fn named(test: &TestNamespace<'_>, names: &Names<'_>, other: &str) -> anyhow::Result<()> {
    let csr = Csr::new(names)?;
    test.request("all", &csr.pem, Ask::default()).await?;
    let issued = test.issued("all", &csr, SOON).await?;
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

/// The requested duration is honored, within the limit of the role.
pub(super) async fn duration(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({ "max_ttl": "3h" })).await?;
    for (name, asked, hours) in [("within", "2h0m0s", 2), ("beyond", "48h0m0s", 3)] {
        let csr = Csr::new(&Names::common("duration.example.com"))?;
        let ask = Ask {
            duration: Some(asked),
            ..Ask::default()
        };
        test.request(name, &csr.pem, ask).await?;
        let lifetime = test.issued(name, &csr, SOON).await?.lifetime()?;
        // Vault backdates by half a minute.
        ensure!((lifetime - hours * 3600).abs() <= 60, "{asked} gives {lifetime} s");
    }
    Ok(())
}

/// A CA certificate is signed only if the path signs CAs and the request asks for one.
pub(super) async fn certificate_authority(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let leaves = test.role(json!({})).await?;
    let authorities = "pki/root/sign-intermediate";
    let auth = test
        .approle("approle", &test.policy(&[&leaves, authorities]).await?, json!({}))
        .await?;
    test.issuer("leaves", test.spec(&leaves, auth.clone())).await?;
    test.issuer("authorities", test.spec(authorities, auth)).await?;
    test.ready("leaves", SOON).await?;
    test.ready("authorities", SOON).await?;

    let ca = Csr::with_key(&Names::common("e2e subordinate"), &KeyPair::generate()?, true)?;
    let is_ca = Ask {
        is_ca: true,
        duration: Some("24h"),
        issuer: "authorities",
        ..Ask::default()
    };
    test.request("ca", &ca.pem, is_ca).await?;
    let issued = test.issued("ca", &ca, SOON).await?;
    issued.rooted_in(&test.env.vault.root)?;
    ensure!(issued.leaf()?.is_ca(), "no CA certificate");
    ensure!(issued.chain.len() == 1, "{:?}", issued.subjects()?);

    test.request(
        "ca-from-leaves",
        &ca.pem,
        Ask {
            issuer: "leaves",
            ..is_ca
        },
    )
    .await?;
    test.failed("ca-from-leaves", "Failed").await?;
    let leaf = Csr::new(&Names::common("leaf.example.com"))?;
    test.request("leaf-from-authorities", &leaf.pem, Ask { is_ca: false, ..is_ca })
        .await?;
    test.failed("leaf-from-authorities", "Failed").await?;
    Ok(())
}

/// An intermediate CA, with and without its root known to Vault.
pub(super) async fn intermediate(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let root = test.env.vault.root.clone();
    for (mount, chain) in [("e2e-int", vec![root.clone()]), ("e2e-int-alone", vec![])] {
        let signed = signed_intermediate(test, mount, "pki", "e2e intermediate").await?;
        import(test, mount, &[vec![signed.clone()], chain].concat()).await?;
        let issued = leaf_of(test, mount).await?;
        if mount == "e2e-int" {
            ensure!(
                issued.subjects()? == ["leaf.example.com", "e2e intermediate"],
                "{:?}",
                issued.subjects()?
            );
            issued.rooted_in(&root)?;
        } else {
            // Without the root, the highest certificate that Vault knows takes its place.
            issued.rooted_in(&signed)?;
        }
    }
    Ok(())
}

/// A CA with certificates of two roots: the chain follows one of them.
pub(super) async fn cross_signed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let (first, mount) = (test.env.vault.root.clone(), "e2e-cross");
    let second = test.env.vault.admin.root("e2e-other-root", "e2e other root").await?;
    let (one, csr) = intermediate_of(test, mount, "pki", "e2e cross-signed").await?;
    let other = sign_intermediate(test, "e2e-other-root", &csr).await?;
    import(test, mount, &[one, first.clone(), other, second.clone()]).await?;
    let issued = leaf_of(test, mount).await?;
    ensure!(
        issued.subjects()? == ["leaf.example.com", "e2e cross-signed"],
        "{:?}",
        issued.subjects()?
    );
    issued.rooted_in(&first).or_else(|_| issued.rooted_in(&second))
}

/// Signs a leaf with an issuer named after the mount.
async fn leaf_of(test: &TestNamespace<'_>, mount: &str) -> anyhow::Result<Issued> {
    let path = test.role_in(mount, json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.issuer(mount, test.spec(&path, auth)).await?;
    test.ready(mount, SOON).await?;
    let csr = Csr::new(&Names::common("leaf.example.com"))?;
    test.request(
        mount,
        &csr.pem,
        Ask {
            issuer: mount,
            ..Ask::default()
        },
    )
    .await?;
    test.issued(mount, &csr, SOON).await
}

/// Mounts a PKI engine whose key another mount certifies; returns the certificate.
async fn signed_intermediate(
    test: &TestNamespace<'_>,
    mount: &str,
    parent: &str,
    name: &str,
) -> anyhow::Result<String> {
    intermediate_of(test, mount, parent, name)
        .await
        .map(|(certificate, _)| certificate)
}

/// The same, with the CSR that was signed.
async fn intermediate_of(
    test: &TestNamespace<'_>,
    mount: &str,
    parent: &str,
    name: &str,
) -> anyhow::Result<(String, String)> {
    let admin = &test.env.vault.admin;
    admin.mount(mount).await?;
    let body = json!({ "common_name": name, "key_type": "ec", "key_bits": 256 });
    let answer = admin
        .write(&format!("{mount}/intermediate/generate/internal"), body)
        .await?;
    let csr = text(&answer["data"]["csr"])?;
    Ok((sign_intermediate(test, parent, &csr).await?, csr))
}

async fn sign_intermediate(test: &TestNamespace<'_>, parent: &str, csr: &str) -> anyhow::Result<String> {
    let body = json!({ "csr": csr, "ttl": "43800h", "use_csr_values": true });
    let answer = test
        .env
        .vault
        .admin
        .write(&format!("{parent}/root/sign-intermediate"), body)
        .await?;
    text(&answer["data"]["certificate"])
}

/// Imports certificates into a mount; the first one signs.
async fn import(test: &TestNamespace<'_>, mount: &str, certificates: &[String]) -> anyhow::Result<()> {
    let admin = &test.env.vault.admin;
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
