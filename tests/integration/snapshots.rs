//! Texts that users and operators read, as they are printed.
//!
//! `UPDATE_EXPECT=1 cargo test -p integration snapshots` writes those in `snapshots/` anew.

use std::io;
use std::process::ExitCode;

use expect_test::{expect, expect_file};
use issuer_kube::{Metrics, TextFormat};

use crate::secrets::api;
use crate::secrets::capture::capture;
use crate::world::{Login, Vault};

#[test]
fn help_of_the_tools() {
    for (command, expected) in [
        ("check", expect_file!["snapshots/check.txt"]),
        ("completion", expect_file!["snapshots/completion.txt"]),
        ("controller", expect_file!["snapshots/controller.txt"]),
        ("migrate", expect_file!["snapshots/migrate.txt"]),
        ("sign", expect_file!["snapshots/sign.txt"]),
    ] {
        let mut out = Vec::new();
        let code = vault_issuer::run(["vault-issuer", command, "--help"], &mut out, &mut io::sink());
        assert_eq!(code, ExitCode::SUCCESS);
        // Help has lines of blanks, which no file may have.
        let help = String::from_utf8(out).unwrap();
        let lines: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        expected.assert_eq(&lines);
    }
}

#[test]
fn metrics_of_a_new_process() {
    let text = Metrics::new().encode(TextFormat::Prometheus);
    // What differs from process to process and from release to release.
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("process_")).collect();
    // The samples of a family have the order of a hash map.
    let is_sample = |line: &str| !line.starts_with('#');
    for family in lines.chunk_by_mut(|one, next| is_sample(one) && is_sample(next)) {
        family.sort_unstable();
    }
    let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    expect_file!["snapshots/metrics.txt"].assert_eq(&text);
}

/// A cluster in which the first read of the Secret fails, until two requests are signed.
#[test]
fn log_and_events_of_a_run() {
    let vault = Vault::start(8);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (ended, logged) = capture(|| runtime.block_on(api::run(&vault, Login::AppRole, None)));
    expect![[r#"
        INFO issuer_kube::log: Vault verified kind="VaultIssuer" namespace="team" name="vault" reason="VaultVerified"
        INFO issuer_kube::log: Waiting for VaultIssuer team/vault to become ready kind="CertificateRequest" namespace="team" name="one" reason="IssuerNotReady"
        INFO issuer_kube::log: Waiting for VaultIssuer team/vault to become ready kind="CertificateRequest" namespace="team" name="two" reason="IssuerNotReady"
        WARN issuer_kube::log: Secret team/vault-approle could not be read; it is tried again kind="VaultIssuer" namespace="team" name="vault" reason="SecretUnavailable"
    "#]].assert_eq(&sorted(logged.lines().filter_map(log_line).filter(|line| is_of_any_day(line))));
    expect![[r#"
        CertificateRequest one: Normal IssuerNotReady: Waiting for VaultIssuer team/vault to become ready
        CertificateRequest two: Normal IssuerNotReady: Waiting for VaultIssuer team/vault to become ready
        VaultIssuer vault: Normal VaultVerified: Vault verified
        VaultIssuer vault: Warning SecretUnavailable: Secret team/vault-approle could not be read; it is tried again
    "#]]
    .assert_eq(&sorted(ended.events.into_iter().filter(|line| is_of_any_day(line))));
}

/// Returns `true` for what does not depend on the date: the Vault of the tests has its own, so its certificates may be valid
/// or not.
fn is_of_any_day(line: &str) -> bool {
    !line.contains("CertificateMismatch") && !line.contains("CertificateIssued") && !line.contains("certificate issued")
}

/// Returns a line for operators, from its level on.
fn log_line(line: &str) -> Option<String> {
    let ours = |level: &str| line.find(&format!("{level} issuer_kube"));
    let at = ["INFO", "WARN", "ERROR"].into_iter().find_map(ours)?;
    line.get(at..).map(str::to_owned)
}

/// Returns the lines in an order that does not depend on which request was signed first.
fn sorted(lines: impl IntoIterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.into_iter().map(|line| line + "\n").collect();
    lines.sort();
    lines.concat()
}
