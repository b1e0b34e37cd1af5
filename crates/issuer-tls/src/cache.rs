//! A driver's connections, by their parameters.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use issuer_core::{Connect, DialError};

/// The TLS configuration and the idle connections, or the like, that a driver keeps for each distinct [`Connect`].
///
/// Equal values share an entry, wherever they are stored. When an entry is added, those whose `Connect` is held by the
/// cache alone are dropped: an issuer that is changed or deleted leaves nothing behind for long.
pub struct Cache<T>(Mutex<HashMap<Arc<Connect>, Arc<T>>>);

impl<T> Cache<T> {
    /// Returns the entry for `connect`, made first if there is none.
    ///
    /// # Errors
    ///
    /// The error of `make`; a failure is not kept.
    pub fn entry(
        &self,
        connect: &Arc<Connect>,
        make: impl FnOnce() -> Result<T, DialError>,
    ) -> Result<Arc<T>, DialError> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match entries.remove(connect) {
            Some(value) => value,
            None => {
                let value = Arc::new(make()?);
                entries.retain(|connect, _| Arc::strong_count(connect) > 1);
                value
            }
        };
        // Inserted anew in both cases: the key must be the one that its user holds.
        entries.insert(Arc::clone(connect), Arc::clone(&value));
        Ok(value)
    }
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

#[cfg(test)]
mod tests {
    use issuer_core::target::AllowedServers;
    use issuer_core::{Limits, Origin, Roots};

    use super::*;

    fn connect(server: &str) -> Arc<Connect> {
        Arc::new(Connect {
            origin: Origin::parse(server).unwrap(),
            allowed_servers: AllowedServers::All,
            proxy: None,
            server_name: None,
            roots: Roots::System,
            identity: None,
            limits: Limits::default(),
        })
    }

    #[test]
    fn equal_values_share_an_entry() {
        let cache = Cache::default();
        let first = connect("https://a");
        assert_eq!(*cache.entry(&first, || Ok(1)).unwrap(), 1);
        assert_eq!(*cache.entry(&first, || Ok(2)).unwrap(), 1);

        let second = connect("https://a");
        assert_eq!(*cache.entry(&second, || Ok(3)).unwrap(), 1);
        drop(first);
        let other = connect("https://b");
        assert_eq!(*cache.entry(&other, || Ok(4)).unwrap(), 4);
        assert_eq!(*cache.entry(&second, || Ok(5)).unwrap(), 1);

        drop(second);
        assert_eq!(*cache.entry(&connect("https://c"), || Ok(6)).unwrap(), 6);
        assert_eq!(*cache.entry(&connect("https://a"), || Ok(7)).unwrap(), 7);
        assert_eq!(*cache.entry(&other, || Ok(8)).unwrap(), 4);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::default();
        let connect = connect("https://a");
        assert_eq!(cache.entry(&connect, || Err(DialError::Roots)), Err(DialError::Roots));
        assert_eq!(*cache.entry(&connect, || Ok(1)).unwrap(), 1);
    }
}
