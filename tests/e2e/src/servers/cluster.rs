//! A Kubernetes API: etcd, kube-apiserver, and the controllers of kube-controller-manager for garbage and tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use kube::{Api, Client, Config};
use rcgen::KeyPair;
use serde::Deserialize;
use serde_json::{Value, json};

use super::components::Components;
use super::etcd::Etcd;
use super::process::{Process, eventually, free_port};
use crate::pki::Authority;

/// Users without a service account: name and groups. The token is the name with `-token` appended.
const USERS: [(&str, &str); 4] = [
    (ADMIN, "system:masters"),
    ("kube-controller-manager", "system:masters"),
    (CERT_MANAGER, "system:masters"),
    (APPROVER, "e2e"),
];

/// The user that cases act as.
pub(crate) const ADMIN: &str = "admin";

/// The user of cert-manager's controllers.
pub(crate) const CERT_MANAGER: &str = "cert-manager";

/// The user of cert-manager's approver, which may approve only where a case allows it.
pub(crate) const APPROVER: &str = "cert-manager-approver";

/// The servers of a Kubernetes API, in the order in which they are stopped.
pub(crate) struct Cluster {
    controller_manager: Process,
    apiserver: Process,
    etcd: Process,
    /// The port of the API server.
    pub(crate) port: u16,
    /// The CA of the API server's certificate, PEM.
    pub(crate) ca: String,
    dir: PathBuf,
    /// The API server's binary.
    binary: PathBuf,
    /// The port of etcd.
    clients: u16,
}

impl Cluster {
    /// Starts the servers and waits until they are ready.
    pub(crate) async fn start(dir: &Path, components: &Components) -> anyhow::Result<Self> {
        let (clients, peers, port) = (free_port()?, free_port()?, free_port()?);
        let authority = Authority::new("e2e API server")?;
        write_configuration(dir, &authority)?;
        let etcd = Process::start(dir, "etcd", &mut etcd(&components.etcd(), dir, clients, peers))?;
        write_kubeconfigs(dir, port, &authority.pem)?;
        let binary = components.apiserver();
        let apiserver = start_apiserver(&binary, dir, clients, port).await?;
        let mut command = controller_manager(&components.controller_manager(), dir);
        let controller_manager = Process::start(dir, "kube-controller-manager", &mut command)?;
        Ok(Self {
            controller_manager,
            apiserver,
            etcd,
            port,
            ca: authority.pem,
            dir: dir.to_owned(),
            binary,
            clients,
        })
    }

    /// Kills the API server.
    pub(crate) fn kill_apiserver(&mut self) -> anyhow::Result<()> {
        self.apiserver.kill().map(drop)
    }

    /// Starts the API server again on the same etcd.
    pub(crate) async fn start_apiserver(&mut self) -> anyhow::Result<()> {
        self.apiserver = start_apiserver(&self.binary, &self.dir, self.clients, self.port).await?;
        Ok(())
    }

    /// Starts the API server if a failed case has left it dead.
    pub(crate) async fn restore(&mut self) -> anyhow::Result<()> {
        match self.apiserver.check() {
            Ok(()) => Ok(()),
            Err(_) => self.start_apiserver().await,
        }
    }

    /// Returns the servers.
    pub(crate) fn processes(&mut self) -> [&mut Process; 3] {
        [&mut self.controller_manager, &mut self.apiserver, &mut self.etcd]
    }

    /// Returns the path of a user's kubeconfig.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        kubeconfig(&self.dir, user)
    }

    /// Writes a kubeconfig for a bearer of `token` that dials `port`, and returns its path.
    pub(crate) fn write_kubeconfig(&self, name: &str, port: u16, token: &str) -> anyhow::Result<PathBuf> {
        write_kubeconfig(&self.dir, name, port, &self.ca, token)
    }

    /// Returns a client of etcd.
    pub(crate) fn etcd(&self) -> Etcd {
        Etcd::new(self.clients)
    }

    /// Returns the path of the API server's audit log.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir.join("apiserver-audit.log")
    }

    /// Returns the requests of the controllers in the API server's audit log.
    pub(crate) fn audit(&self) -> anyhow::Result<Vec<AuditEvent>> {
        let text = fs::read_to_string(self.audit_log())?;
        // The last line may be half written.
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}

