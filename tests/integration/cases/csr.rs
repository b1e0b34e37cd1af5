//! Certificate signing requests: what Go reads is sent to Vault as Go reads it.

use std::collections::BTreeMap;

use issuer_core::target::SignPath;
use issuer_core::vault::{Sign, SignError};
use issuer_core::{RequestSpec, SigningRequest, Step};
use serde_json::Value;

use super::{assert_complete, files, path};
use crate::hostile::pure;

/// Refused by Go, but not here: Vault reads the same bytes with Go, and says what is wrong.
const READ_ANYWAY: [&str; 1] = ["subject-cn-printable-with-at"];

/// Names that `sign/<role>` drops or refuses, whatever the role says.
const NOT_FOR_SIGN: [(&str, &str); 3] = [
    ("san-directoryname", "directoryName"),
    ("san-othername-hardwaremodulename", "otherName that is not a UTF8String"),
    ("san-upn-ia5", "otherName that is not a UTF8String"),
];

/// Reads what Go's `crypto/x509` makes of each file.
fn verdicts() -> BTreeMap<String, String> {
    let table = std::fs::read_to_string(path("csr/go-verdict.tsv")).unwrap();
    let rows = table.lines().map(|row| row.split_once('\t').unwrap());
    rows.map(|(name, verdict)| (name.to_owned(), verdict.to_owned()))
        .collect()
}

/// Returns the body of the request to Vault.
fn body(csr: &[u8], endpoint: &str) -> Result<Value, SignError> {
    let mut vault = pure::vault();
    let access = pure::check(&mut vault, None).unwrap();
    let spec = RequestSpec {
        csr,
        ..RequestSpec::default()
    };
    let signatures = issuer_tls::signatures();
    let wanted = SigningRequest::parse(spec, &signatures).unwrap();
    let path = SignPath::parse(endpoint).unwrap();
    match Sign::begin(&access.vault, &path, &access.lease, wanted, signatures) {
        Step::Send(request, _) => Ok(serde_json::from_slice(request.http.body().as_bytes()).unwrap()),
        Step::Done(result) => Err(result.unwrap_err()),
    }
}

#[test]
fn csrs_are_read_as_go_reads_them() {
    let (files, verdicts) = (files("csr", "pem"), verdicts());
    assert_complete(&files, verdicts.keys().map(String::as_str));
    for (name, csr) in &files {
        let spec = RequestSpec {
            csr,
            ..RequestSpec::default()
        };
        let parsed = SigningRequest::parse(spec, &issuer_tls::signatures());
        let expected = verdicts[name].starts_with("OK") || READ_ANYWAY.contains(&name.as_str());
        assert_eq!(parsed.is_ok(), expected, "{name}: {:?}", parsed.err());
    }
}

#[test]
fn vault_is_sent_what_go_reads() {
    let verdicts = verdicts();
    for (name, csr) in files("csr", "pem") {
        let verdict = &verdicts[&name];
        if !verdict.starts_with("OK") {
            continue;
        }
        let body = body(&csr, "pki/sign-verbatim/web").unwrap();
        let field = |from: &str, to: &str| verdict.split_once(from).unwrap().1.split_once(to).unwrap().0;
        assert_eq!(body["common_name"], field("cn=\"", "\""), "{name}");
        assert_eq!(
            body["uri_sans"].as_str().unwrap_or_default(),
            field("uri=[", "]"),
            "{name}"
        );
        assert_eq!(
            body["ip_sans"].as_str().unwrap_or_default(),
            field("ip=[", "]"),
            "{name}"
        );
    }
}

#[test]
fn names_that_sign_cannot_carry_are_refused_first() {
    let verdicts = verdicts();
    for (name, csr) in files("csr", "pem") {
        if !verdicts[&name].starts_with("OK") {
            continue;
        }
        let expected = NOT_FOR_SIGN.iter().find(|(file, _)| **file == name);
        let refused = body(&csr, "pki/sign/web").err().map(|error| error.to_string());
        let message = expected.map(|(_, kind)| {
            format!("pki/sign/web cannot issue a {kind}, which the CSR asks for; use a sign-verbatim endpoint")
        });
        assert_eq!(refused, message, "{name}");
    }
}
