//! Finds requests that cert-manager's built-in controllers, or their successor, have worked on.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use anyhow::Context;
use issuer_api::{CertificateRequest, CertificateSigningRequest};
use issuer_core::reconcile::{BuiltInAnswer, ObservedRequest, built_in_answer, is_built_in};
use issuer_core::reference::{IssuerKey, RequestKey, RequestKind};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{ListParams, ObjectList};
use kube::core::Request;
use serde::de::DeserializeOwned;

/// Objects of a page.
const PAGE: u32 = 500;

/// A request that another controller has worked on.
struct Trace {
    at: Timestamp,
    /// The field manager, if the managed fields or an event name it; without one, the status is in its words.
    manager: Option<String>,
    request: RequestKey,
}

/// Returns a sentence about the last request of each kind of one of cert-manager's issuers that another controller has
/// worked on, and an error for a kind that cannot be listed.
pub(super) async fn traces(client: Client, issuer: &IssuerKey) -> Vec<anyhow::Result<String>> {
    let requests = of_requests(&client, issuer).await;
    let csrs = of_csrs(&client, issuer).await;
    let found = [requests, csrs].into_iter().filter_map(Result::transpose);
    found.map(|trace| trace.map(|trace| trace.to_string())).collect()
}

async fn of_requests(client: &Client, issuer: &IssuerKey) -> anyhow::Result<Option<Trace>> {
    let kind = RequestKind::CertificateRequest;
    let mut last = None;
    pages(
        client,
        &url(kind, issuer),
        ListParams::default(),
        |request: CertificateRequest| {
            keep_later(&mut last, answer(&request.into(), issuer));
        },
    )
    .await?;
    Ok(last)
}

/// Kubernetes tracks who has written the status of a CSR only if the CSR was created with labels or annotations: its API
/// server resets the spec and the status for the user who creates one, so nobody manages a field. So events count too.
async fn of_csrs(client: &Client, issuer: &IssuerKey) -> anyhow::Result<Option<Trace>> {
    let kind = RequestKind::CertificateSigningRequest;
    let mut last = None;
    let mut of_issuer: BTreeMap<String, RequestKey> = BTreeMap::new();
    pages(
        client,
        &url(kind, issuer),
        ListParams::default(),
        |csr: CertificateSigningRequest| {
            let csr = ObservedRequest::from(csr);
            keep_later(&mut last, answer(&csr, issuer));
            if csr.issuer().as_ref() == Some(issuer) {
                of_issuer.insert(csr.uid().to_owned(), csr.key());
            }
        },
    )
    .await?;
    if of_issuer.is_empty() {
        return Ok(None);
    }
    let of_csrs = ListParams::default().fields("involvedObject.kind=CertificateSigningRequest");
    // Events of objects without a namespace are in this one.
    pages(client, "/api/v1/namespaces/default/events", of_csrs, |event: Event| {
        let trace = reported(event).and_then(|(uid, (at, manager))| {
            Some(Trace {
                at,
                manager: Some(manager),
                request: of_issuer.get(&uid)?.clone(),
            })
        });
        keep_later(&mut last, trace);
    })
    .await?;
    Ok(last)
}

/// Passes each object of a list, which is read in pages, to `each`.
async fn pages<T>(client: &Client, path: &str, params: ListParams, mut each: impl FnMut(T)) -> anyhow::Result<()>
where
    T: Clone + DeserializeOwned,
{
    let mut params = params.limit(PAGE);
    loop {
        let page = client.request::<ObjectList<T>>(Request::new(path).list(&params)?).await;
        let page = page.with_context(|| format!("{path} cannot be listed"))?;
        page.items.into_iter().for_each(&mut each);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// Keeps the later one of two traces.
fn keep_later(last: &mut Option<Trace>, found: Option<Trace>) {
    *last = last.take().into_iter().chain(found).max_by_key(|trace| trace.at);
}

/// Returns the uid of the object that an event of another controller is about, its time, and the controller.
fn reported(event: Event) -> Option<(String, (Timestamp, String))> {
    let component = event.source.and_then(|source| source.component);
    let component = component.filter(|component| is_built_in(component))?;
    let at = event.last_timestamp.or(event.metadata.creation_timestamp)?.0;
    Some((event.involved_object.uid?, (at, component)))
}

impl Display for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let manager = self.manager.as_deref();
        let writer = manager.unwrap_or("cert-manager's controller, by its message,");
        let (request, at, kind) = (&self.request, self.at, self.request.kind.plural());
        write!(
            f,
            "built-in: {writer} worked on {request} at {at}; serve cert-manager's issuers only where that controller is \
             switched off, as with --controllers=*,-{kind}-issuer-vault of cert-manager"
        )
    }
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
fn answer(request: &ObservedRequest, issuer: &IssuerKey) -> Option<Trace> {
    let is_of_issuer = request.issuer().as_ref() == Some(issuer);
    let BuiltInAnswer { at, manager } = built_in_answer(request).filter(|_| is_of_issuer)?;
    Some(Trace {
        at,
        manager,
        request: request.key(),
    })
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::IssuerKind;
    use serde_json::{Value, json};

    use super::*;

    fn issuer() -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::DropInNamespaced,
            namespace: "team".into(),
            name: "vault".into(),
        }
    }

    /// Returns the metadata of a request, written by this field manager.
    fn written_by(manager: &str, subresource: &str) -> Value {
        let entry = json!({ "manager": manager, "subresource": subresource, "time": "2026-01-01T00:00:00Z" });
        json!({ "name": "web", "namespace": "team", "managedFields": [entry] })
    }

    fn found(request: impl Into<ObservedRequest>) -> Option<(Option<String>, String)> {
        let trace = answer(&request.into(), &issuer())?;
        assert_eq!(trace.at.to_string(), "2026-01-01T00:00:00Z");
        Some((trace.manager, trace.request.to_string()))
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
    fn events_of_others_mean_nothing() {
        let event = |component: &str| {
            let about = json!({ "kind": "CertificateSigningRequest", "name": "web", "uid": "u" });
            let at = "2026-01-01T00:00:00Z";
            let source = json!({ "component": component });
            let event = json!({ "metadata": {}, "involvedObject": about, "source": source, "lastTimestamp": at });
            reported(serde_json::from_value(event).unwrap())
        };
        let built_in = "cert-manager-certificatesigningrequests-issuer-vault";
        let (uid, (at, manager)) = event(built_in).unwrap();
        assert_eq!(
            (&*uid, &*manager, at.to_string().as_str()),
            ("u", built_in, "2026-01-01T00:00:00Z")
        );
        assert_eq!(event("vault-issuer"), None);
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
            namespace: "".into(),
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
