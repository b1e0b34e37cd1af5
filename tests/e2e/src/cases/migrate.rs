//! `vault-issuer migrate`, from cert-manager's built-in controller to our kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, ensure};
use issuer_api::{CertificateRequest, VaultIssuer};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::{auth, drop_in, tools};
use crate::servers::cluster::ADMIN;
use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::test_namespace::{LATER, TestNamespace};

/// The Certificates that name an issuer of cert-manager.
const MOVED: [&str; 3] = ["web", "of-account", "of-cluster-issuer"];

/// The written objects and commands are applied as they are: the Certificates are issued anew by our kinds, once, and those of our
/// kinds are not. A second run has no Certificate left, and changes nothing.
pub(super) async fn migrate(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    set_up(test).await?;
    let before = chains(test).await?;
    let (good, check) = tools::run(test, &["check", "issuer/vault"]).await?;
    let warning = "warning built-in: cert-manager-certificaterequests-issuer-vault worked on CertificateRequest";
    ensure!(
        good && check.contains("can sign") && check.contains(warning),
        "check says {check}"
    );

    let plan = plan(test).await?;
    let cluster = format!("# ClusterIssuer {0} becomes VaultClusterIssuer {0}", test.case);
    // The servers of these tests are at loopback addresses, and the Secret of the ClusterIssuer is copied.
    let warnings = (
        plan.matches("WARNING").count(),
        plan.matches("--allowed-servers").count(),
    );
    ensure!(plan.contains(&cluster) && warnings == (4, 3), "migrate says {plan}");
    run_commands(test, &plan, "BEFORE").await?;
    apply(test, &plan).await?;
    // A binding counts a moment after it is made, and the first login may be before that.
    for issuer in ["vault", "account"] {
        test.ready(issuer, LATER).await?;
    }
    test.cluster_ready().await?;
    run_commands(test, &plan, "AFTER").await?;
    eventually(LATER, async || {
        let now = chains(test).await?;
        for name in MOVED {
            ensure!(
                now.get(name) != before.get(name),
                "{name} has the certificate of the built-in"
            );
        }
        Ok(())
    })
    .await?;
    ensure!(
        chains(test).await?.get("ours") == before.get("ours"),
        "a Certificate of our kind is issued anew"
    );
    all_moved(test).await?;
    ingress_is_annotated(test).await?;
    second_run(test).await
}

/// Checks that the Ingress names the VaultClusterIssuer, and nothing else.
async fn ingress_is_annotated(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let annotations = test.api::<Ingress>().get("shop").await?.metadata.annotations;
    let expected = [
        ("cert-manager.io/issuer", test.case),
        ("cert-manager.io/issuer-group", issuer_api::GROUP),
        ("cert-manager.io/issuer-kind", "VaultClusterIssuer"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ensure!(annotations == Some(expected.into()), "it has {annotations:?}");
    Ok(())
}

/// Creates issuers of cert-manager and of ours, and Certificates of each. The Secret of the ClusterIssuer is where the migration
/// expects those of cert-manager.
async fn set_up(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = drop_in::issuers(test).await?;
    auth::account(test).await?;
    let audience = format!("vault://{}/account", test.namespace);
    auth::kubernetes_role(test, &path, json!({ "audience": audience })).await?;
    let kubernetes = json!({
        "role": test.case,
        "mountPath": "/v1/auth/kubernetes",
        "serviceAccountRef": { "name": "vault-login" },
    });
    let spec = test.spec(&path, json!({ "kubernetes": kubernetes }));
    drop_in::issuer(test, "Issuer", "account", spec).await?;
    test.approve_all().await?;
    drop_in::certificate(test, "web", "Issuer", "vault").await?;
    drop_in::certificate(test, "of-account", "Issuer", "account").await?;
    drop_in::certificate(test, "of-cluster-issuer", "ClusterIssuer", test.case).await?;
    test.apply(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "shop", "annotations": { "cert-manager.io/cluster-issuer": test.case } },
        "spec": {
            "defaultBackend": { "service": { "name": "shop", "port": { "number": 80 } } },
            "tls": [{ "hosts": ["shop.example.com"], "secretName": "shop" }],
        },
    }))
    .await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.issuer("ours", test.spec(&path, auth)).await?;
    test.certificate("ours", "VaultIssuer", "ours").await?;
    for name in MOVED.into_iter().chain(["ours"]) {
        test.stored(name).await.context(name)?;
    }
    test.secret(test.case, &[("secretId", &test.secret_id("approle").await?)])
        .await?;
    let secrets: Api<Secret> = Api::namespaced(test.env.client.clone(), NAMESPACE);
    secrets.delete(test.case, &DeleteParams::default()).await?;
    Ok(())
}

