//! Kubernetes CertificateSigningRequests. These cases run alone: they start our controller with a flag.

mod requests;

use anyhow::ensure;
use issuer_api::CertificateSigningRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest as Kubernetes;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use self::requests::{REQUESTER, create, decide, event, failed, issued, object_name, read};
use super::tools;
use crate::issued::{Issued, common_name};
use crate::pki::{Csr, Names};
use crate::servers::cluster::apply_object;
use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::test_namespace::{LATER, SOON, TestNamespace};

const FLAG: &str = "--sign-kubernetes-csrs";

const RBAC: &str = "rbac.authorization.k8s.io";

/// The group of kubelets.
const GROUP: &str = "system:nodes";

/// A kubelet's request for a client certificate: untouched until it is approved, then signed once, for as long as it asks. Its
/// organization is the role's, as always with `sign`, or its own with `sign-verbatim`.
pub(super) async fn certificate(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, json!({ "organization": [GROUP] })).await?;
    grant(test, &role(test, "Role", "vaultissuers", "*")).await?;
    let csr = Csr::new(&Names {
        organization: GROUP,
        ..Names::common(REQUESTER)
    })?;
    let signer = format!("vaultissuers.vault-issuer.io/{}.vault", test.namespace);
    create(
        test,
        "kubelet",
        &csr,
        json!({ "signerName": signer, "expirationSeconds": 3600 }),
    )
    .await?;
    event(test, "kubelet", "WaitingForApproval").await?;
    ensure!(test.signatures(&path)? == 0, "signed without approval");
    decide(test, "kubelet", "Approved").await?;
    let certificate = issued(test, "kubelet", &csr).await?;
    lasts(&certificate, 3600)?;
    is_kubelet(&certificate)?;
    ensure!(test.signatures(&path)? == 1, "{} signatures", test.signatures(&path)?);
    let conditions = read(test, "kubelet").await?.status.unwrap_or_default().conditions;
    let kinds: Vec<_> = conditions.iter().map(|condition| condition.kind.as_str()).collect();
    ensure!(kinds == ["Approved"], "{kinds:?}");
    annotated(test, &csr, &signer).await?;

    let verbatim = test.sign_verbatim().await?;
    let policy = test.policy(&[&path, &verbatim]).await?;
    let auth = test.approle("approle", &policy, json!({})).await?;
    test.issuer("verbatim", test.spec(&verbatim, auth)).await?;
    test.ready("verbatim", SOON).await?;
    let signer = format!("vaultissuers.vault-issuer.io/{}.verbatim", test.namespace);
    create(test, "verbatim", &csr, json!({ "signerName": signer })).await?;
    decide(test, "verbatim", "Approved").await?;
    is_kubelet(&issued(test, "verbatim", &csr).await?)?;
    end(test).await
}

/// cert-manager's annotation may shorten `expirationSeconds`, but not below what that may ask for.
async fn annotated(test: &TestNamespace<'_>, csr: &Csr, signer: &str) -> anyhow::Result<()> {
    let spec = |duration: &str| {
        json!({
            "annotations": { CertificateSigningRequest::DURATION: duration },
            "signerName": signer,
            "expirationSeconds": 7200,
        })
    };
    create(test, "annotated", csr, spec("30m")).await?;
    decide(test, "annotated", "Approved").await?;
    lasts(&issued(test, "annotated", csr).await?, 1800)?;
    let annotations = read(test, "annotated").await?.metadata.annotations.unwrap_or_default();
    let kept = annotations.contains_key(CertificateSigningRequest::DURATION);
    ensure!(
        kept,
        "the write of the status has replaced the annotations by {annotations:?}"
    );
    // Zero is the role's default, which may be longer.
    create(test, "zero", csr, spec("0s")).await?;
    decide(test, "zero", "Approved").await?;
    lasts(&issued(test, "zero", csr).await?, 7200)?;
    create(test, "short", csr, spec("9m")).await?;
    decide(test, "short", "Approved").await?;
    let message = failed(test, "short", "InvalidRequest").await?;
    ensure!(message.contains("shorter than 600s"), "{message}");
    Ok(())
}

/// Checks the lifetime of a certificate, in seconds; Vault lets it begin half a minute earlier.
fn lasts(certificate: &Issued, seconds: i64) -> anyhow::Result<()> {
    let lifetime = certificate.lifetime()?;
    ensure!(
        (seconds - 100..=seconds + 100).contains(&lifetime),
        "it is valid for {lifetime} seconds"
    );
    Ok(())
}

/// Checks that the subject is that of a kubelet, to which the API server gives its rights by the organization.
fn is_kubelet(certificate: &Issued) -> anyhow::Result<()> {
    let leaf = certificate.leaf()?;
    let organizations: Vec<_> = leaf.subject().iter_organization().map(|name| name.as_str()).collect();
    ensure!(
        organizations == [Ok(GROUP)] && common_name(&leaf) == REQUESTER,
        "its subject is {}",
        leaf.subject()
    );
    Ok(())
}

