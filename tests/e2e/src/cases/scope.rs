//! How far the controller reaches: namespaces, and Vault behind a proxy.

use anyhow::{Context, ensure};
use issuer_api::{CertificateRequest, VaultIssuer};
use serde_json::{Value, json};

use super::tools;
use crate::pki::{Csr, Names};
use crate::servers::cluster;
use crate::servers::connect_proxy::{Answer, ConnectProxy};
use crate::servers::controller::Launch;
use crate::servers::process::{eventually, free_port};
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// A cluster issuer selects namespaces by the labels that they have when a request is signed.
pub(super) async fn selected_namespaces(test: &TestNamespace<'_>, mut spec: Value) -> anyhow::Result<()> {
    let csr = Csr::new(&Names::common("www.example.com"))?;
    let ask = Ask {
        issuer: test.case,
        cluster: true,
        ..Ask::default()
    };
    let selector = json!({ "matchExpressions": [{ "key": "e2e-signs", "operator": "In", "values": ["yes", "sure"] }] });
    spec["allowedNamespaces"] = json!({ "names": ["elsewhere"], "selector": selector });
    test.cluster_issuer(spec).await?;
    test.cluster_ready().await?;
    for (name, value) in [("unlabeled", None), ("labeled", Some("yes")), ("relabeled", Some("no"))] {
        if let Some(value) = value {
            let labels = json!({ "e2e-signs": value });
            let metadata = json!({ "name": test.namespace, "labels": labels });
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
            cluster::apply_object(&test.env.client, namespace).await?;
        }
        test.request(name, &csr.pem, ask).await?;
        if value == Some("yes") {
            test.issued(name, &csr, SOON).await?;
        } else {
            let message = test.failed(name, "Failed").await?;
            ensure!(message.contains("nor select its labels"), "{name}: {message}");
        }
    }
    Ok(())
}

/// Issuers reach Vault through proxies, which see CONNECT and no token, and whose refusals are told apart.
pub(super) async fn proxy(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let vault = test.env.vault.port()?;
    let proxy = ConnectProxy::start(vault, Answer::Connects).await?;
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let through = |authority: &str| {
        let mut spec = test.spec(&path, auth.clone());
        spec["proxy"] = json!(format!("http://{authority}"));
        spec
    };
    test.issuer("vault", through(&proxy.authority())).await?;
    test.ready("vault", SOON).await?;
    let csr = Csr::new(&Names::common("behind.example.com"))?;
    test.request("behind", &csr.pem, Ask::default()).await?;
    test.issued("behind", &csr, SOON).await?;
    let heads = proxy.heads();
    let asked = format!("CONNECT 127.0.0.1:{vault} HTTP/1.1\r\n");
    ensure!(
        !heads.is_empty() && heads.iter().all(|head| head.starts_with(&asked)),
        "the proxy was asked {heads:?}"
    );

    let refuses = |status| ConnectProxy::start(vault, Answer::Refuses(status));
    let (forbids, fails) = (refuses("403 Forbidden").await?, refuses("502 Bad Gateway").await?);
    let demands = ConnectProxy::start(vault, Answer::Demands(BASIC)).await?;
    let nobody = format!("127.0.0.1:{}", free_port()?);
    for (name, authority, hint) in [
        ("forbids", forbids.authority(), "403"),
        ("fails", fails.authority(), "502"),
        ("demands", demands.authority(), "407"),
        ("nobody", nobody, "connection refused"),
    ] {
        test.issuer(name, through(&authority)).await?;
        test.unready(name, "ProxyFailed", SOON).await?;
        let issuer = test.api::<VaultIssuer>().get(name).await?;
        let status = issuer.status.context("no status")?;
        let message = &status.ready().context("no Ready condition")?.message;
        ensure!(message.contains(hint), "{name}: {message}");
    }
    Ok(())
}

/// The credentials that a proxy demands: `user:hunter-2`.
const BASIC: &str = "Basic dXNlcjpodW50ZXItMg==";

