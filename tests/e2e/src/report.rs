//! The report on a failed case, and the scan of all output for secrets.

use std::fmt::Write as _;

use anyhow::ensure;
use issuer_api::{CertificateRequest, IssuerStatus, VaultClusterIssuer, VaultIssuer};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::servers::env::Env;
use crate::test_namespace::TestNamespace;

/// Returns the conditions of a case's objects, their events, and the end of the controller's log.
pub(super) async fn details(env: &Env, case: &'static str) -> String {
    let test = TestNamespace {
        env,
        case,
        namespace: format!("e2e-{case}"),
    };
    let mut text = objects(&test)
        .await
        .unwrap_or_else(|error| format!("no objects: {error:#}\n"));
    match env.controller_log(case).await {
        Ok(log) => {
            let lines: Vec<&str> = log.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(40)) {
                let _ = writeln!(text, "  | {line}");
            }
        }
        Err(error) => {
            let _ = writeln!(text, "no log: {error:#}");
        }
    }
    text
}

async fn objects(test: &TestNamespace<'_>) -> anyhow::Result<String> {
    let all = ListParams::default();
    let mut text = String::new();
    for issuer in test.api::<VaultIssuer>().list(&all).await? {
        issuer_line(&mut text, "VaultIssuer", issuer.metadata.name, issuer.status.as_ref())?;
    }
    let clusters: Api<VaultClusterIssuer> = Api::all(test.env.client.clone());
    if let Some(issuer) = clusters.get_opt(test.case).await? {
        issuer_line(
            &mut text,
            "VaultClusterIssuer",
            issuer.metadata.name,
            issuer.status.as_ref(),
        )?;
    }
    for request in test.api::<CertificateRequest>().list(&all).await? {
        let name = request.metadata.name.unwrap_or_default();
        for c in request.status.unwrap_or_default().conditions {
            let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
            writeln!(
                text,
                "  CertificateRequest {name}: {}={} {reason} {message:?}",
                c.kind, c.status
            )?;
        }
    }
    for event in test.api::<Event>().list(&all).await? {
        let object = event.involved_object;
        let (kind, name) = (object.kind.unwrap_or_default(), object.name.unwrap_or_default());
        let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        writeln!(text, "  event on {kind} {name}: {reason} {message:?}")?;
    }
    Ok(text)
}

fn issuer_line(
    text: &mut String,
    kind: &str,
    name: Option<String>,
    status: Option<&IssuerStatus>,
) -> anyhow::Result<()> {
    let name = name.unwrap_or_default();
    match status.and_then(IssuerStatus::ready) {
        None => writeln!(text, "  {kind} {name}: no Ready condition")?,
        Some(c) => writeln!(
            text,
            "  {kind} {name}: Ready={:?} {} {:?}",
            c.status, c.reason, c.message
        )?,
    }
    Ok(())
}

/// Checks that the case's issuers, requests and events and the controller's log contain no secret.
pub(super) async fn no_secrets(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let all = ListParams::default();
    let mut texts = vec![test.env.controller_log(test.case).await?];
    texts.push(serde_json::to_string(
        &test.api::<VaultIssuer>().list(&all).await?.items,
    )?);
    texts.push(serde_json::to_string(
        &test.api::<CertificateRequest>().list(&all).await?.items,
    )?);
    texts.push(serde_json::to_string(&test.api::<Event>().list(&all).await?.items)?);
    for secret in test.env.canaries() {
        // A file is recognized by its longest line.
        let line = secret
            .lines()
            .map(str::trim)
            .max_by_key(|line| line.len())
            .unwrap_or_default();
        ensure!(
            line.len() < 8 || !texts.iter().any(|text| text.contains(line)),
            "a secret is in a log or an object"
        );
    }
    // The prefixes of Vault tokens and of JSON web tokens.
    for prefix in ["hvs.", "hvb.", "eyJhbGciOi"] {
        ensure!(
            !texts.iter().any(|text| text.contains(prefix)),
            "a token is in a log or an object"
        );
    }
    Ok(())
}
