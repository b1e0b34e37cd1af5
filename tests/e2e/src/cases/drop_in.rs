//! cert-manager's own issuers, served by our controller. These cases run alone: they switch controllers of cert-manager off.

use std::ops::Range;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::{auth, tools};
use crate::pki::{Csr, Names};
use crate::servers::cluster::apply_object;
use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::test_namespace::{LATER, SOON, TestNamespace};

/// cert-manager's controller of CertificateRequests that signs with Vault.
pub(super) const BUILT_IN: &str = "certificaterequests-issuer-vault";

/// That of Kubernetes CSRs.
const BUILT_IN_CSRS: &str = "certificatesigningrequests-issuer-vault";

/// cert-manager's controllers that write the status of issuers.
const STATUS: [&str; 2] = ["issuers", "clusterissuers"];

/// The flags of drop-in mode; cert-manager runs with this cluster resource namespace.
pub(super) const FLAGS: [&str; 2] = [
    "--serve-cert-manager-issuers",
    "--drop-in-cluster-resource-namespace=vault-issuer",
];

/// The requests that are made at once during the switch.
const BATCH: usize = 10;

/// How often they are.
const BATCHES: usize = 20;

/// How many requests cert-manager's workers may leave half done when it is stopped: one each, and one that has to be saved
/// again.
const HALF_DONE: usize = 2 * 5;

/// Certificates of both kinds, while cert-manager's other controllers run.
pub(super) async fn certificates(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, &[]).await?;
    test.approve_all().await?;
    certificate(test, "of-issuer", "Issuer", "vault").await?;
    certificate(test, "of-cluster-issuer", "ClusterIssuer", test.case).await?;
    for name in ["of-issuer", "of-cluster-issuer"] {
        let issued = test.stored(name).await?;
        issued.rooted_in(&test.env.vault.root)?;
        let request = format!("{name}-1");
        test.event(&request, "CertificateIssued").await?;
        ensure!(
            written_by(test, &request, "vault-issuer").await?,
            "another has signed {request}"
        );
    }
    two_methods(test, &path).await?;
    let signatures = test.signatures(&path)?;
    ensure!(signatures == 2, "{signatures} signatures");
    ensure!(
        !managers(&issuer_object(test, "vault").await?).contains(&"vault-issuer"),
        "the status is written beside cert-manager"
    );
    end(test).await
}

/// An Issuer with two auth methods is not ready, as cert-manager's controller has it, and an event says so.
async fn two_methods(test: &TestNamespace<'_>, path: &str) -> anyhow::Result<()> {
    let auth = test.approle("approle", &test.policy(&[path]).await?, json!({})).await?;
    let mut auth = with_key(auth, "approle");
    auth["tokenSecretRef"] = json!({ "name": "approle", "key": "secretId" });
    issuer(test, "Issuer", "both", test.spec(path, auth)).await?;
    let event = test.event("both", "InvalidSpec").await?;
    let note = event.message.unwrap_or_default();
    ensure!(
        event.type_.as_deref() == Some("Warning") && note.contains("spec.auth: set exactly one of"),
        "the event says {note}"
    );
    condition(test, "both", "False").await?;
    request_of(test, "of-both", "both").await?;
    let message = test.pending("of-both").await?;
    ensure!(message.contains("both"), "the request says {message}");
    Ok(())
}

/// Requests that are older than their issuer are signed when it appears, whichever kind it is of.
pub(super) async fn late(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, &[]).await?;
    for number in 0..3 {
        request_of(test, &format!("early-{number}"), "late").await?;
    }
    // Nothing is kept of them, and this one has been seen after them.
    request(test, "seen").await?;
    issued(test, 1).await?;
    late_issuer(test, &path).await?;
    issued(test, 4).await?;
    let signatures = test.signatures(&path)?;
    ensure!(signatures == 4, "{signatures} signatures");
    end(test).await
}

