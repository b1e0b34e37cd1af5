//! Finds requests that cert-manager's built-in controllers have answered.

use std::fmt::Debug;

use anyhow::Context;
use issuer_api::CertificateRequest;
use issuer_core::reconcile::built_in_writer;
use issuer_core::reference::{IssuerKey, RequestKey, RequestKind};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Objects of a page.
const PAGE: u32 = 500;

/// The last write of another controller to a request of an issuer.
struct Write {
    at: Timestamp,
    manager: String,
    request: RequestKey,
}

/// Returns a sentence about the last request of each kind of one of cert-manager's issuers that another controller has
/// answered, and an error for a kind that cannot be listed.
pub(super) async fn traces(client: Client, issuer: &IssuerKey) -> Vec<anyhow::Result<String>> {
    let requests: Api<CertificateRequest> = if issuer.kind.is_cluster() {
        Api::all(client.clone())
    } else {
        Api::namespaced(client.clone(), &issuer.namespace)
    };
    let requests = trace(requests, |request: &CertificateRequest| of_request(request, issuer));
    let csrs = trace(Api::all(client), |csr: &CertificateSigningRequest| of_csr(csr, issuer));
    let found = [
        requests.await.context("CertificateRequests cannot be listed"),
        csrs.await.context("CertificateSigningRequests cannot be listed"),
    ];
    found.into_iter().filter_map(Result::transpose).collect()
}

/// Returns the key of a request if it is one of this issuer.
fn of_request(request: &CertificateRequest, issuer: &IssuerKey) -> Option<RequestKey> {
    let key = RequestKey::of(request);
    let named = IssuerKey::of(&request.spec.issuer_ref, &key.namespace)?;
    (named == *issuer).then_some(key)
}

/// Returns the same of a Kubernetes CSR.
fn of_csr(csr: &CertificateSigningRequest, issuer: &IssuerKey) -> Option<RequestKey> {
    let named = IssuerKey::of_signer(&csr.spec.signer_name)?;
    (named == *issuer).then(|| RequestKey {
        kind: RequestKind::CertificateSigningRequest,
        namespace: String::new(),
        name: csr.metadata.name.clone().unwrap_or_default(),
    })
}

/// Returns a sentence about the last of these requests that another controller has answered; `of_issuer` returns the key of
/// a request of the issuer.
async fn trace<K>(api: Api<K>, of_issuer: impl Fn(&K) -> Option<RequestKey>) -> kube::Result<Option<String>>
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    let mut params = ListParams::default().limit(PAGE);
    let mut last: Option<Write> = None;
    loop {
        let page = api.list(&params).await?;
        let writes = page
            .items
            .iter()
            .filter_map(|request| write(request.meta(), of_issuer(request)?));
        for write in writes {
            if last.as_ref().is_none_or(|last| last.at < write.at) {
                last = Some(write);
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            break;
        }
    }
    Ok(last.map(|Write { at, manager, request }| {
        let kind = request.kind.plural();
        format!(
            "built-in: {manager} wrote {request} at {at}; serve cert-manager's issuers only where that controller is \
             switched off, as with --controllers=*,-{kind}-issuer-vault of cert-manager"
        )
    }))
}

fn write(meta: &ObjectMeta, request: RequestKey) -> Option<Write> {
    let entries = meta.managed_fields.iter().flatten();
    let writes = entries.filter_map(|entry| {
        let manager = built_in_writer(entry)?;
        Some((entry.time.as_ref()?.0, manager))
    });
    let (at, manager) = writes.max()?;
    Some(Write {
        at,
        manager: manager.to_owned(),
        request,
    })
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::IssuerKind;
    use serde_json::json;

    use super::*;

    fn issuer() -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::DropInNamespaced,
            namespace: "team".to_owned(),
            name: "vault".to_owned(),
        }
    }

    #[test]
    fn only_writes_of_the_built_in_count() {
        let found = |manager: &str, subresource: &str, name: &str| {
            let entry = json!({ "manager": manager, "subresource": subresource, "time": "2026-01-01T00:00:00Z" });
            let request: CertificateRequest = serde_json::from_value(json!({
                "metadata": {
                    "name": "web",
                    "namespace": "team",
                    "managedFields": [entry],
                },
                "spec": { "request": "", "issuerRef": { "name": name } },
            }))
            .unwrap();
            let key = of_request(&request, &issuer())?;
            write(&request.metadata, key).map(|write| write.request.to_string())
        };
        assert_eq!(
            found("vault.cert-manager.io", "status", "vault").as_deref(),
            Some("CertificateRequest team/web")
        );
        assert_eq!(found("vault.cert-manager.io", "", "vault"), None);
        assert_eq!(found("vault.cert-manager.io", "status", "other"), None);
        assert_eq!(found("vault-issuer", "status", "vault"), None);
    }

    #[test]
    fn kubernetes_csrs_are_looked_at_too() {
        let found = |manager: &str, signer: &str| {
            let entry = json!({ "manager": manager, "subresource": "status", "time": "2026-01-01T00:00:00Z" });
            let csr: CertificateSigningRequest = serde_json::from_value(json!({
                "metadata": { "name": "web", "managedFields": [entry] },
                "spec": { "request": "", "signerName": signer },
            }))
            .unwrap();
            let key = of_csr(&csr, &issuer())?;
            write(&csr.metadata, key).map(|write| write.request.to_string())
        };
        let built_in = "cert-manager-certificatesigningrequests-issuer-vault";
        assert_eq!(
            found(built_in, "issuers.cert-manager.io/team.vault").as_deref(),
            Some("CertificateSigningRequest web")
        );
        assert_eq!(found(built_in, "issuers.cert-manager.io/other.vault"), None);
        assert_eq!(found(built_in, "clusterissuers.cert-manager.io/vault"), None);
        assert_eq!(
            found("kube-controller-manager", "issuers.cert-manager.io/team.vault"),
            None
        );
    }
}
