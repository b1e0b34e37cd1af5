//! Managed fields: which manager has set which field of an issuer's condition `Ready`
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
//!
//! Of other objects they only name the manager and the time of the last write.
//!
//! The managers of a CertificateSigningRequest are often unknown. The API server resets spec and status for those who
//! create one (`csrStrategy.GetResetFields` of kube-apiserver), so without labels and annotations nobody owns a field; and where
//! nobody does, updates record no manager before the first server-side apply (`skipNonAppliedManager` of apimachinery).
//! Where somebody does, a signer owns the certificate but no condition (`csrStatusStrategy.GetResetFields`).

use std::collections::BTreeSet;

use issuer_api::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta, Time};
use serde_json::{Map, Value, json};

use crate::{Object, Refusal};

/// The field manager of the controller.
pub const CONTROLLER: &str = "vault-issuer";

/// The field manager that has created a CertificateSigningRequest.
const CREATOR: &str = "creator";

/// The place of the condition `Ready` in managed fields.
const READY: [&str; 3] = ["f:status", "f:conditions", "k:{\"type\":\"Ready\"}"];

/// Returns the managers that own a field of an issuer's condition `Ready`.
pub fn ready_managers(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    let entries = meta.managed_fields.iter().flatten();
    let owners = entries.filter(|entry| !owned(entry).is_empty());
    owners.filter_map(|entry| entry.manager.as_deref())
}

/// Returns a digest of the managed fields without times.
pub(crate) fn digest(meta: &ObjectMeta) -> u64 {
    let entries = meta.managed_fields.iter().flatten();
    let parts = entries.map(|entry| (entry.manager.as_deref(), owned(entry)));
    crate::object::digest(&parts.collect::<Vec<_>>())
}

/// Returns an issuer with the condition `Ready` of an applied configuration.
pub(crate) fn apply(current: &Object, applied: &Value, force: bool) -> Result<Object, Refusal> {
    let conditions = applied.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|one| one["type"] == "Ready");
    let ready = ready.ok_or(Refusal::Invalid)?;
    let changed = changed(current.ready(), ready);
    let mut entries = current.meta().managed_fields.clone().unwrap_or_default();
    for entry in entries
        .iter_mut()
        .filter(|entry| entry.manager.as_deref() != Some(CONTROLLER))
    {
        let mut kept = owned(entry);
        let before = kept.len();
        kept.retain(|field| !changed.contains(field));
        if kept.len() != before {
            if !force {
                return Err(Refusal::Owned);
            }
            own(entry, &kept);
        }
    }
    let fields = fields(ready).map(|(name, _)| name.clone()).collect();
    let mut next = current
        .with_status(&json!({ "conditions": with_ready(current, ready) }))
        .ok_or(Refusal::Invalid)?;
    set(&mut entries, (CONTROLLER, "Apply"), &fields, None);
    next.meta_mut().managed_fields = Some(entries);
    Ok(next)
}

/// Records who has created a CertificateSigningRequest, if its creator owns a field.
pub(crate) fn create(object: &mut Object) {
    let is_csr = matches!(object, Object::Csr(_));
    let meta = object.meta_mut();
    let mut maps = [&meta.annotations, &meta.labels].into_iter().flatten();
    if is_csr && maps.any(|map| !map.is_empty()) {
        meta.managed_fields = Some(vec![ManagedFieldsEntry {
            manager: Some(CREATOR.to_owned()),
            operation: Some("Update".to_owned()),
            ..ManagedFieldsEntry::default()
        }]);
    }
}

