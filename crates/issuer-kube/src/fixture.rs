//! Fixtures that the tests of several modules share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use issuer_api::{CertificateRequest, IssuerRef, RequestCondition};
use issuer_core::reconcile::Config;
use issuer_core::reference::Namespaces;
use issuer_core::target::{AllowedServers, IssuerPolicy};
use issuer_core::{Connect, Limits, Origin, Roots};

/// The configuration of a controller that does one thing at a time.
pub(crate) fn config() -> Config {
    Config {
        claim: None,
        check_interval: Duration::from_secs(60),
        cluster_resource_namespace: String::new(),
        drop_in: None,
        event_rate: 10,
        kubernetes_csrs: false,
        namespaces: Namespaces::All,
        max_concurrent_reconciles: 1,
        max_lost_answers: 1,
        policy: IssuerPolicy::default(),
        sign_timeout: Duration::from_secs(60),
        verify: issuer_tls::signatures().into(),
    }
}

/// Builds a request that waits for its issuer, which its status and an event say.
pub(crate) fn waiting(name: String) -> CertificateRequest {
    let mut request = CertificateRequest::default();
    request.metadata.uid = Some(format!("uid-{name}"));
    request.metadata.name = Some(name);
    request.metadata.namespace = Some("team".to_owned());
    request.spec.issuer_ref = IssuerRef {
        name: "none".to_owned(),
        kind: Some("VaultIssuer".to_owned()),
        group: Some(issuer_api::GROUP.to_owned()),
    };
    let approved = RequestCondition {
        kind: "Approved".to_owned(),
        status: "True".to_owned(),
        last_transition_time: None,
        reason: None,
        message: None,
        others: BTreeMap::new(),
    };
    request.status.get_or_insert_default().conditions.push(approved);
    request
}

/// Returns the parameters of connections to a server on loopback.
pub(crate) fn connect(port: u16) -> Arc<Connect> {
    Arc::new(Connect {
        origin: Origin::parse(&format!("http://127.0.0.1:{port}")).unwrap(),
        allowed_servers: AllowedServers::All,
        server_name: None,
        roots: Roots::System,
        identity: None,
        limits: Limits::default(),
        proxy: None,
    })
}
