//! A waiting key and its tenant.

use std::sync::Arc;

use crate::reconcile::lane::Work;

/// A key that waits in a lane, and its requester.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::reconcile) struct Waiter<K> {
    pub(in crate::reconcile) key: K,
    /// `None` if it is the one that the key says.
    pub(in crate::reconcile) requester: Option<Arc<str>>,
}

impl<K> From<K> for Waiter<K> {
    fn from(key: K) -> Self {
        Self { key, requester: None }
    }
}

impl<K: Work> Work for Waiter<K> {
    fn requester(&self) -> &str {
        self.requester.as_deref().unwrap_or_else(|| self.key.requester())
    }
}
