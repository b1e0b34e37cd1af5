//! A bounded cache for results that are expensive and asked for again and again.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Results by the digest of everything that they depend on.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    results: LazyLock<Mutex<HashMap<u128, V>>>,
    capacity: usize,
}

impl<V: Clone> Cache<V> {
    /// Returns an empty cache for at most `capacity` results.
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            results: LazyLock::new(Mutex::default),
            capacity,
        }
    }

    /// Returns the result for an input, if it is cached.
    pub(crate) fn get(&self, input: u128) -> Option<V> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.get(&input).cloned()
    }

    /// Caches a result. A full cache is emptied first: that is cheaper than to track which results are in use.
    pub(crate) fn insert(&self, input: u128, result: V) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= self.capacity {
            results.clear();
        }
        results.insert(input, result);
    }
}