/// An Issuer that logs in with a service account. The RoleBinding that cert-manager needs for that is of its own account, and
/// `check` says before the switch what ours lacks.
pub(super) async fn service_account(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let audience = format!("vault://{}/vault", test.namespace);
    auth::kubernetes_role(test, &path, json!({ "audience": audience })).await?;
    auth::account(test).await?;
    let kubernetes = json!({
        "role": test.case,
        "mountPath": "/v1/auth/kubernetes",
        "serviceAccountRef": { "name": "vault-login" },
    });
    issuer(
        test,
        "Issuer",
        "vault",
        test.spec(&path, json!({ "kubernetes": kubernetes })),
    )
    .await?;
    let warning = format!(
        "the controller (vault-issuer/vault-issuer) may not request tokens of ServiceAccount {}/vault-login",
        test.namespace
    );
    // The administrator may.
    let (good, output) = tools::run(test, &["check", "issuer/vault"]).await?;
    ensure!(good && output.contains(&warning), "check says {output}");

    let mut local = test.env.local_servers().await?;
    local.cert_manager.restart_without(&[BUILT_IN, BUILT_IN_CSRS])?;
    local.restart_controller_with(&FLAGS).await?;
    drop(local);
    request(test, "web").await?;
    test.event("vault", "TokenForbidden").await?;
    ensure!(test.signatures(&path)? == 0, "signed without the right to log in");
    auth::grant_tokens(test, "vault-login").await?;
    // The binding counts a moment after it is made.
    eventually(SOON, async || {
        let (good, output) = tools::run(test, &["check", "issuer/vault"]).await?;
        ensure!(good && !output.contains("may not"), "check says {output}");
        Ok(())
    })
    .await?;
    issued(test, 1).await?;
    end(test).await
}

/// Nobody else writes the status of issuers: it is ours, and follows the spec. Then others write it, and stop again.
pub(super) async fn status(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let mut local = test.env.local_servers().await?;
    local.cert_manager.restart_without(&[BUILT_IN, STATUS[0], STATUS[1]])?;
    local.restart_controller_with(&FLAGS).await?;
    drop(local);
    issuers(test).await?;
    ready(test, "True").await?;
    ensure!(
        managers(&issuer_object(test, "vault").await?).contains(&"vault-issuer"),
        "the status is not ours"
    );
    test.approve_all().await?;
    certificate(test, "web", "Issuer", "vault").await?;
    test.stored("web").await?;

    let path = format!("pki/sign/none-{}", test.case);
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    issuer(test, "Issuer", "vault", test.spec(&path, with_key(auth, "approle"))).await?;
    ready(test, "False").await?;

    // cert-manager's controllers are started again: they write, and ours yields.
    let mut local = test.env.local_servers().await?;
    local.cert_manager.restart_without(&[BUILT_IN])?;
    drop(local);
    ready(test, "True").await?;
    eventually(LATER, async || test.event("vault", "StatusYielded").await).await?;
    ready(test, "True").await?;

    // They stop for good: what they have left stays as it is until it is taken over.
    let mut local = test.env.local_servers().await?;
    local.cert_manager.restart_without(&[BUILT_IN, STATUS[0], STATUS[1]])?;
    local
        .restart_controller_with(&[&FLAGS[..], &["--issuer-status=leave"]].concat())
        .await?;
    drop(local);
    eventually(SOON, async || {
        let metrics = test.env.local_servers().await?.controller()?.metrics().await?;
        let is_ours = |line: &&str| line.contains(&test.namespace) && line.contains("RoleNotFound");
        let failed = metrics.lines().find(is_ours).context("the issuer is not checked")?;
        ensure!(failed.ends_with(" 1"), "{failed}");
        Ok(())
    })
    .await?;
    ready(test, "True").await?;
    let mut local = test.env.local_servers().await?;
    local
        .restart_controller_with(&[&FLAGS[..], &["--issuer-status=own"]].concat())
        .await?;
    drop(local);
    ready(test, "False").await?;
    end(test).await
}