/// Returns what `migrate` writes for the whole cluster.
async fn plan(test: &TestNamespace<'_>) -> anyhow::Result<String> {
    let from = format!("--drop-in-cluster-resource-namespace={}", test.namespace);
    let (good, plan) = tools::run(test, &["migrate", &from]).await?;
    ensure!(good, "migrate says {plan}");
    Ok(plan)
}

/// Applies a plan as its first lines say.
async fn apply(test: &TestNamespace<'_>, plan: &str) -> anyhow::Result<()> {
    let file = test.env.local_servers().await?.dir.join("migration.yaml");
    std::fs::write(&file, plan)?;
    let command = plan
        .lines()
        .find_map(|line| line.strip_prefix("# Review, then apply: "));
    let command = command
        .context("no command")?
        .replace("FILE", &file.display().to_string());
    shell(test, &command).await
}

/// Runs the commands of a plan that have this mark; there is at least one.
async fn run_commands(test: &TestNamespace<'_>, plan: &str, mark: &str) -> anyhow::Result<()> {
    let mark = format!("# {mark}: ");
    let commands: Vec<_> = plan.lines().filter_map(|line| line.strip_prefix(&mark)).collect();
    ensure!(!commands.is_empty(), "no line begins with {mark}");
    for command in commands {
        shell(test, command).await?;
    }
    Ok(())
}

/// Runs a command as an administrator with kubectl.
async fn shell(test: &TestNamespace<'_>, command: &str) -> anyhow::Result<()> {
    let local = test.env.local_servers().await?;
    let folder = local.kubectl.parent().context("kubectl is in no folder")?;
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", command])
        .env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH")?))
        .env("KUBECONFIG", local.cluster.kubeconfig(ADMIN));
    drop(local);
    let output = tokio::task::spawn_blocking(move || shell.output()).await??;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command} says {text}");
    Ok(())
}

/// Returns the chain that each Certificate has.
async fn chains(test: &TestNamespace<'_>) -> anyhow::Result<BTreeMap<&'static str, Vec<Vec<u8>>>> {
    let mut chains = BTreeMap::new();
    for name in MOVED.into_iter().chain(["ours"]) {
        chains.insert(name, test.stored(name).await?.chain);
    }
    Ok(chains)
}

/// Checks that each Certificate that has moved was requested a second time, then of one of our kinds, and the other one was not.
async fn all_moved(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let requests = test.api::<CertificateRequest>().list(&ListParams::default()).await?;
    let found: BTreeSet<_> = requests
        .iter()
        .map(|request| {
            let group = request.spec.issuer_ref.group.as_deref().unwrap_or_default();
            let name = request.metadata.name.clone().unwrap_or_default();
            (name, group == issuer_api::GROUP)
        })
        .collect();
    // cert-manager deletes the first of them.
    let first: BTreeSet<_> = MOVED.into_iter().map(|name| (format!("{name}-1"), false)).collect();
    let last = MOVED.into_iter().map(|name| (format!("{name}-2"), true));
    let last: BTreeSet<_> = last.chain([("ours-1".to_owned(), true)]).collect();
    ensure!(&found - &first == last, "the requests are {found:?}");
    Ok(())
}

/// A second run finds the same issuers and no Certificate or annotation, and what it writes is there already.
async fn second_run(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let plan = plan(test).await?;
    for absent in ["kind: Certificate\n", "AFTER: "] {
        ensure!(!plan.contains(absent), "migrate says again: {plan}");
    }
    let before = generations(test).await?;
    run_commands(test, &plan, "BEFORE").await?;
    apply(test, &plan).await?;
    let after = generations(test).await?;
    ensure!(after == before, "{before:?} becomes {after:?}");
    all_moved(test).await
}

/// Returns the generations of all issuers and Certificates in the namespace.
async fn generations(test: &TestNamespace<'_>) -> anyhow::Result<BTreeMap<String, Option<i64>>> {
    let certificates = test.certificates().list(&ListParams::default()).await?;
    let issuers = test.api::<VaultIssuer>().list(&ListParams::default()).await?;
    let metadata = certificates
        .into_iter()
        .map(|certificate| ("Certificate", certificate.metadata))
        .chain(issuers.into_iter().map(|issuer| ("VaultIssuer", issuer.metadata)));
    Ok(metadata
        .map(|(kind, metadata)| {
            (
                format!("{kind} {}", metadata.name.unwrap_or_default()),
                metadata.generation,
            )
        })
        .collect())
}
