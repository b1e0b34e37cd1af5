//! The room that an issuer takes of its tenant's.

use super::issuers::Issuers;
use super::observed::ObservedIssuer;
use super::quota::Size;
use crate::access::{Access, Room};
use crate::reference::IssuerKey;

/// The size of an issuer without its texts, in bytes, about. Thousands of small issuers fit into the room of a tenant.
const ISSUER: usize = 2 << 10;

impl Issuers {
    /// Removes the spec of an issuer for which its tenant has no room; returns its size.
    pub(super) fn fit(&self, key: &IssuerKey, observed: &mut ObservedIssuer) -> Size {
        let own = self.get(key).map(|known| known.size).unwrap_or_default();
        let object = ISSUER + observed.size();
        let is_beyond = object > self.quotas.room(key, own.charged);
        if is_beyond {
            observed.clear();
        }
        Size {
            object: if is_beyond { ISSUER } else { object },
            is_beyond,
            ..own
        }
    }

    /// Returns how much an issuer may keep of Secrets and ConfigMaps.
    pub(super) fn room(&self, key: &IssuerKey) -> Room {
        let own = self.get(key).map(|known| known.size).unwrap_or_default();
        Room(self.quotas.room(key, own.charged).saturating_sub(own.object))
    }

    /// Charges what an issuer holds now to its tenant.
    pub(super) fn measure(&mut self, key: &IssuerKey) {
        if let Some(known) = self.by_key.get_mut(key) {
            let size = known.size.object + known.access.as_ref().map_or(0, Access::size);
            self.quotas.charge(key, known.size.charged, size);
            known.size.charged = size;
        }
    }

    /// Charges nothing more for an issuer that is removed.
    pub(super) fn discharge(&mut self, key: &IssuerKey, size: Size) {
        self.quotas.charge(key, size.charged, 0);
    }
}

#[cfg(test)]
mod tests {
    use issuer_api::{Base64, IssuerStatus, VaultSpec};

    use super::*;
    use crate::reconcile::ReadyWriters;
    use crate::reconcile::issuers::Observed;
    use crate::reference::IssuerKind;

    fn key(namespace: &str, number: usize) -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: namespace.into(),
            name: format!("vault-{number}").into(),
        }
    }

    /// Builds an issuer with a bundle of so many bytes.
    fn issuer(generation: i64, bundle: usize) -> ObservedIssuer {
        ObservedIssuer {
            uid: "uid".to_owned(),
            generation,
            resource_version: generation.to_string(),
            spec: VaultSpec {
                ca_bundle: Some(Base64::encode(vec![0; bundle])),
                ..VaultSpec::default()
            },
            status: IssuerStatus::default(),
            ready_writers: ReadyWriters::default(),
        }
    }

    fn is_beyond(issuers: &Issuers, key: &IssuerKey) -> bool {
        issuers.get(key).unwrap().size.is_beyond
    }

    #[test]
    fn bundles_of_a_tenant_are_bounded() {
        let mut issuers = Issuers::default();
        for number in 0..60 {
            issuers.observe(key("team", number), issuer(1, 384 << 10));
        }
        let kept: usize = issuers.after(None).map(|(_, issuer)| issuer.observed.size()).sum();
        assert!(kept <= Room::OF_TENANT.0, "{kept}");
        let served = (0..60).filter(|number| !is_beyond(&issuers, &key("team", *number)));
        assert_eq!(served.collect::<Vec<_>>(), (0..31).collect::<Vec<_>>());

        // Another tenant has room of its own, and so has each cluster issuer.
        issuers.observe(key("other", 0), issuer(1, 384 << 10));
        assert!(!is_beyond(&issuers, &key("other", 0)));
        for number in 0..5 {
            let key = IssuerKey {
                kind: IssuerKind::Cluster,
                ..key("", number)
            };
            issuers.observe(key.clone(), issuer(1, 384 << 10));
            assert!(!is_beyond(&issuers, &key));
        }
    }

    #[test]
    fn thousands_of_small_issuers_have_room() {
        let mut issuers = Issuers::default();
        for number in 0..5000 {
            issuers.observe(key("team", number), issuer(1, 700));
        }
        assert!((0..5000).all(|number| !is_beyond(&issuers, &key("team", number))));
    }

    #[test]
    fn room_is_given_back() {
        let mut issuers = Issuers::default();
        let last = key("team", 40);
        for number in 0..=40 {
            issuers.observe(key("team", number), issuer(1, 384 << 10));
        }
        assert!(is_beyond(&issuers, &last));
        // Shown again, it still has no room; nothing has to be checked.
        assert_eq!(issuers.observe(last.clone(), issuer(1, 384 << 10)), Observed::Unchanged);
        issuers.observe(key("team", 0), issuer(2, 100));
        issuers.remove(&key("team", 1));
        assert_eq!(issuers.observe(last.clone(), issuer(1, 384 << 10)), Observed::CheckNow);
        assert!(!is_beyond(&issuers, &last));
        for number in 0..=40 {
            issuers.remove(&key("team", number));
        }
        assert_eq!(issuers, Issuers::default());
    }
}
