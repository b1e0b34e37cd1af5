//! Vault: a client with the root token, and the server it talks to.

mod server;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::audit::Audit;
use super::process::eventually;
use crate::pki::Authority;

pub(crate) use server::{Listeners, Product, SERVER_NAME, Server, configuration, launch};

/// Vault, as the cases use it.
pub(crate) struct Vault {
    /// The URL that issuers use.
    pub(crate) server: String,
    /// The URL of a listener that requires a client certificate.
    pub(crate) mutual: String,
    /// A name in the server's certificate that is not the host of the URL.
    pub(crate) server_name: &'static str,
    /// The CA of the server's certificate, PEM.
    pub(crate) ca: String,
    /// The CA of the certificates that clients present.
    pub(crate) clients: Authority,
    /// The certificate of the root in the mount `pki`, PEM.
    pub(crate) root: String,
    /// The client with the root token.
    pub(crate) admin: Admin,
    /// The audit log.
    pub(crate) audit: Audit,
}

impl Vault {
    /// Returns the port of the URL that issuers use.
    pub(crate) fn port(&self) -> anyhow::Result<u16> {
        let (_, port) = self.server.rsplit_once(':').context("a URL without a port")?;
        Ok(port.parse()?)
    }
}

/// The root token and the unseal key of a Vault.
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
    namespace: String,
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
            namespace: String::new(),
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

    /// Returns the same client for a namespace of OpenBao.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            ..self.clone()
        }
    }

    /// Returns the HTTP agent.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Returns the base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns the token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Reads a path; returns the `data` of the response.
    pub(crate) async fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.expect(Method::GET, path, None)
            .await
            .map(|mut answer| answer["data"].take())
    }

    /// Writes to a path; returns the response.
    pub(crate) async fn write(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.expect(Method::POST, path, Some(body)).await
    }

    /// Writes to a path and has Vault wrap the response; returns the wrapping token.
    pub(crate) async fn wrapped(&self, path: &str) -> anyhow::Result<String> {
        let request = http::Request::post(format!("{}/v1/{path}", self.base))
            .header("X-Vault-Token", &self.token)
            .header("X-Vault-Wrap-TTL", "10m")
            .body(b"{}".to_vec())?;
        let agent = self.agent.clone();
        let answer: Value = tokio::task::spawn_blocking(move || {
            let text = agent.run(request)?.body_mut().read_to_string()?;
            anyhow::Ok(serde_json::from_str(&text)?)
        })
        .await??;
        text(&answer["wrap_info"]["token"])
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

    /// Sends a request; returns the status and the body, which is null if it is not JSON.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.base))
            .header("X-Vault-Request", "true")
            .header("X-Vault-Namespace", &self.namespace)
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

    /// Initializes and unseals a new Vault.
    pub(crate) async fn initialize(&self) -> anyhow::Result<Keys> {
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

    /// Creates the common set-up: an audit log at `audit`, a root CA in `pki`, and the auth methods at their default
    /// mounts. Returns the root's certificate, PEM.
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

    /// Mounts a PKI engine with a root CA; returns its certificate, PEM.
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

/// Returns the string in a JSON value.
pub(crate) fn text(value: &Value) -> anyhow::Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no text but {value}"))
}