/// A request in the API server's audit log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEvent {
    /// The Kubernetes verb.
    pub(crate) verb: String,
    /// The time at which the response was complete.
    #[serde(rename = "stageTimestamp")]
    pub(crate) at: jiff::Timestamp,
    user: AuditUser,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
}

#[derive(Deserialize)]
struct AuditUser {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    subresource: String,
}

impl AuditEvent {
    /// Returns the user.
    pub(crate) fn user(&self) -> &str {
        &self.user.username
    }

    /// Returns the namespace, or an empty string for a cluster-wide request.
    pub(crate) fn namespace(&self) -> &str {
        self.object_ref.as_ref().map_or("", |object| &object.namespace)
    }

    /// Returns the resource with its subresource, such as `certificaterequests/status`.
    pub(crate) fn resource(&self) -> String {
        let Some(object) = &self.object_ref else {
            return String::new();
        };
        match object.subresource.as_str() {
            "" => object.resource.clone(),
            subresource => format!("{}/{subresource}", object.resource),
        }
    }

    /// Returns `true` if the verb is a write.
    pub(crate) fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
    }
}

/// Starts an API server and waits until it is ready.
async fn start_apiserver(binary: &Path, dir: &Path, etcd: u16, port: u16) -> anyhow::Result<Process> {
    let mut process = Process::start(dir, "kube-apiserver", &mut apiserver(binary, dir, etcd, port))?;
    let client = client(&kubeconfig(dir, ADMIN)).await?;
    eventually(Duration::from_secs(60), async || {
        process.check()?;
        let request = http::Request::get("/readyz").body(Vec::new())?;
        let answer = client.request_text(request).await?;
        ensure!(answer.trim() == "ok", "it says {answer}");
        Ok(())
    })
    .await
    .context("kube-apiserver is not ready")?;
    Ok(process)
}

fn etcd(binary: &Path, dir: &Path, clients: u16, peers: u16) -> Command {
    let url = format!("http://127.0.0.1:{clients}");
    let mut command = Command::new(binary);
    command
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")])
        .args(["--unsafe-no-fsync", "--log-level", "warn"]);
    command
}

fn apiserver(binary: &Path, dir: &Path, etcd: u16, port: u16) -> Command {
    let file = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
    let mut command = Command::new(binary);
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg(format!("--secure-port={port}"))
        .args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24"])
        .arg(file("cert-dir", "apiserver"))
        .arg(file("tls-cert-file", "apiserver.crt"))
        .arg(file("tls-private-key-file", "apiserver.key"))
        .arg(file("service-account-key-file", "service-account.pub"))
        .arg(file("service-account-signing-key-file", "service-account.key"))
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        .arg("--authorization-mode=RBAC")
        .arg(file("token-auth-file", "tokens.csv"))
        .arg(file("audit-policy-file", "audit-policy.json"))
        .arg(file("audit-log-path", "apiserver-audit.log"))
        // Cases and benchmarks follow the log in this one file; by default another is begun after 100 MB.
        .arg("--audit-log-maxsize=10000");
    command
}

fn controller_manager(binary: &Path, dir: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("--kubeconfig")
        .arg(kubeconfig(dir, "kube-controller-manager"))
        .arg("--service-account-private-key-file")
        .arg(dir.join("service-account.key"))
        .arg("--root-ca-file")
        .arg(dir.join("apiserver-ca.crt"))
        .args(["--secure-port=0", "--leader-elect=false"])
        .arg(concat!(
            "--controllers=garbage-collector-controller,namespace-controller,",
            "serviceaccount-controller,serviceaccount-token-controller"
        ));
    command
}