/// From the built-in controller to ours and back, while requests are made all the time, and Certificates of both kinds before,
/// meanwhile and afterwards. A request is signed by one of the two, and by ours once.
pub(super) async fn switch(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = issuers(test).await?;
    ready(test, "True").await?;
    // Each request has a common name of its own, by which its signatures are found.
    let plain = json!({ "audit_non_hmac_request_keys": ["common_name"] });
    test.env.vault.admin.write("sys/mounts/pki/tune", plain).await?;

    test.approve_all().await?;
    of_both_kinds(test, "before").await?;
    let mut local = test.env.local_servers().await?;
    load(test, 0..4).await?;
    local.cert_manager.stop()?;
    let begin = Timestamp::now();
    load(test, 4..6).await?;
    local.cert_manager.restart_without(&[BUILT_IN])?;
    load(test, 6..8).await?;
    tokio::try_join!(local.restart_controller_with(&FLAGS), load(test, 8..12))?;
    load(test, 12..14).await?;
    issued(test, 14 * BATCH + 2).await?;
    of_both_kinds(test, "meanwhile").await?;

    load(test, 14..15).await?;
    tokio::try_join!(local.restart_controller_with(&[]), load(test, 15..17))?;
    let end = Timestamp::now();
    local.cert_manager.restart_without(&[])?;
    load(test, 17..BATCHES).await?;
    drop(local);
    issued(test, BATCHES * BATCH + 4).await?;
    of_both_kinds(test, "afterwards").await?;

    let mut signed = test.env.vault.audit.signed(&path)?;
    // Those of the Certificates, which have no common name.
    let of_certificates = signed.remove("").unwrap_or_default();
    let ours = of_certificates.iter().filter(|at| (begin..end).contains(*at));
    ensure!(ours.count() == 2, "Certificates are signed at {of_certificates:?}");
    ensure!(signed.len() == BATCHES * BATCH, "{} requests are signed", signed.len());
    let (mut of_ours, mut of_both) = (0, 0);
    for (name, times) in &signed {
        let ours = times.iter().filter(|at| (begin..end).contains(*at)).count();
        // What the built-in controller had signed but not saved when it was stopped is signed again, and so is, by itself,
        // what it could not save because of a conflict.
        let after = times.iter().filter(|at| **at >= end).count();
        ensure!(ours <= 1 && (ours == 0 || after == 0), "{name} is signed at {times:?}");
        of_ours += ours;
        of_both += usize::from(ours == 1 && times.len() > 1);
    }
    ensure!(of_both <= HALF_DONE, "{of_both} requests are signed by both");
    // Between the two waits nobody else has signed, and since the end ours has not.
    ensure!(
        (10 * BATCH..=17 * BATCH).contains(&of_ours),
        "ours has signed {of_ours} requests"
    );
    ensure!(
        written_by(test, "request-12-0", "vault-issuer").await?,
        "another has signed"
    );
    Ok(())
}

/// Creates both kinds of issuer, and begins drop-in mode with more flags; returns the path on which the issuers sign.
pub(super) async fn begin(test: &TestNamespace<'_>, flags: &[&str]) -> anyhow::Result<String> {
    let path = issuers(test).await?;
    let mut local = test.env.local_servers().await?;
    local.cert_manager.restart_without(&[BUILT_IN, BUILT_IN_CSRS])?;
    local.restart_controller_with(&[&FLAGS[..], flags].concat()).await?;
    Ok(path)
}

/// Ends drop-in mode, for the cases that follow.
pub(super) async fn end(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let mut local = test.env.local_servers().await?;
    local.restart_controller_with(&[]).await?;
    local.cert_manager.restore()
}

/// Creates an Issuer `vault` and a ClusterIssuer named after the case; returns the path on which they sign.
pub(super) async fn issuers(test: &TestNamespace<'_>) -> anyhow::Result<String> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    issuer(
        test,
        "Issuer",
        "vault",
        test.spec(&path, with_key(auth.clone(), "approle")),
    )
    .await?;
    let secret_id = test.secret_id("approle").await?;
    test.secret_in(NAMESPACE, test.case, &[("secretId", &secret_id)])
        .await?;
    let spec = test.spec(&path, with_key(auth, test.case));
    issuer(test, "ClusterIssuer", test.case, spec).await?;
    Ok(path)
}

/// Creates an Issuer `late`, which signs on `path`.
pub(super) async fn late_issuer(test: &TestNamespace<'_>, path: &str) -> anyhow::Result<()> {
    let auth = test.approle("approle", &test.policy(&[path]).await?, json!({})).await?;
    issuer(test, "Issuer", "late", test.spec(path, with_key(auth, "approle"))).await
}

/// Names the Secret with the key that cert-manager requires.
fn with_key(mut auth: Value, secret: &str) -> Value {
    auth["appRole"]["secretRef"] = json!({ "name": secret, "key": "secretId" });
    auth
}

pub(super) async fn issuer(test: &TestNamespace<'_>, kind: &str, name: &str, vault: Value) -> anyhow::Result<()> {
    let mut metadata = json!({ "name": name });
    if kind == "Issuer" {
        metadata["namespace"] = json!(test.namespace);
    }
    let object = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": { "vault": vault },
    });
    apply_object(&test.env.client, object).await
}

