//! Finds requests that cert-manager's built-in controllers have answered.

use anyhow::Context;
use issuer_api::{CertificateRequest, CertificateSigningRequest};
use issuer_core::reconcile::{BuiltInAnswer, ObservedRequest, built_in_answer};
use issuer_core::reference::{IssuerKey, RequestKey, RequestKind};
use kube::Client;
use kube::api::{ListParams, ObjectList};
use kube::core::Request;
use serde::de::DeserializeOwned;

/// Objects of a page.
const PAGE: u32 = 500;

/// Returns a sentence about the last request of each kind of one of cert-manager's issuers that another controller has
/// answered, and an error for a kind that cannot be listed.
pub(super) async fn traces(client: Client, issuer: &IssuerKey) -> Vec<anyhow::Result<String>> {
    let requests = trace::<CertificateRequest>(&client, RequestKind::CertificateRequest, issuer).await;
    let csrs = trace::<CertificateSigningRequest>(&client, RequestKind::CertificateSigningRequest, issuer).await;
    [requests, csrs].into_iter().filter_map(Result::transpose).collect()
}

/// Returns a sentence about the last request of a kind that another controller has answered.
async fn trace<T>(client: &Client, kind: RequestKind, issuer: &IssuerKey) -> anyhow::Result<Option<String>>
where
    T: Clone + DeserializeOwned + Into<ObservedRequest>,
{
    let requests = Request::new(url(kind, issuer));
    let mut params = ListParams::default().limit(PAGE);
    let mut last: Option<(BuiltInAnswer, RequestKey)> = None;
    loop {
        let page = client.request::<ObjectList<T>>(requests.list(&params)?).await;
        let page = page.with_context(|| format!("{}s cannot be listed", kind.as_str()))?;
        let answers = page
            .items
            .into_iter()
            .filter_map(|request| answer(&request.into(), issuer));
        last = last.into_iter().chain(answers).max_by_key(|(answer, _)| answer.at);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            break;
        }
    }
    Ok(last.map(|(BuiltInAnswer { at, manager }, request)| {
        let writer = manager
            .as_deref()
            .unwrap_or("cert-manager's controller, by its message,");
        let kind = request.kind.plural();
        format!(
            "built-in: {writer} wrote {request} at {at}; serve cert-manager's issuers only where that controller is \
             switched off, as with --controllers=*,-{kind}-issuer-vault of cert-manager"
        )
    }))
}

/// Returns the path of the requests that may name an issuer.
fn url(kind: RequestKind, issuer: &IssuerKey) -> String {
    let (version, plural) = (kind.api_version(), kind.plural());
    match kind {
        RequestKind::CertificateRequest if !issuer.kind.is_cluster() => {
            format!("/apis/{version}/namespaces/{}/{plural}", issuer.namespace)
        }
        RequestKind::CertificateRequest | RequestKind::CertificateSigningRequest => {
            format!("/apis/{version}/{plural}")
        }
    }
}

