//! Finds requests that cert-manager's built-in controller has answered.

use anyhow::Context;
use issuer_api::CertificateRequest;
use issuer_core::reconcile::built_in_writer;
use issuer_core::reference::{IssuerKey, RequestKey};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};

/// Objects of a page.
const PAGE: u32 = 500;

/// The last write of another controller to a request of an issuer.
struct Write {
    at: Timestamp,
    manager: String,
    request: RequestKey,
}

/// Returns a sentence about the last request of one of cert-manager's issuers that another controller has answered.
pub(super) async fn trace(client: Client, issuer: &IssuerKey) -> anyhow::Result<Option<String>> {
    let api: Api<CertificateRequest> = if issuer.kind.is_cluster() {
        Api::all(client)
    } else {
        Api::namespaced(client, &issuer.namespace)
    };
    let mut params = ListParams::default().limit(PAGE);
    let mut last: Option<Write> = None;
    loop {
        let page = api
            .list(&params)
            .await
            .context("CertificateRequests cannot be listed")?;
        for write in page.items.iter().filter_map(|request| write(request, issuer)) {
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
        format!(
            "built-in: {manager} wrote {request} at {at}; serve cert-manager's issuers only where that controller is \
             switched off, as with --controllers=*,-certificaterequests-issuer-vault of cert-manager"
        )
    }))
}

fn write(request: &CertificateRequest, issuer: &IssuerKey) -> Option<Write> {
    let key = RequestKey::of(request);
    if IssuerKey::of(&request.spec.issuer_ref, &key.namespace).as_ref() != Some(issuer) {
        return None;
    }
    let entries = request.metadata.managed_fields.iter().flatten();
    let writes = entries.filter_map(|entry| {
        let manager = built_in_writer(entry)?;
        Some((entry.time.as_ref()?.0, manager))
    });
    let (at, manager) = writes.max()?;
    Some(Write {
        at,
        manager: manager.to_owned(),
        request: key,
    })
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::IssuerKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_writes_of_the_built_in_count() {
        let issuer = IssuerKey {
            kind: IssuerKind::DropInNamespaced,
            namespace: "team".to_owned(),
            name: "vault".to_owned(),
        };
        let found = |manager: &str, subresource: &str, name: &str| {
            let entry = json!({ "manager": manager, "subresource": subresource, "time": "2026-01-01T00:00:00Z" });
            let request = serde_json::from_value(json!({
                "metadata": {
                    "name": "web",
                    "namespace": "team",
                    "managedFields": [entry],
                },
                "spec": { "request": "", "issuerRef": { "name": name } },
            }))
            .unwrap();
            write(&request, &issuer).map(|write| write.request.to_string())
        };
        assert_eq!(
            found("vault.cert-manager.io", "status", "vault").as_deref(),
            Some("CertificateRequest team/web")
        );
        assert_eq!(found("vault.cert-manager.io", "", "vault"), None);
        assert_eq!(found("vault.cert-manager.io", "status", "other"), None);
        assert_eq!(found("vault-issuer", "status", "vault"), None);
    }
}
