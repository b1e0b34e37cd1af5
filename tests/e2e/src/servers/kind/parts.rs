//! The objects that are installed into the cluster beside our chart: cert-manager and Vault.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Cluster, aside};
use crate::pki::Authority;
use crate::servers::cluster;
use crate::servers::offline;
use crate::servers::vault::{Listeners, Product, SERVER_NAME, configuration};

const CERT_MANAGER: &str = "v1.21.2";
const OPENBAO: &str = "openbao/openbao:2.7.2";

/// Returns the namespace of a release, which enforces restricted Pod Security.
pub(super) fn restricted_namespace(name: &str) -> Value {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// Returns the `nodeSelector` and the `tolerations` of pods that run beside the control plane.
fn beside_control_plane() -> (Value, Value) {
    let selector = json!({ "node-role.kubernetes.io/control-plane": "" });
    (selector, json!([{ "operator": "Exists" }]))
}

/// Installs cert-manager's own chart.
pub(super) async fn install_cert_manager_chart(cluster: &Cluster) -> anyhow::Result<()> {
    let (selector, tolerations) = beside_control_plane();
    let part = json!({ "nodeSelector": selector, "tolerations": tolerations });
    let mut values = json!({ "crds": { "enabled": true }, "webhook": part, "cainjector": part });
    values["nodeSelector"] = selector;
    values["tolerations"] = tolerations;
    let file = cluster.file("cert-manager.json");
    fs::write(&file, values.to_string())?;
    let mut helm = Command::new("helm");
    helm.arg("--kubeconfig").arg(cluster.kubeconfig());
    helm.args([
        "install",
        "cert-manager",
        "cert-manager",
        "--repo",
        "https://charts.jetstack.io",
    ]);
    helm.args([
        "--version",
        CERT_MANAGER,
        "--namespace",
        "cert-manager",
        "--create-namespace",
    ]);
    helm.args(["--wait", "--timeout", "5m", "--values"]).arg(file);
    aside(helm).await.map(drop)
}

/// Runs the controllers of cert-manager with all permissions, and without its webhook.
pub(super) async fn install_cert_manager(cluster: &Cluster, crds: &Path) -> anyhow::Result<()> {
    let client = cluster.client();
    for entry in fs::read_dir(crds)? {
        cluster::apply(client, &fs::read_to_string(entry?.path())?).await?;
    }
    let metadata = json!({ "name": "cert-manager", "namespace": "cert-manager" });
    let labels = json!({ "app": "cert-manager" });
    let container = json!({
        "name": "controller",
        "image": offline::CERT_MANAGER,
        "args": ["-cluster-resource-namespace", "cert-manager"],
    });
    let (selector, tolerations) = beside_control_plane();
    let pod = json!({
        "serviceAccountName": "cert-manager",
        "containers": [container],
        "nodeSelector": selector,
        "tolerations": tolerations,
    });
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "cert-manager" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "cert-manager" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "cert-manager", "namespace": "cert-manager" }],
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        }),
    ];
    for object in objects {
        cluster::apply_object(client, object).await?;
    }
    let ready = [
        "rollout",
        "status",
        "deployment/cert-manager",
        "--timeout=300s",
        "--namespace",
        "cert-manager",
    ];
    aside(cluster.kubectl(&ready)).await.map(drop)
}

/// Returns a pod with OpenBao, whose image is our own where there is no registry, its Service, service account and files;
/// it listens on `host`.
pub(super) fn vault(
    servers: &Authority,
    clients: &Authority,
    host: &'static str,
    offline: bool,
) -> anyhow::Result<Vec<Value>> {
    let pair = servers.server("vault", &["127.0.0.1", "vault.vault.svc", SERVER_NAME])?;
    let listeners = Listeners {
        host,
        port: 8200,
        mutual: 8300,
        files: PathBuf::from("/vault/files"),
    };
    let config = configuration(
        Product::OpenBao,
        &listeners,
        "https://vault.vault.svc:8200",
        Path::new("/vault/data"),
    );
    let image = if offline { offline::OPENBAO } else { OPENBAO };
    let data = json!({
        "vault.json": STANDARD.encode(config.to_string()),
        "vault.crt": STANDARD.encode(pair.certificate),
        "vault.key": STANDARD.encode(pair.key),
        "vault-clients.crt": STANDARD.encode(&clients.pem),
    });
    let metadata = json!({ "name": "vault", "namespace": "vault", "labels": { "app": "vault" } });
    let container = json!({
        "name": "vault",
        "image": image,
        "command": ["bao", "server", "-config=/vault/files/vault.json"],
        "env": [{ "name": "SKIP_SETCAP", "value": "true" }],
        "volumeMounts": [
            { "name": "files", "mountPath": "/vault/files", "readOnly": true },
            { "name": "data", "mountPath": "/vault/data" },
        ],
        // A forwarded port ends with the first connection that is refused.
        "readinessProbe": { "tcpSocket": { "port": 8200 }, "periodSeconds": 1 },
    });
    let ports = [8200, 8300].map(|port| json!({ "name": format!("port-{port}"), "port": port }));
    let volumes = json!([{ "name": "files", "secret": { "secretName": "vault" } }, { "name": "data", "emptyDir": {} }]);
    let (selector, tolerations) = beside_control_plane();
    let pod = json!({
        "serviceAccountName": "vault",
        "containers": [container],
        "volumes": volumes,
        "nodeSelector": selector,
        "tolerations": tolerations,
    });
    Ok(vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "vault" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        cluster::token_reviewer_binding(),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }),
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": { "selector": { "app": "vault" }, "ports": ports },
        }),
    ])
}
