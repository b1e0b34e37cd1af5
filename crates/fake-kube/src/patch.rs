//! The preconditions of patches.

use serde_json::Value;

use crate::{Object, Refusal};

/// Checks the resourceVersion of a patch against the object
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>). An empty version is invalid.
pub(crate) fn check_version(object: &Object, patch: &Value) -> Result<(), Refusal> {
    match metadata(patch, "resourceVersion") {
        None => Ok(()),
        Some("") => Err(Refusal::Invalid),
        Some(version) if version == object.version() => Ok(()),
        Some(_) => Err(Refusal::Stale),
    }
}

/// Checks the uid of a patch against the object. A different uid is not a conflict but an invalid change of an
/// immutable field; an empty one changes nothing.
pub(crate) fn check_uid(object: &Object, patch: &Value) -> Result<(), Refusal> {
    match metadata(patch, "uid") {
        None | Some("") => Ok(()),
        Some(uid) if uid == object.uid() => Ok(()),
        Some(_) => Err(Refusal::Invalid),
    }
}

fn metadata<'p>(patch: &'p Value, field: &str) -> Option<&'p str> {
    patch.get("metadata")?.get(field)?.as_str()
}
