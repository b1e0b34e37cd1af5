//! Vault as a process on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Admin, Keys, Vault};
use crate::pki::Authority;
use crate::servers::audit::Audit;
use crate::servers::process::{Process, eventually, free_port};

/// A Vault on loopback that can be restarted.
pub(crate) struct Server {
    binary: PathBuf,
    dir: PathBuf,
    process: Process,
    keys: Keys,
}

/// A new Vault with nothing mounted.
pub(crate) struct Fresh {
    /// The server.
    pub(crate) server: Server,
    /// A client with the root token.
    pub(crate) admin: Admin,
    /// The port that requires a client certificate.
    mutual: u16,
    servers: Authority,
    clients: Authority,
}

/// Starts a new Vault with a private CA and a second listener that requires client certificates, and unseals it.
pub(crate) async fn launch(dir: &Path, binary: PathBuf) -> anyhow::Result<Fresh> {
    let (port, mutual) = (free_port()?, free_port()?);
    let (servers, clients) = (
        Authority::new("e2e Vault servers")?,
        Authority::new("e2e Vault clients")?,
    );
    write_configuration(Product::of(&binary)?, dir, port, mutual, &servers, &clients)?;
    let mut process = spawn(dir, &binary)?;
    let admin = Admin::new(&format!("https://127.0.0.1:{port}"), &servers.pem, "")?;
    reachable(&admin, &mut process).await?;
    let keys = admin.initialize().await?;
    let admin = admin.with_token(&keys.token);
    let server = Server {
        binary,
        dir: dir.to_owned(),
        process,
        keys,
    };
    Ok(Fresh {
        server,
        admin,
        mutual,
        servers,
        clients,
    })
}

impl Fresh {
    /// Creates the common set-up of the cases.
    pub(crate) async fn set_up(self, kubernetes: Value) -> anyhow::Result<(Server, Vault)> {
        let Self {
            server,
            admin,
            mutual,
            servers,
            clients,
        } = self;
        let log = server.dir.join("vault-audit.log");
        let root = admin.set_up(&log.display().to_string(), kubernetes).await?;
        let vault = Vault {
            server: admin.base().to_owned(),
            mutual: format!("https://127.0.0.1:{mutual}"),
            server_name: SERVER_NAME,
            ca: servers.pem,
            clients,
            root,
            admin,
            audit: Audit::File(log),
        };
        Ok((server, vault))
    }
}

impl Server {
    /// Returns the path of the binary.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Returns the process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns the root token and the key share.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Restarts the server with its data, and unseals it.
    pub(crate) async fn restart(&mut self, admin: &Admin) -> anyhow::Result<()> {
        self.process.stop()?;
        self.process = spawn(&self.dir, &self.binary)?;
        reachable(admin, &mut self.process).await?;
        admin.unseal(&self.keys).await
    }
}

/// A name in Vault's certificate besides its address.
pub(crate) const SERVER_NAME: &str = "vault.e2e.example";

fn spawn(dir: &Path, binary: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(binary);
    command.arg("server").arg("-config").arg(dir.join("vault.json"));
    Process::start(dir, "vault", &mut command)
}

async fn reachable(admin: &Admin, process: &mut Process) -> anyhow::Result<()> {
    eventually(Duration::from_secs(60), async || {
        process.check()?;
        admin.answers().await
    })
    .await
    .context("Vault does not answer")
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// HashiCorp's.
    Vault,
    /// Its fork.
    OpenBao,
}

impl Product {
    /// Returns whose server a binary is. The Vault that is built from `tests/components/vault` tells no version.
    pub(crate) fn of(binary: &Path) -> anyhow::Result<Self> {
        let output = Command::new(binary).arg("version").output();
        let output = output.with_context(|| format!("cannot run {}", binary.display()))?;
        Ok(if output.stdout.starts_with(b"OpenBao") {
            Self::OpenBao
        } else {
            Self::Vault
        })
    }
}

/// The addresses and files of a server.
pub(crate) struct Listeners {
    /// The address.
    pub(crate) host: &'static str,
    /// The port without client certificates.
    pub(crate) port: u16,
    /// The port that requires a client certificate.
    pub(crate) mutual: u16,
    /// The folder of `vault.crt`, `vault.key` and `vault-clients.crt`.
    pub(crate) files: PathBuf,
}

/// Returns the configuration of a server that is reached at `address` and keeps its data in the existing folder `data`.
pub(crate) fn configuration(product: Product, listeners: &Listeners, address: &str, data: &Path) -> Value {
    let file = |name: &str| listeners.files.join(name).display().to_string();
    let listener = |port: u16| {
        json!({
            "address": format!("{}:{port}", listeners.host),
            // Where other servers of a cluster would connect to: there are none.
            "cluster_address": format!("{}:0", listeners.host),
            "tls_cert_file": file("vault.crt"),
            "tls_key_file": file("vault.key"),
        })
    };
    let mut mutual = listener(listeners.mutual);
    mutual["tls_require_and_verify_client_cert"] = json!(true);
    mutual["tls_client_ca_file"] = json!(file("vault-clients.crt"));
    let mut config = json!({
        "listener": [{ "tcp": listener(listeners.port) }, { "tcp": mutual }],
        "log_level": "warn",
        "api_addr": address,
    });
    match product {
        Product::Vault => {
            config["storage"] = json!({ "file": { "path": data } });
            config["disable_mlock"] = json!(true);
        }
        Product::OpenBao => {
            config["storage"] = json!({ "raft": { "path": data, "node_id": "e2e" } });
            // A name for a server that no other one connects to.
            config["cluster_addr"] = json!("https://127.0.0.1:8201");
            // By default it takes audit devices from its configuration only.
            config["unsafe_allow_api_audit_creation"] = json!(true);
        }
    }
    config
}

fn write_configuration(
    product: Product,
    dir: &Path,
    port: u16,
    mutual: u16,
    servers: &Authority,
    clients: &Authority,
) -> anyhow::Result<()> {
    let pair = servers.server("vault", &["127.0.0.1", SERVER_NAME])?;
    fs::write(dir.join("vault.crt"), pair.certificate)?;
    fs::write(dir.join("vault.key"), pair.key)?;
    fs::write(dir.join("vault-clients.crt"), &clients.pem)?;
    let listeners = Listeners {
        host: "127.0.0.1",
        port,
        mutual,
        files: dir.to_owned(),
    };
    let data = dir.join("vault-data");
    fs::create_dir(&data)?;
    let config = configuration(product, &listeners, &format!("https://127.0.0.1:{port}"), &data);
    fs::write(dir.join("vault.json"), config.to_string())?;
    Ok(())
}