/// The proxy of the environment, which resolves the name of the server, and hosts that are not reached through it: for the
/// command line and for the controller.
pub(super) async fn proxy_of_environment(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.env.canary("hunter-2");
    let proxy = ConnectProxy::start(test.env.vault.port()?, Answer::Demands(BASIC)).await?;
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let mut spec = test.spec(&path, auth);
    spec["server"] = json!("https://vault.e2e.invalid:8200");
    spec["serverName"] = json!("127.0.0.1");
    test.issuer("named", spec).await?;

    let url = format!("http://user:hunter-2@{}", proxy.authority());
    let through = [("HTTPS_PROXY", url.clone())];
    let around = [("HTTPS_PROXY", url), ("NO_PROXY", "e2e.invalid".to_owned())];
    let check = ["check", "vaultissuer/named"];
    let (good, output) = tools::run_with(test, &check, &through).await?;
    let line = format!("vault.e2e.invalid:8200 through proxy {}", proxy.authority());
    ensure!(good && output.contains(&line), "check says {output}");
    ensure!(!output.contains("hunter-2"), "check shows a password");
    let (good, output) = tools::run_with(test, &check, &around).await?;
    ensure!(!good && output.contains("VaultUnreachable"), "check says {output}");

    let restart = async |variables| {
        let mut local = test.env.local_servers().await?;
        local
            .restart_controller_in(variables, &["--allowed-servers=vault.e2e.invalid"])
            .await
    };
    restart(&through).await?;
    test.ready("named", SOON).await?;
    let csr = Csr::new(&Names::common("through.example.com"))?;
    let ask = Ask {
        issuer: "named",
        ..Ask::default()
    };
    test.request("through", &csr.pem, ask).await?;
    test.issued("through", &csr, SOON).await?;
    restart(&around).await?;
    test.unready("named", "VaultUnreachable", SOON).await?;
    test.env.local_servers().await?.restart_controller_with(&[]).await
}

/// A controller with rights in its namespaces alone signs there, whether or not it can list all of them, and leaves the
/// requests of cluster issuers alone.
pub(super) async fn limited(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "limited" } });
    test.apply(account).await?;
    let subject = json!({ "kind": "ServiceAccount", "name": "limited", "namespace": test.namespace });
    // Bound in the namespace, it grants nothing outside of it.
    for role in ["vault-issuer-controller", "vault-issuer-credentials"] {
        test.bind(role, subject.clone()).await?;
    }
    let token = cluster::service_account_token(&test.env.client, &test.namespace, "limited").await?;
    test.env.canary(&token);

    let mut local = test.env.local_servers().await?;
    local.stop_controller()?;
    let port = local.cluster.port;
    let launch = Launch {
        kubeconfig: local.cluster.write_kubeconfig("limited", port, &token)?,
        ..local.launch(port)?
    };
    let flags = [
        "--leader-elect=false",
        "--namespace",
        &test.namespace,
        "--namespace=e2e-of-nobody",
    ];
    let mut controller = launch.spawn("vault-issuer-limited", &flags)?;
    drop(local);

    let path = test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("limited.example.com"))?;
    let cluster = Ask {
        issuer: test.case,
        cluster: true,
        ..Ask::default()
    };
    test.request("of-cluster-issuer", &csr.pem, cluster).await?;
    test.request("limited", &csr.pem, Ask::default()).await?;
    test.issued("limited", &csr, LATER).await?;
    ensure!(test.signatures(&path)? == 1, "{} signatures", test.signatures(&path)?);
    let other = test.api::<CertificateRequest>().get("of-cluster-issuer").await?;
    ensure!(
        other.condition("Ready").is_none(),
        "a request of a cluster issuer was answered"
    );
    // It says which namespace it cannot list.
    eventually(SOON, async || {
        let ready = controller.readiness().await?;
        ensure!(
            ready.contains("[-]VaultIssuer in e2e-of-nobody failed")
                && ready.contains(&format!("[+]VaultIssuer in {} ok", test.namespace)),
            "/readyz says {ready}"
        );
        Ok(())
    })
    .await?;
    controller.process().stop()?;
    test.env.local_servers().await?.start_controller().await
}
