//! Answers of Vault, and of CAs behind it.

use std::time::Duration;

use issuer_core::{Issued, Now, RequestSpec, SigningRequest, SizeLimits, VerifyError, VerifyOptions, verify};
use serde_json::Value;

use super::{assert_complete, files};

/// 2026-11-28T01:28:00Z, when the answers were made.
const NOW: Now = Now {
    monotonic: Duration::ZERO,
    unix: Duration::from_secs(1_795_829_280),
};

/// How many certificates `tls.crt` holds and whether `ca.crt` is a root, or the error.
type Outcome = Result<(usize, bool), VerifyError>;

fn missing(name: &str) -> Outcome {
    Err(VerifyError::MissingName(name.to_owned()))
}

fn outcome(answer: &Value, limits: SizeLimits) -> Outcome {
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    let csr = &files("csr", "pem")[&text("csr_file")];
    let signatures = issuer_tls::signatures();
    let spec = RequestSpec {
        csr,
        ..RequestSpec::default()
    };
    let wanted = SigningRequest::parse(spec, &signatures).unwrap();
    let issued = Issued {
        certificate: text("certificate"),
        issuing_ca: Some(text("issuing_ca")),
        ca_chain: serde_json::from_value(answer["ca_chain"].clone()).unwrap(),
        is_leased: false,
    };
    let verified = verify(
        &wanted,
        &issued,
        NOW,
        &VerifyOptions {
            limits,
            ..signatures.into()
        },
    )?;
    let chain = verified.chain();
    let count = chain.certificate.matches("-----BEGIN CERTIFICATE-----").count();
    // A root is not repeated in the chain.
    let is_root = chain.ca.as_ref().is_some_and(|ca| !chain.certificate.contains(ca));
    Ok((count, is_root))
}

#[test]
fn answers_have_their_outcomes() {
    let limits = SizeLimits::default();
    let table: [(&str, Outcome); 9] = [
        ("ca-p224", Ok((1, true))),
        ("good", Ok((1, true))),
        ("int-under-rsa1024-root", Ok((2, true))),
        ("large", Err(VerifyError::TooLarge(limits))),
        ("san-directoryname", missing("directoryName")),
        ("san-underscore-params", missing("DNS name _sip.example.com")),
        ("uri-space-in-path", Ok((1, true))),
        ("uri-uppercase-scheme", Ok((1, true))),
        (
            "year",
            Err(VerifyError::TooLong("2027-11-28T01:26:03Z".parse().unwrap())),
        ),
    ];
    let files = files("chain", "json");
    assert_complete(&files, table.iter().map(|(name, _)| *name));
    for (name, expected) in table {
        let answer: Value = serde_json::from_slice(&files[name]).unwrap();
        assert_eq!(outcome(&answer, limits), expected, "{name}");
    }
}

#[test]
fn raised_limits_admit_large_chains() {
    let large: Value = serde_json::from_slice(&files("chain", "json")["large"]).unwrap();
    let limits = SizeLimits {
        certificate: 65_536,
        chain: 262_144,
    };
    assert_eq!(outcome(&large, limits), Ok((2, true)));
}
