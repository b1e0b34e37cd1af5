//! The addresses of host names.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::net::lookup_host;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::room::{Room, Slot};

/// The number of names that are looked up at once: half of the threads of the process.
const LOOKUPS: usize = 256;

/// The addresses of a host; `None` if there are none, or the lookup failed.
type Found = Option<Arc<[IpAddr]>>;

/// A lookup that several tasks may wait for.
type Lookup = Shared<BoxFuture<'static, Found>>;

/// Resolves host names with the resolver of the system, which takes a thread for each and may take minutes; clones share
/// their lookups.
///
/// A lookup goes on when nobody waits for it any more. So it holds its room until it has ended, each tenant has little room,
/// and a host is looked up once at a time: names that are not answered delay the names of other tenants by nothing.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Lookups>);

struct Lookups {
    look_up: fn(Arc<str>) -> BoxFuture<'static, Found>,
    /// Those under way, by host.
    running: Mutex<HashMap<Arc<str>, Lookup>>,
    room: Arc<Semaphore>,
}

impl Resolver {
    fn new(look_up: fn(Arc<str>) -> BoxFuture<'static, Found>) -> Self {
        Self(Arc::new(Lookups {
            look_up,
            running: Mutex::default(),
            room: Arc::new(Semaphore::new(LOOKUPS)),
        }))
    }

    /// Returns the addresses of a host, looked up with the room of a tenant.
    pub(crate) async fn resolve(&self, host: &str, room: &Arc<Room>) -> Found {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Arc::new([address]));
        }
        let running = self.0.running().get(host).cloned();
        if let Some(running) = running {
            return running.await;
        }
        let own = room.lookup().await?;
        let of_all = Arc::clone(&self.0.room).acquire_owned().await.ok()?;
        self.begin(host, (own, of_all)).await
    }

    /// Begins a lookup, unless one of this host has begun meanwhile.
    fn begin(&self, host: &str, slots: (Slot, OwnedSemaphorePermit)) -> Lookup {
        let mut running = self.0.running();
        if let Some(known) = running.get(host) {
            return known.clone();
        }
        let host: Arc<str> = host.into();
        let task = tokio::spawn({
            let (lookups, host) = (Arc::clone(&self.0), Arc::clone(&host));
            async move {
                let found = (lookups.look_up)(Arc::clone(&host)).await;
                lookups.running().remove(&host);
                drop(slots);
                found
            }
        });
        let lookup = task.map(|found| found.ok().flatten()).boxed().shared();
        running.insert(host, lookup.clone());
        lookup
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(|host| system(host).boxed())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Lookups {
    fn running(&self) -> MutexGuard<'_, HashMap<Arc<str>, Lookup>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn system(host: Arc<str>) -> Found {
    let found = lookup_host((&*host, 0)).await.ok()?;
    Some(found.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;

    /// How long the resolver takes for a host that is not answered.
    const SLOW: Duration = Duration::from_secs(90);

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Resolves the hosts that begin with `slow` after a long time, and all others at once.
    fn fake(host: Arc<str>) -> BoxFuture<'static, Found> {
        async move {
            if host.starts_with("slow") {
                tokio::time::sleep(SLOW).await;
                return None;
            }
            Some(Arc::new([IpAddr::V4(Ipv4Addr::LOCALHOST)]) as Arc<[IpAddr]>)
        }
        .boxed()
    }

    fn room() -> Arc<Room> {
        Arc::new(Room::new(4, 1, &Arc::new(Semaphore::new(9))))
    }

    async fn is_found(resolver: &Resolver, host: &str, room: &Arc<Room>) -> bool {
        let found = timeout(PATIENCE, resolver.resolve(host, room)).await;
        found.ok().flatten().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn slow_names_delay_no_other_tenant() {
        let resolver = Resolver::new(fake);
        let (hostile, other) = (room(), room());
        // Each is given up, and tried again, long before its lookup ends.
        for _ in 0..3 {
            let names: Vec<_> = (0..1000).map(|number| format!("slow-{number}")).collect();
            let tries = names.iter().map(|name| is_found(&resolver, name, &hostile));
            let found = futures::future::join_all(tries).await;
            assert!(!found.contains(&true));
            assert_eq!(resolver.0.running().len(), 4);
            let began = Instant::now();
            assert!(is_found(&resolver, "vault", &other).await);
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
        tokio::time::sleep(SLOW).await;
        assert!(is_found(&resolver, "vault", &hostile).await);
        assert_eq!(resolver.0.room.available_permits(), LOOKUPS);
    }

    /// Counts the lookups, each of which takes a moment.
    fn counted(_: Arc<str>) -> BoxFuture<'static, Found> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let number = COUNT.fetch_add(1, Ordering::SeqCst);
            let last = u8::try_from(number).unwrap();
            Some(Arc::new([IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))]) as Arc<[IpAddr]>)
        }
        .boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn host_is_looked_up_once_at_a_time() {
        let resolver = Resolver::new(counted);
        let (one, other) = (room(), room());
        for expected in 0..3 {
            let tries = (0..100).map(|number| resolver.resolve("vault", if number % 2 == 0 { &one } else { &other }));
            let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, expected));
            for found in futures::future::join_all(tries).await {
                assert_eq!(found.as_deref(), Some(&[address][..]));
            }
        }
    }

    #[tokio::test]
    async fn addresses_are_not_looked_up() {
        let resolver = Resolver::new(|host| panic!("{host} is looked up"));
        for address in ["127.0.0.1", "::1"] {
            let found = resolver.resolve(address, &room()).await;
            assert_eq!(found.as_deref(), Some(&[address.parse().unwrap()][..]));
        }
    }
}