fn write_configuration(dir: &Path, authority: &Authority) -> anyhow::Result<()> {
    let server = authority.server("kube-apiserver", &["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
    fs::write(dir.join("apiserver-ca.crt"), &authority.pem)?;
    fs::write(dir.join("apiserver.crt"), server.certificate)?;
    fs::write(dir.join("apiserver.key"), server.key)?;
    let signer = KeyPair::generate()?;
    fs::write(dir.join("service-account.key"), signer.serialize_pem())?;
    fs::write(dir.join("service-account.pub"), signer.public_key_pem())?;
    let tokens = USERS
        .iter()
        .map(|(user, groups)| format!("{},{user},{user},\"{groups}\"\n", token(user)));
    fs::write(dir.join("tokens.csv"), tokens.collect::<String>())?;
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            {
                "level": "Metadata",
                "users": [CERT_MANAGER, APPROVER, "system:serviceaccount:vault-issuer:vault-issuer"],
            },
            { "level": "None" },
        ],
    });
    fs::write(dir.join("audit-policy.json"), policy.to_string())?;
    Ok(())
}

fn write_kubeconfigs(dir: &Path, port: u16, ca: &str) -> anyhow::Result<()> {
    for (user, _) in USERS {
        write_kubeconfig(dir, user, port, ca, &token(user))?;
    }
    Ok(())
}

fn write_kubeconfig(dir: &Path, name: &str, port: u16, ca: &str, token: &str) -> anyhow::Result<PathBuf> {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "e2e",
        "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": name } }],
        "clusters": [{
            "name": "e2e",
            "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": ca,
            },
        }],
        "users": [{ "name": name, "user": { "token": token } }],
    });
    let path = kubeconfig(dir, name);
    fs::write(&path, config.to_string())?;
    Ok(path)
}

fn kubeconfig(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("{user}.kubeconfig"))
}

fn token(user: &str) -> String {
    format!("{user}-token")
}

/// Returns a client for a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Applies every object of a YAML text.
pub(crate) async fn apply(client: &Client, yaml: &str) -> anyhow::Result<()> {
    for document in yaml.split("\n---").filter(|document| !document.trim().is_empty()) {
        let value: Option<Value> = serde_saphyr::from_str(document)?;
        if let Some(value) = value {
            apply_object(client, value).await?;
        }
    }
    Ok(())
}

/// Applies one object of any kind.
pub(crate) async fn apply_object(client: &Client, object: Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().context("an object without kind")?;
    let name = object.metadata.name.clone().context("an object without name")?;
    let gvk = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = kube::discovery::pinned_kind(client, &gvk).await?;
    let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply("e2e").force();
    api.patch(&name, &params, &Patch::Apply(&object))
        .await
        .with_context(|| format!("cannot apply {name}"))?;
    Ok(())
}

/// Returns the binding that lets Vault's service account review tokens.
pub(crate) fn token_reviewer_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "vault-reviews-tokens" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator" },
        "subjects": [{ "kind": "ServiceAccount", "name": "vault", "namespace": "vault" }],
    })
}

/// Requests a token of a service account for the API server that lives for two hours.
pub(crate) async fn service_account_token(client: &Client, namespace: &str, name: &str) -> anyhow::Result<String> {
    token_for(client, namespace, name, &[]).await
}

/// Requests such a token for these audiences; for the API server without any.
pub(crate) async fn token_for(
    client: &Client,
    namespace: &str,
    name: &str,
    audiences: &[&str],
) -> anyhow::Result<String> {
    let spec = TokenRequestSpec {
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        expiration_seconds: Some(7200),
        ..TokenRequestSpec::default()
    };
    token_of(client, namespace, name, spec).await
}

/// Requests a token of a service account.
pub(crate) async fn token_of(
    client: &Client,
    namespace: &str,
    name: &str,
    spec: TokenRequestSpec,
) -> anyhow::Result<String> {
    let request = TokenRequest {
        spec,
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let granted = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await?;
    Ok(granted.status.context("no token")?.token)
}
