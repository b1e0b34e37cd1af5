//! A bounded cache for results that are expensive and asked for again and again.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Results by everything that they depend on.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    results: LazyLock<Mutex<Generations<K, V>>>,
    capacity: usize,
}

/// When the young generation is full, it becomes the old one, whose results are forgotten unless they are asked for.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// Returns an empty cache for at most twice `capacity` results.
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            results: LazyLock::new(Mutex::default),
            capacity,
        }
    }

    /// Returns the result for an input, if it is cached.
    pub(crate) fn get(&self, input: &K) -> Option<V> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = results.young.get(input) {
            return Some(result.clone());
        }
        let (input, result) = results.old.remove_entry(input)?;
        self.keep(&mut results, input, result.clone());
        Some(result)
    }

    /// Caches a result.
    pub(crate) fn insert(&self, input: K, result: V) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        self.keep(&mut results, input, result);
    }

    /// Returns the result for an input, computed unless it is cached.
    pub(crate) fn get_or(&self, input: K, compute: impl FnOnce() -> V) -> V {
        self.get(&input).unwrap_or_else(|| {
            let result = compute();
            self.insert(input, result.clone());
            result
        })
    }

    fn keep(&self, results: &mut Generations<K, V>, input: K, result: V) {
        if results.young.len() >= self.capacity {
            results.old = mem::take(&mut results.young);
        }
        results.young.insert(input, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_in_use_are_kept() {
        let cache = Cache::new(10);
        for input in 0..100 {
            cache.insert(input, input + 1);
            assert_eq!(cache.get(&0), Some(1));
        }
        assert_eq!(cache.get(&99), Some(100));
        assert_eq!(cache.get(&50), None);
    }
}
