//! Fixtures that the tests of several modules share.

use std::time::Duration;

use issuer_core::reconcile::Config;
use issuer_core::reference::Namespaces;
use issuer_core::target::IssuerPolicy;

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
