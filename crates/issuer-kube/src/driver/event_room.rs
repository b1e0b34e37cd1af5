//! Room for the events that wait to be recorded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::Key;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Events that wait at most; after that, tasks wait too, but not for long.
const EVENTS: u32 = 256;

/// Further events, of tenants with fewer than [`OWN`]: the crowd of one must not take all the room.
const RESERVE: u32 = 64;

/// The number of waiting events of a tenant up to which it may take a part of the reserve.
const OWN: usize = 8;

/// Room for events that wait, shared by the namespaces and the cluster issuers that they are about.
pub(super) struct EventRoom {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    /// The number of events that wait, by tenant.
    waiting: Mutex<BTreeMap<String, usize>>,
}

/// A place for an event, which is free again when this is dropped.
pub(super) struct Place {
    room: Arc<EventRoom>,
    tenant: String,
    _permit: OwnedSemaphorePermit,
}

impl EventRoom {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(EVENTS as usize)),
            reserve: Arc::new(Semaphore::new(RESERVE as usize)),
            waiting: Mutex::default(),
        }
    }

    /// Returns a place for an event about an object, waiting for one at most for `patience`; `None` if there is none then.
    pub(super) async fn place(self: &Arc<Self>, regarding: &Key, patience: Duration) -> Option<Place> {
        let tenant = tenant(regarding);
        let has_few = self.waiting().get(&tenant).is_none_or(|waiting| *waiting < OWN);
        let free = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_owned().ok();
        let permit = free(&self.all).or_else(|| free(&self.reserve).filter(|_| has_few));
        let permit = match permit {
            Some(permit) => permit,
            None => {
                let wait = Arc::clone(&self.all).acquire_owned();
                tokio::time::timeout(patience, wait).await.ok()?.ok()?
            }
        };
        *self.waiting().entry(tenant.clone()).or_default() += 1;
        Some(Place {
            room: Arc::clone(self),
            tenant,
            _permit: permit,
        })
    }

    /// Resolves when no event waits.
    pub(super) async fn emptied(&self) {
        let all = (self.all.acquire_many(EVENTS), self.reserve.acquire_many(RESERVE));
        // It fails only for a semaphore that is closed, which neither is.
        let _ = futures::future::join(all.0, all.1).await;
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.room.waiting();
        if let Entry::Occupied(mut own) = waiting.entry(std::mem::take(&mut self.tenant)) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Returns the namespace of an object, or the name of one that has none.
fn tenant(regarding: &Key) -> String {
    let (namespace, name) = match regarding {
        Key::Issuer(issuer) => (&*issuer.namespace, &*issuer.name),
        Key::Request(request) => (&*request.namespace, &*request.name),
        Key::Token(_) => ("", ""),
    };
    // No namespace has a slash.
    if namespace.is_empty() {
        format!("/{name}")
    } else {
        namespace.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::{RequestKey, RequestKind};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn request(namespace: &str) -> Key {
        Key::Request(RequestKey {
            kind: RequestKind::CertificateRequest,
            namespace: namespace.into(),
            name: "web".into(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn crowd_of_a_tenant_leaves_room_to_others() {
        let room = Arc::new(EventRoom::new());
        let mut places = Vec::new();
        while let Some(place) = room.place(&request("crowd"), PATIENCE).await {
            places.push(place);
        }
        assert_eq!(places.len(), EVENTS as usize);
        for tenant in 0..RESERVE as usize / OWN {
            let tenant = request(&format!("team-{tenant}"));
            for _ in 0..OWN {
                places.push(room.place(&tenant, Duration::ZERO).await.unwrap());
            }
            assert!(room.place(&tenant, PATIENCE).await.is_none());
        }
        assert_eq!(places.len(), (EVENTS + RESERVE) as usize);

        // A place that is given back is for anybody, and nothing is kept of those who have none.
        places.remove(0);
        places.push(room.place(&request("crowd"), PATIENCE).await.unwrap());
        places.clear();
        assert!(room.waiting().is_empty());
        tokio::time::timeout(PATIENCE, room.emptied()).await.unwrap();
    }
}
