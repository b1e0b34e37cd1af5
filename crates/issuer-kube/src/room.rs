//! The share of each tenant of what a process has little of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of names that are looked up at once for one tenant: a lookup takes a thread of which the process has 512, and
/// cannot be stopped.
const LOOKUPS: usize = 8;

/// The number of unused connections that are kept of the issuers of one namespace, and of all cluster issuers. A namespace
/// has fewer exchanges at once.
const IDLE: (usize, usize) = (256, 1024);

/// The number of unused connections that are kept of all tenants: with those that are used, fewer file descriptors than a
/// process may have by the limits of the usual container runtimes.
const IDLE_OF_ALL: usize = 2048;

/// The room of each tenant that uses any.
#[derive(Debug)]
pub(crate) struct Rooms {
    of_tenants: Mutex<HashMap<Arc<str>, Weak<Room>>>,
    idle: Arc<Semaphore>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            of_tenants: Mutex::default(),
            idle: Arc::new(Semaphore::new(IDLE_OF_ALL)),
        }
    }
}

impl Rooms {
    /// Returns the room of a tenant: a namespace, or all cluster issuers if its name is empty.
    pub(crate) fn of(&self, tenant: &str) -> Arc<Room> {
        let mut rooms = self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(tenant).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let idle = if tenant.is_empty() { IDLE.1 } else { IDLE.0 };
        let room = Arc::new(Room::new(LOOKUPS, idle, &self.idle));
        rooms.insert(tenant.into(), Arc::downgrade(&room));
        room
    }
}

/// The room of one tenant.
#[derive(Debug)]
pub(crate) struct Room {
    lookups: Arc<Semaphore>,
    idle: Arc<Semaphore>,
    /// The number of unused connections that may be kept.
    most_idle: usize,
    idle_of_all: Arc<Semaphore>,
}

/// A part of a room, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    /// A room is kept while a part of it is in use.
    _room: Arc<Room>,
}

impl Room {
    pub(crate) fn new(lookups: usize, idle: usize, idle_of_all: &Arc<Semaphore>) -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(lookups)),
            idle: Arc::new(Semaphore::new(idle)),
            most_idle: idle,
            idle_of_all: Arc::clone(idle_of_all),
        }
    }

    /// Waits for room to look a name up.
    pub(crate) async fn lookup(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        permit.ok().map(|permit| self.slot((permit, None)))
    }

    /// Returns room to keep a connection, if there is any: a tenant keeps no more of them than may be added to those of all, so
    /// that a crowd of tenants leaves some to others.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<Slot> {
        let kept = self.most_idle.saturating_sub(self.idle.available_permits());
        if kept >= self.idle_of_all.available_permits() {
            return None;
        }
        let own = Arc::clone(&self.idle).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.idle_of_all).try_acquire_owned().ok()?;
        Some(self.slot((own, Some(of_all))))
    }

    fn slot(self: &Arc<Self>, permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)) -> Slot {
        Slot {
            _permits: permits,
            _room: Arc::clone(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_have_rooms_of_their_own() {
        let rooms = Rooms::default();
        let (a, b) = (rooms.of("a"), rooms.of("b"));
        let taken: Vec<_> = std::iter::from_fn(|| a.idle()).collect();
        assert_eq!(taken.len(), IDLE.0);
        assert!(rooms.of("a").idle().is_none());
        assert!(b.idle().is_some() && rooms.of("").idle().is_some());
        drop(taken);
        assert!(a.idle().is_some());
    }

    #[test]
    fn connections_of_all_tenants_are_bounded() {
        for tenants in [1, 8, 20, 100, 2000, 5000] {
            let rooms = Rooms::default();
            let rooms_of: Vec<_> = (0..tenants).map(|number| rooms.of(&format!("team-{number}"))).collect();
            let mut kept = Vec::new();
            for _ in 0..IDLE.0 + 1 {
                kept.extend(rooms_of.iter().filter_map(Room::idle));
            }
            let expected = (IDLE.0 * tenants).min(IDLE_OF_ALL - IDLE_OF_ALL / (tenants + 1));
            assert!(
                kept.len() <= IDLE_OF_ALL && kept.len() >= expected.min(IDLE_OF_ALL - 1),
                "{}",
                kept.len()
            );
            let another = rooms.of("another").idle();
            assert_eq!(another.is_some(), tenants < IDLE_OF_ALL, "{tenants}");
            drop((kept, another));
            assert_eq!(rooms.idle.available_permits(), IDLE_OF_ALL);
        }
    }

    #[test]
    fn room_lasts_while_a_part_is_used() {
        let rooms = Rooms::default();
        let taken: Vec<_> = std::iter::from_fn(|| rooms.of("a").idle()).collect();
        assert!(taken.len() == IDLE.0 && rooms.of("a").idle().is_none());
        drop(taken);
        for number in 0..1000 {
            assert!(rooms.of(&format!("team-{number}")).idle().is_some());
        }
        let known = rooms.of_tenants.lock().unwrap().len();
        assert!(known <= 2, "{known}");
    }
}
