//! Vault: a client with the root token, and the server it talks to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::audit::Audit;
use super::pki::Authority;
use super::process::{Process, eventually, free_port};

/// Vault as cases see it.
pub(crate) struct Vault {
    /// The URL that issuers use.
    pub(crate) server: String,
    /// The URL of a listener that wants a client certificate.
    pub(crate) mutual: String,
    /// The name in the server's certificate that is neither host nor address.
    pub(crate) server_name: &'static str,
    /// The CA of the server's certificate, PEM.
    pub(crate) ca: String,
    /// The CA of the certificates that clients present.
    pub(crate) clients: Authority,
    /// The certificate of the root in the mount `pki`, PEM.
    pub(crate) root: String,
    /// The client with the root token.
    pub(crate) admin: Admin,
    /// What Vault has noted down of its requests.
    pub(crate) audit: Audit,
}

/// What opens a new Vault.
#[derive(Clone)]
pub(crate) struct Keys {
    /// The root token.
    pub(crate) token: String,
    /// The one key share.
    pub(crate) unseal: String,
}

/// A client for one Vault with one token.
#[derive(Clone)]
pub(crate) struct Admin {
    agent: Agent,
    base: String,
    token: String,
}

impl Admin {
    /// Returns a client for the server at `base` that trusts `ca` alone.
    pub(crate) fn new(base: &str, ca: &str, token: &str) -> anyhow::Result<Self> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[
                Certificate::from_pem(ca.as_bytes())?.to_owned()
            ]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(15)))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            base: base.into(),
            token: token.into(),
        })
    }

    /// Returns the same client with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.into(),
            ..self.clone()
        }
    }

    /// Returns what it sends requests with.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Returns the URL it uses.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns the token it bears.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Reads a path; the answer's `data`.
    pub(crate) async fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.expect(Method::GET, path, None)
            .await
            .map(|mut answer| answer["data"].take())
    }

    /// Writes to a path; the whole answer.
    pub(crate) async fn write(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.expect(Method::POST, path, Some(body)).await
    }

    /// Deletes a path.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.expect(Method::DELETE, path, None).await.map(drop)
    }

    async fn expect(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (status, answer) = self.call(method.clone(), path, body).await?;
        ensure!(
            (200..300).contains(&status),
            "{method} {path}: {status} {}",
            answer["errors"]
        );
        Ok(answer)
    }

    /// Sends a request; the status and the answer, null where it is not JSON.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.base))
            .header("X-Vault-Request", "true")
            .header("X-Vault-Token", &self.token)
            .body(body.map_or(Vec::new(), |body| body.to_string().into_bytes()))?;
        let agent = self.agent.clone();
        tokio::task::spawn_blocking(move || {
            let mut response = agent.run(request)?;
            let text = response.body_mut().read_to_string()?;
            Ok((
                response.status().as_u16(),
                serde_json::from_str(&text).unwrap_or_default(),
            ))
        })
        .await?
    }

    /// Checks that Vault answers, sealed or not.
    pub(crate) async fn answers(&self) -> anyhow::Result<()> {
        let (status, _) = self.call(Method::GET, "sys/seal-status", None).await?;
        ensure!(status == 200, "sys/seal-status: {status}");
        Ok(())
    }

    /// Initialises a new Vault, and unseals it.
    pub(crate) async fn initialise(&self) -> anyhow::Result<Keys> {
        let answer = self
            .write("sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 }))
            .await?;
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .context("an init answer without its fields")
        };
        let keys = Keys {
            token: text(&answer["root_token"])?,
            unseal: text(&answer["keys_base64"][0])?,
        };
        self.unseal(&keys).await?;
        Ok(keys)
    }

    /// Unseals a Vault and waits until it is active.
    pub(crate) async fn unseal(&self, keys: &Keys) -> anyhow::Result<()> {
        self.write("sys/unseal", json!({ "key": keys.unseal })).await?;
        eventually(Duration::from_secs(30), async || {
            let (status, _) = self.call(Method::GET, "sys/health", None).await?;
            ensure!(status == 200, "sys/health: {status}");
            Ok(())
        })
        .await
    }

    /// Makes what every case uses: an audit log at `audit`, a root CA in `pki`, and the login methods at their
    /// default mounts. Returns the root's certificate, PEM.
    pub(crate) async fn set_up(&self, audit: &str, kubernetes: Value) -> anyhow::Result<String> {
        let options = json!({ "file_path": audit, "mode": "0644" });
        self.write("sys/audit/file", json!({ "type": "file", "options": options }))
            .await?;
        let root = self.root("pki", "e2e root").await?;
        for method in ["approle", "cert", "kubernetes"] {
            self.write(&format!("sys/auth/{method}"), json!({ "type": method }))
                .await?;
        }
        self.write("auth/kubernetes/config", kubernetes).await?;
        Ok(root)
    }

    /// Mounts a PKI engine with a root CA; its certificate, PEM.
    pub(crate) async fn root(&self, mount: &str, name: &str) -> anyhow::Result<String> {
        self.mount(mount).await?;
        let body = json!({ "common_name": name, "ttl": "87000h", "key_type": "ec", "key_bits": 256 });
        let answer = self.write(&format!("{mount}/root/generate/internal"), body).await?;
        text(&answer["data"]["certificate"])
    }

    /// Mounts an empty PKI engine.
    pub(crate) async fn mount(&self, mount: &str) -> anyhow::Result<()> {
        let config = json!({ "max_lease_ttl": "87600h" });
        self.write(
            &format!("sys/mounts/{mount}"),
            json!({ "type": "pki", "config": config }),
        )
        .await
        .map(drop)
    }
}

