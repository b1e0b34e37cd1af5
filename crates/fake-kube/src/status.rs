//! Patches of the status, by the rules of each kind.

use serde_json::Value;

use crate::csr::{self, Subresource};
use crate::{Object, Refusal, patch};

/// Returns an object with a merge patch applied to its status.
pub(crate) fn patched(current: &Object, patch: &Value) -> Result<Object, Refusal> {
    if matches!(current, Object::Csr(_)) {
        return csr::patched(current, patch, Subresource::Status);
    }
    patch::check_version(current, patch)?;
    match patch.get("status") {
        Some(status) => current.with_status(status).ok_or(Refusal::Invalid),
        None => Ok(current.clone()),
    }
}
