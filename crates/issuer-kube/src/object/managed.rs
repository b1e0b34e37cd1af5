//! Who has written which field, by `metadata.managedFields`.

use issuer_core::reconcile::{ReadyWriters, built_in_writer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The name of the controller in what it writes.
pub(crate) const FIELD_MANAGER: &str = "vault-issuer";

/// One writer of an object, and what is used of the fields that it has written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Writer {
    manager: String,
    time: Option<String>,
    subresource: Option<String>,
    fields_v1: Fields,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Fields {
    #[serde(default, rename = "f:status")]
    status: StatusFields,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct StatusFields {
    #[serde(default, rename = "f:conditions")]
    conditions: ConditionFields,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct ConditionFields {
    #[serde(default, rename = "k:{\"type\":\"Ready\"}")]
    ready: Option<IgnoredAny>,
}

/// Returns who has written the condition Ready.
pub(super) fn ready_writers(writers: &[Writer]) -> ReadyWriters {
    let mut found = ReadyWriters::default();
    for writer in writers
        .iter()
        .filter(|writer| writer.fields_v1.status.conditions.ready.is_some())
    {
        if writer.manager == FIELD_MANAGER {
            found.ours = true;
        } else {
            found.others = true;
        }
    }
    found
}

/// Returns the writes of cert-manager's own Vault controllers.
pub(super) fn built_in(writers: Vec<Writer>) -> Option<Vec<ManagedFieldsEntry>> {
    let entries = writers.into_iter().map(|writer| ManagedFieldsEntry {
        manager: Some(writer.manager),
        time: writer.time.and_then(|time| time.parse().ok()).map(Time),
        subresource: writer.subresource,
        ..ManagedFieldsEntry::default()
    });
    let entries: Vec<_> = entries.filter(|entry| built_in_writer(entry).is_some()).collect();
    (!entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn writers(entries: Value) -> Vec<Writer> {
        serde_json::from_value(entries).unwrap()
    }

    #[test]
    fn writers_of_ready_are_told_apart() {
        let ready =
            json!({ "f:status": { "f:conditions": { ".": {}, "k:{\"type\":\"Ready\"}": { "f:status": {} } } } });
        let of = |managers: &[&str]| {
            let entries = managers
                .iter()
                .map(|manager| json!({ "manager": manager, "fieldsV1": ready }));
            ready_writers(&writers(entries.collect()))
        };
        let expected = |ours, others| ReadyWriters { ours, others };
        assert_eq!(of(&[]), expected(false, false));
        assert_eq!(of(&["vault-issuer"]), expected(true, false));
        assert_eq!(of(&["cert-manager-issuers"]), expected(false, true));
        assert_eq!(of(&["vault-issuer", "cert-manager-issuers"]), expected(true, true));
        let elsewhere = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": { "f:vault": {} } } }, {}]);
        assert_eq!(ready_writers(&writers(elsewhere)), ReadyWriters::default());
    }

    #[test]
    fn only_writes_of_the_built_in_are_kept() {
        let entries = json!([
            { "manager": "cert-manager-certificates-request-manager", "time": "2026-01-01T00:00:00Z" },
            { "manager": "vault.cert-manager.io", "time": "2026-01-01T00:00:00Z" },
            { "manager": "vault.cert-manager.io", "time": "2026-01-01T00:00:01Z", "subresource": "status" },
        ]);
        let kept = built_in(writers(entries)).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].subresource.as_deref(), Some("status"));
        assert_eq!(kept[0].time.as_ref().unwrap().0.as_second(), 1_767_225_601);
        assert_eq!(built_in(writers(json!([{ "manager": "kubectl" }]))), None);
    }
}
