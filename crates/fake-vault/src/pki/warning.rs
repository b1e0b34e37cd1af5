//! The warnings of signing endpoints.

use super::endpoint::Endpoint;
use super::role::Role;
use crate::fields::Fields;

/// Returns Vault's warnings in its order. Vault adds those about the TTL twice.
pub(super) fn warnings(endpoint: Endpoint<'_>, role: &Role, fields: &Fields, ttl_warnings: &[String]) -> Vec<String> {
    let ignored = |field: &str, switch: &str, on: bool| {
        (on && !fields.text(field).is_empty())
            .then(|| format!("the {field} field was provided but the role is set with \"{switch}\" set to true"))
    };
    let mut warnings = ttl_warnings.to_vec();
    match endpoint {
        Endpoint::Intermediate | Endpoint::ExternalIntermediate => warnings = vec![NO_AIA.to_owned()],
        Endpoint::Cel(_) | Endpoint::External | Endpoint::Issue(_) => {}
        Endpoint::Sign(_) | Endpoint::Verbatim(_) => {
            let common_name = "use_csr_common_name";
            warnings.extend(ignored("common_name", common_name, role.use_csr_common_name));
            warnings.extend(ignored("alt_names", "use_csr_sans", role.use_csr_sans));
        }
    }
    warnings.extend_from_slice(ttl_warnings);
    warnings.extend(unrecognized(endpoint, fields));
    warnings
}

const NO_AIA: &str = "This mount hasn't configured any authority information access (AIA) fields; this may make it \
    harder for systems to find missing certificates in the chain or to validate revocation status of certificates. \
    Consider updating /config/urls or the newly generated issuer with this information.";

/// The parameters of every signing endpoint.
const FIELDS: [&str; 17] = [
    "alt_names",
    "cert_metadata",
    "common_name",
    "csr",
    "exclude_cn_from_sans",
    "format",
    "ip_sans",
    "issuer_ref",
    "not_after",
    "other_sans",
    "private_key_format",
    "remove_roots_from_chain",
    "role",
    "serial_number",
    "ttl",
    "uri_sans",
    "user_ids",
];

fn unrecognized(endpoint: Endpoint<'_>, fields: &Fields) -> Option<String> {
    if endpoint.is_intermediate() {
        return None;
    }
    let verbatim = matches!(endpoint, Endpoint::Verbatim(_));
    let more = [
        "ext_key_usage",
        "ext_key_usage_oids",
        "key_usage",
        "signature_bits",
        "use_pss",
    ];
    let known = |key: &&str| !(FIELDS.contains(key) || verbatim && more.contains(key));
    let mut ignored: Vec<_> = fields.iter().map(|(key, _)| key).filter(known).collect();
    ignored.sort_unstable();
    let list = ignored.join(" ");
    (!list.is_empty()).then(|| format!("Endpoint ignored these unrecognized parameters: [{list}]"))
}
