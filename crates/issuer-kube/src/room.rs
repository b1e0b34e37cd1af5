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

/// The room of each tenant that uses any.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<Arc<str>, Weak<Room>>>);

impl Rooms {
    /// Returns the room of a tenant: a namespace, or all cluster issuers if its name is empty.
    pub(crate) fn of(&self, tenant: &str) -> Arc<Room> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(tenant).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let idle = if tenant.is_empty() { IDLE.1 } else { IDLE.0 };
        let room = Arc::new(Room::new(LOOKUPS, idle));
        rooms.insert(tenant.into(), Arc::downgrade(&room));
        room
    }
}

/// The room of one tenant.
#[derive(Debug)]
pub(crate) struct Room {
    lookups: Arc<Semaphore>,
    idle: Arc<Semaphore>,
}

/// A part of a room, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    /// A room is kept while a part of it is in use.
    _room: Arc<Room>,
}

impl Room {
    pub(crate) fn new(lookups: usize, idle: usize) -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(lookups)),
            idle: Arc::new(Semaphore::new(idle)),
        }
    }

    /// Waits for room to look a name up.
    pub(crate) async fn lookup(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        permit.ok().map(|permit| self.slot(permit))
    }

    /// Returns room to keep a connection, if there is any.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.idle).try_acquire_owned();
        permit.ok().map(|permit| self.slot(permit))
    }

    fn slot(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Slot {
        Slot {
            _permit: permit,
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
    fn room_lasts_while_a_part_is_used() {
        let rooms = Rooms::default();
        let taken: Vec<_> = std::iter::from_fn(|| rooms.of("a").idle()).collect();
        assert!(taken.len() == IDLE.0 && rooms.of("a").idle().is_none());
        drop(taken);
        for number in 0..1000 {
            assert!(rooms.of(&format!("team-{number}")).idle().is_some());
        }
        let known = rooms.0.lock().unwrap().len();
        assert!(known <= 2, "{known}");
    }
}
