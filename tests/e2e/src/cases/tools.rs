//! Tools for people: `vault-issuer check`, `vault-issuer sign`, kubectl, and the metrics page.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::ensure;
use serde_json::json;

use crate::issued::Issued;
use crate::pki::{Csr, Names};
use crate::servers::cluster::ADMIN;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// `check` reports each step and `sign` signs, with an issuer in the cluster.
pub(super) async fn binary(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let (good, output) = run(test, &["check", "vaultissuer/vault"]).await?;
    ensure!(good && output.contains("can sign"), "check says {output}");

    let dir = test.env.local_servers().await?.dir.clone();
    let file = |name: &str| dir.join(name).display().to_string();
    let csr = Csr::new(&Names::common("tools.example.com"))?;
    std::fs::write(dir.join("tools.csr"), &csr.pem)?;
    let (csr_file, certificate, ca) = (file("tools.csr"), file("tools.crt"), file("tools-ca.crt"));
    let arguments = [
        "sign",
        "vaultissuer/vault",
        "--csr",
        &csr_file,
        "--output",
        &certificate,
        "--ca-out",
        &ca,
    ];
    let (good, output) = run(test, &arguments).await?;
    ensure!(good, "sign says {output}");
    let issued = Issued::parse(&std::fs::read(certificate)?, &std::fs::read(ca)?)?;
    issued.verify(&csr.spki)?;
    issued.rooted_in(&test.env.vault.root)?;

    test.env.vault.admin.delete(&path.replace("/sign/", "/roles/")).await?;
    let (good, output) = run(test, &["check", "vaultissuer/vault"]).await?;
    ensure!(!good && output.contains("RoleNotFound"), "check says {output}");
    Ok(())
}

/// Runs the binary as an administrator; returns whether it succeeded, and its output.
pub(super) async fn run(test: &TestNamespace<'_>, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    run_with(test, arguments, &[]).await
}

/// Runs the binary as an administrator in an environment with these variables.
pub(super) async fn run_with(
    test: &TestNamespace<'_>,
    arguments: &[&str],
    variables: &[(&str, String)],
) -> anyhow::Result<(bool, String)> {
    let (binary, kubeconfig) = {
        let local = test.env.local_servers().await?;
        (local.binary.path.clone(), local.cluster.kubeconfig(ADMIN))
    };
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .args(["--namespace", &test.namespace])
        .env("KUBECONFIG", kubeconfig)
        .envs(variables.iter().map(|(name, value)| (*name, value)));
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status.success(), text(stdout) + &text(stderr)))
}

/// The API server accepts every manifest below `deploy/` and knows every field.
pub(super) async fn manifests(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let (kubectl, kubeconfig) = {
        let local = test.env.local_servers().await?;
        (local.kubectl.clone(), local.cluster.kubeconfig(ADMIN))
    };
    let apply = |arguments: &[&str]| {
        let mut command = Command::new(&kubectl);
        command
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["apply", "--validate=strict"])
            .args(arguments);
        xtask::process::read(&mut command)
    };
    apply(&[
        "--dry-run=server",
        "--force-conflicts",
        "--server-side",
        "--kustomize",
        "deploy",
    ])?;
    // The namespaces of the examples are the users'.
    for file in std::fs::read_dir("deploy/examples")? {
        let path = file?.path();
        let text = namespaced(&std::fs::read_to_string(&path)?, &test.namespace);
        let copy = kubeconfig.with_file_name(path.file_name().unwrap_or_else(|| "example".as_ref()));
        std::fs::write(&copy, text)?;
        apply(&["--dry-run=server", "--filename", &copy.display().to_string()])?;
        std::fs::remove_file(Path::new(&copy))?;
    }
    Ok(())
}

/// Moves manifests to another namespace.
fn namespaced(text: &str, namespace: &str) -> String {
    let line = |line: &str| match line.split_once("namespace: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}namespace: {namespace}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The metrics count signatures and logins, and contain no secret.
pub(super) async fn metrics(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("metrics.example.com"))?;
    test.request("counted", &csr.pem, Ask::default()).await?;
    test.issued("counted", &csr, SOON).await?;
    let page = test.env.local_servers().await?.controller()?.metrics().await?;
    // Labels are in alphabetical order.
    let issued = format!(r#",issuer_namespace="{}",outcome="issued"}}"#, test.namespace);
    let value = |series: &str| {
        let mut samples = page.lines().filter(|line| !line.starts_with('#'));
        let line = samples.find(|line| line.contains(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .unwrap_or_default()
    };
    for series in [
        issued.as_str(),
        r#"vault_issuer_vault_requests_total{operation="sign",outcome="ok"}"#,
        "vault_issuer_leader ",
        r#"rest_client_requests_total{code="200""#,
        "process_resident_memory_bytes ",
    ] {
        ensure!(value(series) >= 1.0, "{series} is {}", value(series));
    }
    let secret = test
        .env
        .canaries()
        .into_iter()
        .find(|secret| secret.len() > 8 && page.contains(secret.as_str()));
    ensure!(secret.is_none(), "a secret is in the metrics");
    Ok(())
}
