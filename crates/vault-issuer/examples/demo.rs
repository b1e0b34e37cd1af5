//! Issues one certificate with the code of the binary: a Vault in memory, a `VaultIssuer`, a CSR and the certificate.
//!
//! `cargo xtask demo` runs it without the feature `cluster`, so no Kubernetes client is compiled.
#![allow(clippy::print_stdout, reason = "a demonstration for the terminal")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use fake_vault::serve::{Options, Server};
use fake_vault::{AppRoleRole, AuthMethod, Authority, FakeVault, Pki, Policy, Role, TokenParams};
use rcgen::{CertificateParams, DnType, KeyPair};
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

const FOLDER: &str = "target/demo";

const NAMES: [&str; 2] = ["www.example.com", "api.example.com"];

fn main() -> anyhow::Result<()> {
    fs::create_dir_all(FOLDER)?;
    let fake = Arc::new(Mutex::new(vault()));
    let server = Server::start(Arc::clone(&fake), &Options::default())?;
    say("A Vault in memory, over TLS with a CA of its own")?;
    println!(
        "{}: a PKI at pki with the role web for example.com, an AppRole at approle",
        server.url()
    );

    say("What a team writes: its issuer, and the Secrets that the issuer refers to")?;
    let issuer = issuer(&server.url());
    println!("{}", issuer.trim_end());
    write("issuer.yaml", &issuer)?;
    write("secrets.yaml", &secrets(&server.ca_pem()))?;
    println!("(the Secrets are in {FOLDER}/secrets.yaml)");

    say("Can the issuer sign? The controller asks this every minute")?;
    let files = format!("-f {FOLDER}/issuer.yaml -f {FOLDER}/secrets.yaml");
    command(&format!("vault-issuer check {files}"))?;

    say("A key, and a certificate signing request for it, as cert-manager makes them")?;
    request()?;
    println!("{FOLDER}/web.key, {FOLDER}/web.csr: {}", NAMES.join(", "));

    say("The certificate: signed by Vault, then verified against the request")?;
    let out = format!("-o {FOLDER}/web.crt --ca-out {FOLDER}/ca.crt");
    command(&format!(
        "vault-issuer sign {files} --csr {FOLDER}/web.csr --duration 24h {out}"
    ))?;
    show("web.crt")?;
    show("ca.crt")?;

    say("What Vault saw")?;
    let mut fake = fake.lock().unwrap_or_else(PoisonError::into_inner);
    let (counts, alive) = (fake.counts(), fake.live_tokens(server.now()).len());
    println!(
        "{} logins, {} certificate signed, {} tokens revoked, {alive} left behind",
        counts.logins, counts.signs, counts.revocations
    );
    println!("\n{}", NEXT.trim());
    Ok(())
}

const NEXT: &str = "
On a cluster with cert-manager:
  kubectl apply -k deploy/                        the CRDs, the rights and the controller
  kubectl apply -f deploy/examples/app-role.yaml  an issuer, once you have put your Vault into it
  kubectl get vaultissuers -A                     READY True, or the cause in words
On this machine, against real servers:
  cargo xtask e2e                                 etcd, kube-apiserver, cert-manager and Vault, built and run
";

fn vault() -> FakeVault {
    let mut vault = FakeVault::default();
    let authority = Authority::root("Demo Root CA").intermediate("Demo Issuing CA");
    vault.enable_pki("pki", Pki::new(authority).role("web", Role::domain("example.com")));
    vault.set_policy("web", Policy::update("pki/sign/web"));
    let hour = Duration::from_secs(3600);
    let token = TokenParams::policies(["web"]).ttl(hour, hour);
    let roles = BTreeMap::from([(
        "web".to_owned(),
        AppRoleRole::new("demo-role-id", "demo-secret-id", token),
    )]);
    vault.enable_auth("approle", AuthMethod::AppRole(roles));
    vault
}

fn issuer(url: &str) -> String {
    format!(
        "apiVersion: vault-issuer.io/v1alpha1
kind: VaultIssuer
metadata:
  name: vault
  namespace: team-a
spec:
  server: {url}
  path: pki/sign/web
  caBundleSecretRef:
    name: vault-ca
  auth:
    appRole:
      roleId: demo-role-id
      secretRef:
        name: vault-approle
"
    )
}

fn secrets(ca: &str) -> String {
    let ca = ca.trim_end().replace('\n', "\n    ");
    format!(
        "apiVersion: v1
kind: Secret
metadata:
  name: vault-approle
  namespace: team-a
stringData:
  secretId: demo-secret-id
---
apiVersion: v1
kind: Secret
metadata:
  name: vault-ca
  namespace: team-a
stringData:
  ca.crt: |
    {ca}
"
    )
}

/// Makes a key and a CSR.
fn request() -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    let [name, ..] = NAMES;
    params.distinguished_name.push(DnType::CommonName, name);
    write("web.csr", &params.serialize_request(&key)?.pem()?)?;
    let path = Path::new(FOLDER).join("web.key");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(key.serialize_pem().as_bytes())?;
    Ok(())
}

/// Runs a command line of the binary, in this process.
fn command(line: &str) -> anyhow::Result<()> {
    println!("$ {line}");
    let (mut out, mut err) = (stdout(), std::io::stderr());
    let code = vault_issuer::run(line.split_whitespace(), &mut out, &mut err);
    ensure!(code == ExitCode::SUCCESS, "the command failed");
    Ok(())
}

/// Prints the certificates of a file for people.
fn show(file: &str) -> anyhow::Result<()> {
    println!("{FOLDER}/{file}");
    for block in Pem::iter_from_buffer(&fs::read(Path::new(FOLDER).join(file))?) {
        let block = block?;
        let certificate = block.parse_x509()?;
        let validity = certificate.validity();
        println!("  - subject {}", certificate.subject());
        let names = names(&certificate)?;
        if !names.is_empty() {
            println!("    names   {}", names.join(", "));
        }
        println!("    valid   {} to {}", validity.not_before, validity.not_after);
        println!("    serial  {}", certificate.raw_serial_as_string());
        println!("    issuer  {}", certificate.issuer());
    }
    Ok(())
}

fn names(certificate: &X509Certificate<'_>) -> anyhow::Result<Vec<String>> {
    let extension = certificate.subject_alternative_name().context("subjectAltName")?;
    let names = extension
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    Ok(names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            other => other.to_string(),
        })
        .collect())
}

fn write(file: &str, text: &str) -> anyhow::Result<()> {
    let path = Path::new(FOLDER).join(file);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn say(title: &str) -> anyhow::Result<()> {
    println!("\n== {title}");
    Ok(stdout().flush()?)
}
