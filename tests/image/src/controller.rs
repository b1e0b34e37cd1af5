//! The controller's image.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{Image, Layer};

use crate::compile::Architecture;

/// The version of the controller, which is that of all packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the image's files: the binary and the certificates of the public CAs, no shell, no libraries.
pub(crate) fn files(binary: &Path) -> Layer {
    Layer::default()
        .file("etc/ssl/certs/ca-certificates.crt", 0o644, certificates())
        .file("usr/local/bin/vault-issuer", 0o755, binary.to_owned())
}

/// Returns Mozilla's list of CA certificates, of the version that `Cargo.lock` pins, so that no two machines differ.
fn certificates() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text += "-----BEGIN CERTIFICATE-----\n";
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

/// Returns the image, with the settings of `deploy/Dockerfile`.
pub(crate) fn image(name: &str, revision: &str, architecture: Architecture, layer: Layer) -> Image {
    let labels = [
        (
            "description",
            "A cert-manager issuer that signs certificates with HashiCorp Vault or OpenBao",
        ),
        ("licenses", "Apache-2.0"),
        ("revision", revision),
        ("source", "https://github.com/vault-issuer/vault-issuer"),
        ("title", "vault-issuer"),
        ("version", VERSION),
    ];
    let labels = labels.map(|(label, value)| (format!("org.opencontainers.image.{label}"), value.to_owned()));
    Image {
        name: format!("{name}:{VERSION}"),
        architecture: architecture.name(),
        user: "65532:65532",
        entrypoint: vec!["/usr/local/bin/vault-issuer".into()],
        command: vec!["controller".into()],
        labels: BTreeMap::from(labels),
        layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_pem() {
        let text = certificates();
        let count = text.matches("-----BEGIN CERTIFICATE-----\nMII").count();
        assert!(count > 100, "{count} certificates");
        assert_eq!(count, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn dockerfile_has_same_settings() {
        let dockerfile = std::fs::read_to_string(xtask::root().join("deploy/Dockerfile")).unwrap();
        let image = image("example.com/a", "", Architecture::Amd64, Layer::default());
        for (label, value) in &image.labels {
            let line = match label.as_str() {
                "org.opencontainers.image.revision" => format!("{label}=\"$REVISION\""),
                _ => format!("{label}=\"{value}\""),
            };
            assert!(dockerfile.contains(&line), "{line}");
        }
        for line in [
            "FROM scratch".to_owned(),
            format!("USER {}", image.user),
            format!("ENTRYPOINT {:?}", image.entrypoint),
            format!("CMD {:?}", image.command),
        ] {
            assert!(dockerfile.lines().any(|found| found == line), "{line}");
        }
    }
}
