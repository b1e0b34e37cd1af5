use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use issuer_api::CertificateRequest;

/// A request as the watch or the API server has shown it. Clones share the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot(Arc<CertificateRequest>);

impl Hash for Snapshot {
    /// Hashes uid and version, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.metadata.uid, &self.metadata.resource_version).hash(state);
    }
}

impl Deref for Snapshot {
    type Target = CertificateRequest;

    fn deref(&self) -> &CertificateRequest {
        &self.0
    }
}

impl From<CertificateRequest> for Snapshot {
    fn from(request: CertificateRequest) -> Self {
        Self(Arc::new(request))
    }
}