/// Applies a Certificate of one of cert-manager's issuers.
pub(super) async fn certificate(test: &TestNamespace<'_>, name: &str, kind: &str, issuer: &str) -> anyhow::Result<()> {
    test.apply(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": { "name": name },
        "spec": {
            "secretName": name,
            "dnsNames": ["www.example.com"],
            "privateKey": { "algorithm": "ECDSA", "rotationPolicy": "Always" },
            "issuerRef": { "kind": kind, "name": issuer },
        },
    }))
    .await
}

/// Creates a Certificate of the Issuer and one of the ClusterIssuer, and waits until both are issued.
async fn of_both_kinds(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<()> {
    for (kind, issuer) in [("Issuer", "vault"), ("ClusterIssuer", test.case)] {
        let name = format!("{name}-{}", kind.to_lowercase());
        certificate(test, &name, kind, issuer).await?;
        test.stored(&name).await?;
    }
    Ok(())
}

/// Creates batches of requests one after the other, and does not wait for their certificates.
async fn load(test: &TestNamespace<'_>, batches: Range<usize>) -> anyhow::Result<()> {
    for batch in batches {
        let names = (0..BATCH).map(|number| format!("request-{batch}-{number}"));
        futures::future::try_join_all(names.map(async |name| request(test, &name).await)).await?;
    }
    Ok(())
}

/// Creates an approved request of the Issuer `vault`.
pub(super) async fn request(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<()> {
    request_of(test, name, "vault").await
}

/// Creates an approved request of another Issuer.
pub(super) async fn request_of(test: &TestNamespace<'_>, name: &str, issuer: &str) -> anyhow::Result<()> {
    unapproved(test, name, issuer).await?;
    test.decide(name, "Approved").await
}

/// Creates a request of an Issuer that is neither approved nor denied.
pub(super) async fn unapproved(test: &TestNamespace<'_>, name: &str, issuer: &str) -> anyhow::Result<()> {
    let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
    test.apply(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": { "name": name },
        "spec": {
            "request": issuer_api::Base64::encode(&csr.pem),
            "issuerRef": { "kind": "Issuer", "name": issuer, "group": "cert-manager.io" },
        },
    }))
    .await
}

/// Waits until so many requests have their certificates.
async fn issued(test: &TestNamespace<'_>, count: usize) -> anyhow::Result<()> {
    let requests = test.api::<CertificateRequest>();
    eventually(LATER, async || {
        let list = requests.list(&ListParams::default()).await?;
        let issued = list.items.iter().filter(|request| request.is("Ready")).count();
        ensure!(issued == count, "{issued} of {count} requests are issued");
        Ok(())
    })
    .await
}

/// Waits for the status of the Issuer's condition Ready, for its present spec.
pub(super) async fn ready(test: &TestNamespace<'_>, wanted: &str) -> anyhow::Result<()> {
    condition(test, "vault", wanted).await
}

/// Waits for the status of the condition Ready of another Issuer.
async fn condition(test: &TestNamespace<'_>, name: &str, wanted: &str) -> anyhow::Result<()> {
    eventually(LATER, async || {
        let issuer = issuer_object(test, name).await?;
        let conditions = issuer.data["status"]["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready");
        let ready = ready.context("no Ready condition")?;
        ensure!(ready["status"] == wanted, "it is {ready}");
        ensure!(
            ready["observedGeneration"].as_i64() == issuer.metadata.generation,
            "the condition is of another generation"
        );
        Ok(())
    })
    .await
}

async fn issuer_object(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "Issuer"));
    let issuers: Api<DynamicObject> = Api::namespaced_with(test.env.client.clone(), &test.namespace, &resource);
    Ok(issuers.get(name).await?)
}

/// Returns the managers of an object's fields.
fn managers(object: &DynamicObject) -> Vec<&str> {
    let entries = object.metadata.managed_fields.iter().flatten();
    entries.filter_map(|entry| entry.manager.as_deref()).collect()
}

/// Returns `true` if this manager has written to a request.
pub(super) async fn written_by(test: &TestNamespace<'_>, request: &str, manager: &str) -> anyhow::Result<bool> {
    let request = test.api::<CertificateRequest>().get(request).await?;
    let mut entries = request.metadata.managed_fields.iter().flatten();
    Ok(entries.any(|entry| entry.manager.as_deref() == Some(manager)))
}