/// Returns the text that a JSON value holds.
pub(crate) fn text(value: &Value) -> anyhow::Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no text but {value}"))
}

/// A Vault on loopback that can be stopped and started again.
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
    /// The port that wants a client certificate.
    mutual: u16,
    servers: Authority,
    clients: Authority,
}

/// Starts a new Vault with a private CA and a second listener that wants client certificates, and opens it.
pub(crate) async fn launch(dir: &Path, binary: PathBuf) -> anyhow::Result<Fresh> {
    let (port, mutual) = (free_port()?, free_port()?);
    let (servers, clients) = (
        Authority::new("e2e Vault servers")?,
        Authority::new("e2e Vault clients")?,
    );
    write_configuration(dir, port, mutual, &servers, &clients)?;
    let mut process = spawn(dir, &binary)?;
    let admin = Admin::new(&format!("https://127.0.0.1:{port}"), &servers.pem, "")?;
    reachable(&admin, &mut process).await?;
    let keys = admin.initialise().await?;
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
    /// Makes what every case uses.
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
    /// Returns the binary that it runs.
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

    /// Starts the server again, with the data it had, and opens it.
    pub(crate) async fn restart(&mut self, admin: &Admin) -> anyhow::Result<()> {
        self.process.stop()?;
        self.process = spawn(&self.dir, &self.binary)?;
        reachable(admin, &mut self.process).await?;
        admin.unseal(&self.keys).await
    }
}

/// A name that Vault's certificate bears beside its address.
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

/// Where a server listens and where its files are.
pub(crate) struct Listeners {
    /// The address.
    pub(crate) host: &'static str,
    /// The port that anybody may use.
    pub(crate) port: u16,
    /// The port that wants a client certificate.
    pub(crate) mutual: u16,
    /// The folder of `vault.crt`, `vault.key` and `vault-clients.crt`.
    pub(crate) files: PathBuf,
}

/// Returns a server's configuration, without the address it gives to others.
pub(crate) fn configuration(listeners: &Listeners, storage: Value) -> Value {
    let file = |name: &str| listeners.files.join(name).display().to_string();
    let listener = |port: u16| {
        json!({
            "address": format!("{}:{port}", listeners.host),
            "tls_cert_file": file("vault.crt"),
            "tls_key_file": file("vault.key"),
        })
    };
    let mut mutual = listener(listeners.mutual);
    mutual["tls_require_and_verify_client_cert"] = json!(true);
    mutual["tls_client_ca_file"] = json!(file("vault-clients.crt"));
    json!({
        "storage": storage,
        "listener": [{ "tcp": listener(listeners.port) }, { "tcp": mutual }],
        "disable_mlock": true,
        "log_level": "warn",
    })
}

fn write_configuration(
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
    let mut config = configuration(&listeners, json!({ "file": { "path": dir.join("vault-data") } }));
    config["api_addr"] = json!(format!("https://127.0.0.1:{port}"));
    fs::write(dir.join("vault.json"), config.to_string())?;
    Ok(())
}