/// A request whose requester may not reference the issuer fails for good; a permission for all names suffices.
pub(super) async fn permission(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, json!({})).await?;
    let csr = Csr::new(&Names::common("web.example.com"))?;
    let spec = json!({ "signerName": format!("vaultissuers.vault-issuer.io/{}.vault", test.namespace) });
    grant(test, &role(test, "Role", "vaultissuers", "other")).await?;
    create(test, "stranger", &csr, spec.clone()).await?;
    decide(test, "stranger", "Approved").await?;
    let message = failed(test, "stranger", "DeniedReference").await?;
    ensure!(message.contains("reference"), "{message}");
    event(test, "stranger", "DeniedReference").await?;
    ensure!(test.signatures(&path)? == 0, "signed without permission");

    grant(test, &role(test, "Role", "vaultissuers", "*")).await?;
    create(test, "permitted", &csr, spec).await?;
    decide(test, "permitted", "Approved").await?;
    issued(test, "permitted", &csr).await?;
    ensure!(test.signatures(&path)? == 1, "{} signatures", test.signatures(&path)?);
    end(test).await
}

/// A denied request is never signed, nor is one that is deleted while its issuer is missing; one that waits is signed when
/// the issuer appears, and says until then in events why it waits.
pub(super) async fn waiting(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, json!({})).await?;
    grant(test, &role(test, "Role", "vaultissuers", "*")).await?;
    let csr = Csr::new(&Names::common("web.example.com"))?;
    let of =
        |issuer: &str| json!({ "signerName": format!("vaultissuers.vault-issuer.io/{}.{issuer}", test.namespace) });
    create(test, "denied", &csr, of("vault")).await?;
    decide(test, "denied", "Denied").await?;
    for name in ["deleted", "patient"] {
        create(test, name, &csr, of("late")).await?;
        decide(test, name, "Approved").await?;
        event(test, name, "IssuerNotFound").await?;
    }
    let requests: Api<Kubernetes> = Api::all(test.env.client.clone());
    requests
        .delete(&object_name(test, "deleted"), &DeleteParams::default())
        .await?;
    let auth = test.approle("approle", test.case, json!({})).await?;
    test.issuer("late", test.spec(&path, auth)).await?;
    test.ready("late", SOON).await?;
    issued(test, "patient", &csr).await?;
    ensure!(test.signatures(&path)? == 1, "{} signatures", test.signatures(&path)?);
    let denied = read(test, "denied").await?.status.unwrap_or_default();
    ensure!(
        denied.certificate.is_none() && denied.conditions.len() == 1,
        "{denied:?}"
    );
    end(test).await
}

/// A VaultClusterIssuer, whose requesters need a ClusterRole.
pub(super) async fn cluster(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, json!({})).await?;
    let auth = test.approle("approle", test.case, json!({})).await?;
    let id = test.secret_id("approle").await?;
    test.secret_in(NAMESPACE, test.case, &[("secretId", &id)]).await?;
    let mut spec = test.spec(&path, auth);
    spec["auth"]["appRole"]["secretRef"] = json!({ "name": test.case });
    test.cluster_issuer(spec).await?;
    test.cluster_ready().await?;
    // The permission on issuers of a namespace does not count.
    grant(test, &role(test, "Role", "vaultclusterissuers", "*")).await?;
    let csr = Csr::new(&Names::common("web.example.com"))?;
    let of = json!({ "signerName": format!("vaultclusterissuers.vault-issuer.io/{}", test.case) });
    create(test, "stranger", &csr, of.clone()).await?;
    decide(test, "stranger", "Approved").await?;
    failed(test, "stranger", "DeniedReference").await?;
    grant(test, &role(test, "ClusterRole", "vaultclusterissuers", test.case)).await?;
    create(test, "permitted", &csr, of).await?;
    decide(test, "permitted", "Approved").await?;
    issued(test, "permitted", &csr).await?;
    end(test).await
}

/// cert-manager's own issuers, with the permission that cert-manager asks for.
pub(super) async fn drop_in(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = super::drop_in::begin(test, &[FLAG]).await?;
    may_request(test).await?;
    let csr = Csr::new(&Names::common("web.example.com"))?;
    let of_issuer = json!({ "signerName": format!("issuers.cert-manager.io/{}.vault", test.namespace) });
    create(test, "stranger", &csr, of_issuer.clone()).await?;
    decide(test, "stranger", "Approved").await?;
    failed(test, "stranger", "DeniedReference").await?;
    grant(test, &role(test, "Role", "signers", "vault")).await?;
    let of_cluster_issuer = json!({ "signerName": format!("clusterissuers.cert-manager.io/{}", test.case) });
    for (name, spec) in [("of-issuer", of_issuer), ("of-cluster-issuer", of_cluster_issuer)] {
        create(test, name, &csr, spec).await?;
        decide(test, name, "Approved").await?;
        issued(test, name, &csr).await?;
    }
    // Nothing is kept of a request whose issuer does not exist; it is found when the issuer appears.
    grant(test, &role(test, "Role", "signers", "*")).await?;
    let of_late = json!({ "signerName": format!("issuers.cert-manager.io/{}.late", test.namespace) });
    create(test, "early", &csr, of_late).await?;
    decide(test, "early", "Approved").await?;
    super::drop_in::late_issuer(test, &path).await?;
    issued(test, "early", &csr).await?;
    ensure!(test.signatures(&path)? == 3, "{} signatures", test.signatures(&path)?);
    end(test).await?;
    super::drop_in::end(test).await
}