/// Returns the answer of another controller to a request, if it is one of this issuer.
fn answer(request: &ObservedRequest, issuer: &IssuerKey) -> Option<(BuiltInAnswer, RequestKey)> {
    let is_of_issuer = request.issuer().as_ref() == Some(issuer);
    let answer = built_in_answer(request).filter(|_| is_of_issuer)?;
    Some((answer, request.key()))
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::IssuerKind;
    use serde_json::{Value, json};

    use super::*;

    fn issuer() -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::DropInNamespaced,
            namespace: "team".to_owned(),
            name: "vault".to_owned(),
        }
    }

    /// Returns the metadata of a request, written by this field manager.
    fn written_by(manager: &str, subresource: &str) -> Value {
        let entry = json!({ "manager": manager, "subresource": subresource, "time": "2026-01-01T00:00:00Z" });
        json!({ "name": "web", "namespace": "team", "managedFields": [entry] })
    }

    fn found(request: impl Into<ObservedRequest>) -> Option<(Option<String>, String)> {
        let (answer, key) = answer(&request.into(), &issuer())?;
        assert_eq!(answer.at.to_string(), "2026-01-01T00:00:00Z");
        Some((answer.manager, key.to_string()))
    }

    fn of_request(metadata: Value, issuer: &str, status: Value) -> Option<(Option<String>, String)> {
        let spec = json!({ "request": "", "issuerRef": { "name": issuer } });
        let request = json!({ "metadata": metadata, "spec": spec, "status": status });
        found(serde_json::from_value::<CertificateRequest>(request).unwrap())
    }

    fn of_csr(mut metadata: Value, signer: &str, status: Value) -> Option<(Option<String>, String)> {
        metadata["namespace"] = Value::Null;
        let spec = json!({ "request": "", "signerName": signer });
        let request = json!({ "metadata": metadata, "spec": spec, "status": status });
        found(serde_json::from_value::<CertificateSigningRequest>(request).unwrap())
    }

    fn condition(kind: &str, message: &str) -> Value {
        json!({ "conditions": [{
            "type": kind,
            "status": "True",
            "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] })
    }

    #[test]
    fn only_writes_of_the_built_in_count() {
        let by = |manager: &str, subresource: &str, issuer: &str| {
            of_request(written_by(manager, subresource), issuer, json!({}))
        };
        let successor = "vault.cert-manager.io";
        let web = "CertificateRequest team/web".to_owned();
        assert_eq!(
            by(successor, "status", "vault"),
            Some((Some(successor.to_owned()), web))
        );
        assert_eq!(by(successor, "", "vault"), None);
        assert_eq!(by(successor, "status", "other"), None);
        assert_eq!(by("vault-issuer", "status", "vault"), None);
    }

    #[test]
    fn kubernetes_csrs_are_looked_at_too() {
        let by = |manager: &str, signer: &str| of_csr(written_by(manager, "status"), signer, json!({}));
        let built_in = "cert-manager-certificatesigningrequests-issuer-vault";
        let web = "CertificateSigningRequest web".to_owned();
        assert_eq!(
            by(built_in, "issuers.cert-manager.io/team.vault"),
            Some((Some(built_in.to_owned()), web))
        );
        assert_eq!(by(built_in, "issuers.cert-manager.io/other.vault"), None);
        assert_eq!(by(built_in, "clusterissuers.cert-manager.io/vault"), None);
        assert_eq!(
            by("kube-controller-manager", "issuers.cert-manager.io/team.vault"),
            None
        );
    }

    #[test]
    fn messages_of_the_built_in_count() {
        let metadata = || json!({ "name": "web", "namespace": "team" });
        let request = |message: &str| of_request(metadata(), "vault", condition("Ready", message));
        let csr = |message: &str| {
            let signer = "issuers.cert-manager.io/team.vault";
            of_csr(metadata(), signer, condition("Failed", message))
        };
        let web = "CertificateRequest team/web".to_owned();
        for message in [
            "Failed to initialise vault client for signing: no reply",
            "Vault failed to sign certificate: denied",
        ] {
            assert_eq!(request(message), Some((None, web.clone())), "{message}");
        }
        let web = "CertificateSigningRequest web".to_owned();
        assert_eq!(csr("Vault failed to sign: denied"), Some((None, web)));
        assert_eq!((request("Vault is sealed"), csr("Vault is sealed")), (None, None));
    }

    #[test]
    fn only_requests_that_may_name_it_are_listed() {
        let cluster = IssuerKey {
            kind: IssuerKind::DropInCluster,
            namespace: String::new(),
            ..issuer()
        };
        let requests = RequestKind::CertificateRequest;
        let of_team = "/apis/cert-manager.io/v1/namespaces/team/certificaterequests";
        assert_eq!(url(requests, &issuer()), of_team);
        assert_eq!(url(requests, &cluster), "/apis/cert-manager.io/v1/certificaterequests");
        let csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        assert_eq!(url(RequestKind::CertificateSigningRequest, &issuer()), csrs);
    }
}
