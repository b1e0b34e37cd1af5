//! Counts by key.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// A count for each key, and their sum. Nothing is kept of a key whose count is zero.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Tally<K> {
    by_key: BTreeMap<K, usize>,
    all: usize,
}

impl<K: Ord> Tally<K> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.by_key.get(key).copied().unwrap_or_default()
    }

    /// Returns the sum of all counts.
    pub(super) fn all(&self) -> usize {
        self.all
    }

    pub(super) fn add(&mut self, key: K, count: usize) {
        if count > 0 {
            *self.by_key.entry(key).or_default() += count;
            self.all += count;
        }
    }

    pub(super) fn subtract<Q: Ord + ?Sized>(&mut self, key: &Q, count: usize)
    where
        K: Borrow<Q>,
    {
        if let Some(own) = self.by_key.get_mut(key) {
            *own -= count;
            self.all -= count;
            if *own == 0 {
                self.by_key.remove(key);
            }
        }
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            all: 0,
        }
    }
}