/// cert-manager's own controller of these requests still runs: `check` finds it before, and ours stops and says so.
pub(super) async fn beside(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    super::drop_in::issuers(test).await?;
    may_request(test).await?;
    grant(test, &role(test, "Role", "signers", "*")).await?;
    let csr = Csr::new(&Names::common("web.example.com"))?;
    let of_issuer = json!({ "signerName": format!("issuers.cert-manager.io/{}.vault", test.namespace) });
    create(test, "before", &csr, of_issuer.clone()).await?;
    decide(test, "before", "Approved").await?;
    issued(test, "before", &csr).await?;
    let (good, output) = tools::run(test, &["check", "issuer/vault"]).await?;
    let warning =
        "warning built-in: cert-manager-certificatesigningrequests-issuer-vault worked on CertificateSigningRequest";
    ensure!(good && output.contains(warning), "check says {output}");

    super::beside::begin_with_csrs(test, &[FLAG]).await?;
    let mut number = 0;
    eventually(LATER, async || {
        number += 1;
        let name = format!("beside-{number}");
        super::beside::without_ours(test, async {
            create(test, &name, &csr, of_issuer.clone()).await?;
            decide(test, &name, "Approved").await?;
            issued(test, &name, &csr).await.map(drop)
        })
        .await?;
        super::beside::has_stopped(test).await
    })
    .await?;
    super::beside::stop_is_reported(test).await?;
    end(test).await?;
    super::drop_in::end(test).await
}

/// Creates the issuer `vault` with this role, and starts our controller with the flag; returns the path on which the issuer
/// signs.
async fn begin(test: &TestNamespace<'_>, role: Value) -> anyhow::Result<String> {
    let mut local = test.env.local_servers().await?;
    local.restart_controller_with(&[FLAG]).await?;
    drop(local);
    may_request(test).await?;
    test.signer(role).await
}

/// Allows the requester to create requests, as kubelets may.
async fn may_request(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let role = json!({ "apiGroup": RBAC, "kind": "ClusterRole", "name": "system:node-bootstrapper" });
    apply_object(&test.env.client, binding("ClusterRoleBinding", "e2e-requesters", &role)).await
}

/// Starts our controller without the flag, and deletes what is not in the namespace.
async fn end(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let requests: Api<Kubernetes> = Api::all(test.env.client.clone());
    let all = requests.list(&ListParams::default()).await?;
    let names = all.items.into_iter().filter_map(|request| request.metadata.name);
    for name in names.filter(|name| name.starts_with(test.case)) {
        requests.delete(&name, &DeleteParams::default()).await?;
    }
    let mut local = test.env.local_servers().await?;
    local.restart_controller_with(&[]).await
}

/// Returns a role that allows to reference the issuers of this name.
fn role(test: &TestNamespace<'_>, kind: &str, resource: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": kind,
        "metadata": { "name": test.case },
        "rules": [{
            "apiGroups": [if resource == "signers" { "cert-manager.io" } else { "vault-issuer.io" }],
            "resources": [resource],
            "resourceNames": [name],
            "verbs": ["reference"],
        }],
    })
}

/// Creates a role, binds it to the requester's group, and waits until it counts.
async fn grant(test: &TestNamespace<'_>, role: &Value) -> anyhow::Result<()> {
    let is_cluster = role["kind"] == "ClusterRole";
    let kind = if is_cluster {
        "ClusterRoleBinding"
    } else {
        "RoleBinding"
    };
    let reference = json!({ "apiGroup": RBAC, "kind": role["kind"], "name": test.case });
    for object in [role.clone(), binding(kind, test.case, &reference)] {
        if is_cluster {
            apply_object(&test.env.client, object).await?;
        } else {
            test.apply(object).await?;
        }
    }
    let rule = &role["rules"][0];
    let namespace = if is_cluster { "" } else { &test.namespace };
    let review = json!({ "spec": { "groups": [GROUP], "resourceAttributes": {
        "group": rule["apiGroups"][0],
        "resource": rule["resources"][0],
        "name": rule["resourceNames"][0],
        "namespace": namespace,
        "verb": "reference",
    } } });
    let review: SubjectAccessReview = serde_json::from_value(review)?;
    let reviews: Api<SubjectAccessReview> = Api::all(test.env.client.clone());
    eventually(SOON, async || {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        ensure!(
            answer.status.is_some_and(|status| status.allowed),
            "{role} does not count"
        );
        Ok(())
    })
    .await
}

/// Returns a binding of a role to the requester's group.
fn binding(kind: &str, name: &str, role: &Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": kind,
        "metadata": { "name": name },
        "roleRef": role,
        "subjects": [{ "apiGroup": RBAC, "kind": "Group", "name": GROUP }],
    })
}
