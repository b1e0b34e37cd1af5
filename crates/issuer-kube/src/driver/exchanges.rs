//! The number of concurrent exchanges with Vault.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use issuer_core::reconcile::Key;
use issuer_core::reference::IssuerKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The most exchanges for the issuers of one namespace, and the most revocations.
const TENANT: usize = 64;

/// The slots for exchanges. A server may take minutes to answer, and its owner may have many issuers, so only the
/// owner of the cluster issuers may take all slots.
#[derive(Debug)]
pub(super) struct Exchanges {
    all: Semaphore,
    /// The most for one tenant.
    each: usize,
    tenants: Mutex<HashMap<Tenant, Weak<Semaphore>>>,
}

/// The party that chooses the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tenant {
    /// The owner of the cluster issuers.
    Cluster,
    /// The authors of the issuers of a namespace.
    Namespace(String),
    /// The former owners of tokens that are revoked.
    Revoked,
}

impl Tenant {
    /// Returns who has chosen the server for work on `key`, which is for `issuer` if it is a request.
    pub(super) fn of(key: &Key, issuer: Option<&IssuerKey>) -> Self {
        let issuer = match key {
            Key::Token(_) => return Self::Revoked,
            Key::Issuer(issuer) => Some(issuer),
            Key::Request(_) => issuer,
        };
        match issuer {
            Some(issuer) if !issuer.kind.is_cluster() => Self::Namespace(issuer.namespace.clone()),
            _ => Self::Cluster,
        }
    }
}

/// A slot, which is freed on drop.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    _of_tenant: Option<OwnedSemaphorePermit>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl Exchanges {
    /// Creates `all` slots, where `width` requests of one issuer are worked on at once.
    pub(super) fn new(all: usize, width: usize) -> Self {
        Self {
            all: Semaphore::new(all),
            each: TENANT.max(width),
            tenants: Mutex::default(),
        }
    }

    /// Waits for a slot.
    pub(super) async fn slot(&self, tenant: &Tenant) -> Slot<'_> {
        // The tenant's first: who waits for that takes no other.
        let of_tenant = match self.tenant(tenant) {
            Some(tenant) => tenant.acquire_owned().await.ok(),
            None => None,
        };
        Slot {
            _of_tenant: of_tenant,
            _of_all: self.all.acquire().await.ok(),
        }
    }

    fn tenant(&self, tenant: &Tenant) -> Option<Arc<Semaphore>> {
        if *tenant == Tenant::Cluster {
            return None;
        }
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(tenant).and_then(Weak::upgrade) {
            return Some(known);
        }
        // Those without exchanges leave nothing behind.
        tenants.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.each));
        tenants.insert(tenant.clone(), Arc::downgrade(&new));
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use issuer_core::reference::{IssuerKind, RequestKey, RequestKind};

    use super::*;

    fn tenant(namespace: &str) -> Tenant {
        Tenant::Namespace(namespace.to_owned())
    }

    /// Takes all slots that are free for a tenant.
    fn take<'a>(exchanges: &'a Exchanges, tenant: &Tenant) -> Vec<Slot<'a>> {
        std::iter::from_fn(|| exchanges.slot(tenant).now_or_never()).collect()
    }

    #[test]
    fn no_namespace_takes_all_slots() {
        let exchanges = Exchanges::new(256, 10);
        let hostile = take(&exchanges, &tenant("hostile"));
        assert_eq!(hostile.len(), 64);
        let revoked = take(&exchanges, &Tenant::Revoked);
        assert_eq!(revoked.len(), 64);
        assert_eq!(take(&exchanges, &tenant("team")).len(), 64);
        drop(hostile);
        // Those of all are shared, whose owner may take what is left.
        assert_eq!(take(&exchanges, &Tenant::Cluster).len(), 192);
        drop(revoked);
        assert_eq!(take(&exchanges, &tenant("hostile")).len(), 64);
        assert!(exchanges.tenants.lock().unwrap().len() <= 2);
    }

    #[test]
    fn width_of_one_issuer_is_always_granted() {
        let exchanges = Exchanges::new(256, 100);
        assert_eq!(take(&exchanges, &tenant("team")).len(), 100);
    }

    #[test]
    fn tenant_is_who_chooses_the_server() {
        let issuer = |kind, namespace: &str| IssuerKey {
            kind,
            namespace: namespace.to_owned(),
            name: "vault".to_owned(),
        };
        let request = Key::Request(RequestKey {
            kind: RequestKind::CertificateRequest,
            namespace: "web".to_owned(),
            name: "web".to_owned(),
        });
        let cluster = issuer(IssuerKind::Cluster, "");
        let namespaced = issuer(IssuerKind::DropInNamespaced, "team");
        assert_eq!(Tenant::of(&request, Some(&cluster)), Tenant::Cluster);
        assert_eq!(Tenant::of(&request, Some(&namespaced)), tenant("team"));
        assert_eq!(Tenant::of(&Key::Issuer(namespaced), None), tenant("team"));
        assert_eq!(Tenant::of(&Key::Token(1), None), Tenant::Revoked);
    }
}
