//! Values that the tests of several modules share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use issuer_api::SecretKeySelector;

use crate::access::SecretData;
use crate::target::AllowedServers;
use crate::vault::Vault;
use crate::{Connect, Limits, Now, Origin, Roots, Secret, Signatures};

/// 2026-01-01T00:00:00Z, in seconds of the Unix epoch: `at(0)`.
pub(crate) const START: u64 = 1_767_225_600;

/// Returns the moment `seconds` after the start of the process, which was [`START`].
pub(crate) fn at(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds),
        unix: Duration::from_secs(START + seconds),
    }
}

/// Returns the signature algorithms of rustls' aws-lc-rs provider.
pub(crate) fn signatures() -> Signatures {
    Signatures(
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all,
    )
}

/// Returns a reference to a Secret with the default key.
pub(crate) fn selector(name: &str) -> SecretKeySelector {
    SecretKeySelector {
        name: name.to_owned(),
        key: None,
    }
}

/// Returns a Secret with one key.
pub(crate) fn secret_data(key: &str, value: &str) -> SecretData {
    SecretData {
        resource_version: "1".to_owned(),
        data: BTreeMap::from([(key.to_owned(), Secret::from(value))]),
        servers: None,
    }
}

/// Returns the Vault at a URL, without a namespace.
pub(crate) fn vault(server: &str, roots: Roots) -> Vault {
    let connect = Arc::new(Connect {
        origin: Origin::parse(server).unwrap(),
        allowed_servers: AllowedServers::All,
        proxy: None,
        server_name: None,
        roots,
        identity: None,
        limits: Limits::default(),
    });
    Vault {
        login: Arc::clone(&connect),
        connect,
        namespace: None,
        login_namespace: None,
    }
}