/// Records that a manager has updated the status of an object, which is `next` now: it takes the fields of `Ready` that it
/// has changed from all others. An update that changes nothing leaves no mark, and nobody owns a condition that is removed.
pub(crate) fn update(current: &Object, mut next: Object, manager: &str, at: Time) -> Object {
    if *current == next || !leaves_mark(current, &next) {
        return next;
    }
    let ready = next.ready().and_then(|ready| serde_json::to_value(ready).ok());
    let is_removed = ready.is_none();
    let changed = changed(current.ready(), &ready.unwrap_or_default());
    let mut entries = current.meta().managed_fields.clone().unwrap_or_default();
    let mut fields = changed.clone();
    for entry in &mut entries {
        let mut kept = owned(entry);
        if is_removed {
            own(entry, &BTreeSet::new());
        } else if entry.manager.as_deref() == Some(manager) {
            fields.append(&mut kept);
        } else {
            kept.retain(|field| !changed.contains(field));
            own(entry, &kept);
        }
    }
    set(&mut entries, (manager, "Update"), &fields, Some(at));
    next.meta_mut().managed_fields = Some(entries);
    next
}

/// Returns `true` if the writer of a status owns a field of the object then.
fn leaves_mark(current: &Object, next: &Object) -> bool {
    let has_managers = current.meta().managed_fields.iter().flatten().next().is_some();
    let is_csr = matches!(current, Object::Csr(_));
    !is_csr || has_managers && current.certificate() != next.certificate()
}

/// Returns the conditions of an issuer, with this `Ready`.
fn with_ready(object: &Object, ready: &Value) -> Vec<Value> {
    let all = object.conditions().iter();
    let mut all: Vec<Value> = all
        .filter_map(|condition| serde_json::to_value(condition).ok())
        .collect();
    match all.iter_mut().find(|condition| condition["type"] == "Ready") {
        Some(known) => known.clone_from(ready),
        None => all.push(ready.clone()),
    }
    all
}

/// Returns the fields of a condition that differ from those before.
fn changed(before: Option<&Condition>, after: &Value) -> BTreeSet<String> {
    let before = before
        .and_then(|before| serde_json::to_value(before).ok())
        .unwrap_or_default();
    let differs = |(name, value): &(&String, &Value)| before.get(*name) != Some(*value);
    fields(after).filter(differs).map(|(name, _)| name.clone()).collect()
}

fn fields(condition: &Value) -> impl Iterator<Item = (&String, &Value)> {
    condition.as_object().into_iter().flatten()
}

/// Returns the fields of the condition `Ready` that an entry owns.
fn owned(entry: &ManagedFieldsEntry) -> BTreeSet<String> {
    entry
        .fields_v1
        .as_ref()
        .map(|fields| owned_fields(&fields.0))
        .unwrap_or_default()
}

/// Returns the fields of the condition `Ready` among these.
pub(crate) fn owned_fields(all: &Value) -> BTreeSet<String> {
    let ready = READY.iter().try_fold(all, |value, step| value.get(step));
    let names = ready.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    names
        .filter_map(|name| name.strip_prefix("f:"))
        .map(str::to_owned)
        .collect()
}

/// Makes an entry own these fields of the condition `Ready`.
fn own(entry: &mut ManagedFieldsEntry, fields: &BTreeSet<String>) {
    let ready: Map<String, Value> = fields.iter().map(|field| (format!("f:{field}"), json!({}))).collect();
    let all = READY
        .iter()
        .rfold(Value::Object(ready), |inner, step| json!({ (*step): inner }));
    entry.fields_v1 = (!fields.is_empty()).then_some(FieldsV1(all));
}

