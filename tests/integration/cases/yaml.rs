//! Objects that the API server admits: each can be read, and is accepted or refused for a reason of its own.

use issuer_api::{CertificateRequest, VaultIssuer};
use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::target::{IssuerPolicy, SpecError, Target};
use issuer_core::{RequestSpec, SigningRequest};
use serde_json::Value;

use super::{assert_complete, files};

/// Reads the objects of a file.
fn objects(file: &[u8]) -> Vec<Value> {
    serde_saphyr::from_multiple(std::str::from_utf8(file).unwrap()).unwrap()
}

/// Returns the issuer that a request refers to, and whether the request can be signed.
fn request(object: Value) -> (Option<IssuerKey>, bool) {
    let request: CertificateRequest = serde_json::from_value(object).unwrap();
    let csr = request.spec.request.decode().unwrap();
    let spec = RequestSpec {
        csr: &csr,
        duration: request.spec.duration.as_deref(),
        is_ca: request.spec.is_ca,
        usages: &request.spec.usages,
        ..RequestSpec::default()
    };
    let parsed = SigningRequest::parse(spec, &issuer_tls::signatures());
    let namespace = request.metadata.namespace.as_deref().unwrap();
    (IssuerKey::of(&request.spec.issuer_ref, namespace), parsed.is_ok())
}

#[test]
fn requests_are_read_and_accepted() {
    // Whether the reference names an issuer of ours.
    let table = [
        ("request-base64-trailing-bits", true),
        ("request-challenge-password-ia5", true),
        ("request-directoryname", true),
        ("request-duration-0s", true),
        ("request-uri-uppercase-scheme", true),
        ("request-wrong-kind", false),
        ("requests-poison-sign-verbatim", true),
    ];
    let mut files = files("yaml", "yaml");
    files.retain(|name, _| name.starts_with("request"));
    assert_complete(&files, table.iter().map(|(name, _)| *name));
    for (name, is_ours) in table {
        for object in objects(&files[name]) {
            let (issuer, is_accepted) = request(object);
            assert_eq!((issuer.is_some(), is_accepted), (is_ours, true), "{name}");
        }
    }
}

#[test]
fn issuers_are_read_and_accepted() {
    let table: [(&str, Result<&str, SpecError>); 3] = [
        ("issuer-cabundle-trailing-bits", Ok("pki/sign/web")),
        ("issuer-cel", Ok("pki/cel/sign/web")),
        ("issuer-external-policy", Ok("pki/external-policy/sign")),
    ];
    let mut files = files("yaml", "yaml");
    files.retain(|name, _| name.starts_with("issuer"));
    assert_complete(&files, table.iter().map(|(name, _)| *name));
    for (name, expected) in table {
        let [object] = <[Value; 1]>::try_from(objects(&files[name])).unwrap();
        let issuer: VaultIssuer = serde_json::from_value(object).unwrap();
        let key = IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: issuer.metadata.namespace.as_deref().unwrap().into(),
            name: issuer.metadata.name.as_deref().unwrap().into(),
        };
        let target = Target::parse(&issuer.spec, &key, &key.namespace, &IssuerPolicy::default());
        let path = target.as_ref().map(|target| target.path.as_str());
        assert_eq!(path, expected.as_ref().copied(), "{name}");
    }
}
