//! The preconditions of patches and replacements.

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

/// Checks uid and resourceVersion of a replacement against the object. A custom resource is not replaced without a
/// version, and a different uid is a failed precondition.
pub(crate) fn check_replacement(object: &Object, replacement: &Value) -> Result<(), Refusal> {
    let uid = metadata(replacement, "uid").unwrap_or_default();
    if !uid.is_empty() && uid != object.uid() {
        return Err(Refusal::Uid);
    }
    match metadata(replacement, "resourceVersion").unwrap_or_default() {
        "" => Err(Refusal::Invalid),
        version if version == object.version() => Ok(()),
        _ => Err(Refusal::Stale),
    }
}

fn metadata<'p>(patch: &'p Value, field: &str) -> Option<&'p str> {
    patch.get("metadata")?.get(field)?.as_str()
}