/// Sets the entry of a manager.
fn set(
    entries: &mut Vec<ManagedFieldsEntry>,
    (manager, operation): (&str, &str),
    fields: &BTreeSet<String>,
    time: Option<Time>,
) {
    let mut entry = ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        operation: Some(operation.to_owned()),
        subresource: Some("status".to_owned()),
        time,
        ..ManagedFieldsEntry::default()
    };
    own(&mut entry, fields);
    let known = entries.iter_mut().find(|known| known.manager == entry.manager);
    match known {
        Some(known) => *known = entry,
        None => entries.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use issuer_api::{VaultIssuer, VaultSpec};
    use issuer_core::reconcile::Key;

    use super::*;
    use crate::FakeKube;

    /// cert-manager's Issuer `team/vault`, without a status.
    fn cluster() -> (FakeKube, Key) {
        let issuer = VaultIssuer {
            metadata: ObjectMeta {
                name: Some("vault".to_owned()),
                namespace: Some("team".to_owned()),
                ..ObjectMeta::default()
            },
            spec: VaultSpec::default(),
            status: None,
        };
        let mut cluster = FakeKube::default();
        let object = cluster.create(Object::DropInIssuer(issuer)).unwrap();
        (cluster, object.key())
    }

    fn ready(status: &str, reason: &str) -> Value {
        json!({ "status": { "conditions": [{
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": "",
            "lastTransitionTime": "2027-01-15T08:00:00Z",
        }] } })
    }

    fn update(cluster: &mut FakeKube, key: &Key, status: &Value) {
        let at = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        cluster
            .patch_status_as(key, status, ("cert-manager-issuers", at))
            .unwrap();
    }

    fn managers(cluster: &FakeKube, key: &Key) -> Vec<String> {
        let object = cluster.get(key).unwrap();
        let mut all: Vec<_> = ready_managers(object.meta()).map(str::to_owned).collect();
        all.sort();
        all
    }

    #[test]
    fn applied_condition_has_an_owner() {
        let (mut cluster, key) = cluster();
        cluster.apply_status(&key, &ready("True", "A"), false).unwrap();
        assert_eq!(managers(&cluster, &key), ["vault-issuer"]);
        cluster.apply_status(&key, &ready("False", "B"), false).unwrap();
        assert_eq!(cluster.get(&key).unwrap().ready().unwrap().reason, "B");
    }

    #[test]
    fn other_owner_conflicts_unless_forced() {
        let (mut cluster, key) = cluster();
        update(&mut cluster, &key, &ready("True", "A"));
        assert_eq!(
            cluster.apply_status(&key, &ready("True", "B"), false),
            Err(Refusal::Owned)
        );
        assert_eq!(managers(&cluster, &key), ["cert-manager-issuers"]);
        cluster.apply_status(&key, &ready("True", "B"), true).unwrap();
        assert_eq!(managers(&cluster, &key), ["cert-manager-issuers", "vault-issuer"]);
        assert_eq!(cluster.get(&key).unwrap().ready().unwrap().reason, "B");
    }

    #[test]
    fn equal_values_are_shared() {
        let (mut cluster, key) = cluster();
        update(&mut cluster, &key, &ready("True", "A"));
        cluster.apply_status(&key, &ready("True", "A"), false).unwrap();
        assert_eq!(managers(&cluster, &key), ["cert-manager-issuers", "vault-issuer"]);
    }

    #[test]
    fn update_takes_what_it_changes() {
        let (mut cluster, key) = cluster();
        cluster.apply_status(&key, &ready("False", "A"), false).unwrap();
        update(&mut cluster, &key, &ready("True", "B"));
        let object = cluster.get(&key).unwrap();
        let entries = object.meta().managed_fields.as_ref().unwrap();
        let fields: Vec<Vec<String>> = entries.iter().map(|entry| owned(entry).into_iter().collect()).collect();
        assert_eq!(
            fields,
            [vec!["lastTransitionTime", "message", "type"], vec!["reason", "status"]]
        );
    }

    #[test]
    fn version_holds_even_if_forced() {
        let (mut cluster, key) = cluster();
        let mut applied = ready("True", "A");
        applied["metadata"] = json!({ "resourceVersion": "rv7.7.7" });
        assert_eq!(cluster.apply_status(&key, &applied, true), Err(Refusal::Stale));
        // The status subresource ignores the uid.
        applied["metadata"] = json!({ "uid": "uid-7777" });
        assert!(cluster.apply_status(&key, &applied, true).is_ok());
    }
}
