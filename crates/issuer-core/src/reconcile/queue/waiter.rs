use std::sync::Arc;

use crate::reconcile::lane::Work;

/// A key that waits in a lane, and the tenant whose turn it takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::reconcile) struct Waiter<K> {
    pub(in crate::reconcile) key: K,
    /// `None` if it is the tenant that the key says.
    pub(in crate::reconcile) tenant: Option<Arc<str>>,
}

impl<K> From<K> for Waiter<K> {
    fn from(key: K) -> Self {
        Self { key, tenant: None }
    }
}

impl<K: Work> Work for Waiter<K> {
    fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or_else(|| self.key.tenant())
    }
}
