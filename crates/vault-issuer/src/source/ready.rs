//! Compares the condition Ready of one of cert-manager's issuers with the result of a check.

use issuer_api::{CertManagerStatus, ConditionStatus, IssuerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

/// The field manager of the controller of this project.
const OURS: &str = "vault-issuer";

/// Returns a sentence where another controller has written something else than the check has found, or has not seen the
/// present spec.
///
/// Whether that controller still runs shows nowhere: while an issuer stays as it is, one that runs writes nothing either.
pub(super) fn difference(issuer: Value, can_sign: bool) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: ObjectMeta,
        #[serde(default)]
        status: CertManagerStatus,
    }
    let Object { metadata, status } = serde_json::from_value(issuer).ok()?;
    let status = IssuerStatus::from(status);
    let ready = status.ready()?;
    let writer = metadata.managed_fields.iter().flatten().find_map(other_writer)?;
    let present = metadata.generation.unwrap_or_default();
    let seen = ready.observed_generation.unwrap_or(present);
    let agrees = seen == present && (ready.status == ConditionStatus::True) == can_sign;
    (!agrees).then(|| {
        format!(
            "status: {writer} has written Ready={:?} for generation {seen} of {present}; if that controller no longer runs, \
             start this one with --issuer-status=own",
            ready.status
        )
    })
}

/// Returns the manager of an entry if it has written the condition Ready and is another controller.
fn other_writer(entry: &ManagedFieldsEntry) -> Option<&str> {
    let fields = &entry.fields_v1.as_ref()?.0;
    fields.pointer("/f:status/f:conditions/k:{\"type\":\"Ready\"}")?;
    entry.manager.as_deref().filter(|manager| *manager != OURS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn issuer(manager: &str, status: &str, seen: Option<i64>) -> Value {
        let ready = json!({ "f:status": { "f:conditions": { "k:{\"type\":\"Ready\"}": { "f:status": {} } } } });
        json!({
            "metadata": {
                "name": "vault",
                "generation": 5,
                "managedFields": [
                    { "manager": "kubectl", "fieldsV1": { "f:spec": {} } },
                    { "manager": manager, "subresource": "status", "fieldsV1": ready },
                ],
            },
            "status": { "conditions": [{ "type": "Ready", "status": status, "observedGeneration": seen }] },
        })
    }

    #[test]
    fn conditions_of_others_are_compared() {
        for (manager, status, seen, can_sign, expected) in [
            ("cert-manager-issuers", "True", Some(5), true, None),
            ("cert-manager-issuers", "False", Some(5), false, None),
            ("cert-manager-issuers", "True", None, true, None),
            (
                "cert-manager-issuers",
                "True",
                Some(5),
                false,
                Some("cert-manager-issuers has written Ready=True for generation 5 of 5"),
            ),
            (
                "cert-manager-issuers",
                "False",
                None,
                true,
                Some("cert-manager-issuers has written Ready=False for generation 5 of 5"),
            ),
            (
                "vault.cert-manager.io",
                "True",
                Some(3),
                true,
                Some("vault.cert-manager.io has written Ready=True for generation 3 of 5"),
            ),
            // The controller writes it itself, and knows.
            ("vault-issuer", "True", Some(3), false, None),
        ] {
            let note = difference(issuer(manager, status, seen), can_sign);
            let expected = expected.map(|begin| {
                format!("status: {begin}; if that controller no longer runs, start this one with --issuer-status=own")
            });
            assert_eq!(note, expected, "{manager} {status} {seen:?} {can_sign}");
        }
        assert_eq!(difference(json!({ "metadata": { "name": "new" } }), true), None);
    }
}
