//! Values that many worlds share, and that are compared by identity.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::Cache;

/// The number of values whose hashes are equal that an [`Interner`] compares.
const COMPARED: usize = 16;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A value that is shared between clones until one of them changes.
///
/// Two of them are equal if one is a clone of the other. That implies that their values are equal; the converse holds for
/// values of an [`Interner`], as long as it remembers them.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: Arc<T>,
    /// Differs for any two values in the life of this program, so what is known of a value may outlive it.
    id: u64,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::from(Arc::new(value))
    }

    /// Returns the value behind the identity.
    pub(crate) fn arc(&self) -> &Arc<T> {
        &self.value
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl<T: Clone> Shared<T> {
    /// Returns the value to be changed.
    pub(crate) fn make_mut(&mut self) -> &mut T {
        self.id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::make_mut(&mut self.value)
    }

    pub(crate) fn unwrap_or_clone(self) -> T {
        Arc::unwrap_or_clone(self.value)
    }
}

impl<T> From<Arc<T>> for Shared<T> {
    fn from(value: Arc<T>) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { value, id }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            id: self.id,
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// Gives equal values one identity.
///
/// Values that it has forgotten get another one, which costs time and changes nothing else.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    /// Values by their hashes.
    values: Cache<u64, Arc<[Shared<T>]>>,
}

impl<T> Interner<T> {
    /// Returns an interner that remembers at least `capacity` hashes.
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            values: Cache::new(capacity),
        }
    }

    /// Returns the value that is equal to this one in every respect, this one itself if there was none. Equal values have
    /// equal hashes of what `part` returns.
    pub(crate) fn intern<'v, P: Hash>(
        &self,
        value: &'v Arc<T>,
        part: impl FnOnce(&'v T) -> P,
        equal: impl Fn(&T, &T) -> bool,
    ) -> Shared<T> {
        let mut hasher = DefaultHasher::new();
        part(value).hash(&mut hasher);
        let hash = hasher.finish();
        let known = self.values.get(&hash);
        let known = known.as_deref().unwrap_or_default();
        let same = |known: &&Shared<T>| Arc::ptr_eq(&known.value, value) || equal(known, value);
        if let Some(same) = known.iter().find(same) {
            return same.clone();
        }
        let new = Shared::from(Arc::clone(value));
        let newest = [new.clone()].into_iter();
        self.values
            .insert(hash, newest.chain(known.iter().take(COMPARED - 1).cloned()).collect());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_identity() {
        let interner: Interner<String> = Interner::new(100);
        let intern = |text: &str| interner.intern(&Arc::new(text.to_owned()), |_| 0, String::eq);
        let (a, b) = (intern("a"), intern("b"));
        assert_eq!(a, intern("a"));
        assert_ne!(a, b);
        assert_eq!(*b, "b");
    }

    #[test]
    fn change_makes_another_identity() {
        let original = Shared::new(1);
        let mut changed = original.clone();
        *changed.make_mut() += 1;
        assert_ne!(original, changed);
        assert_eq!((*original, *changed), (1, 2));
    }
}
