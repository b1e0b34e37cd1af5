//! The longest values of an issuer's fields: those of the CRDs, which hold for cert-manager's issuers as well.

use issuer_api::{Auth, VaultSpec};

use super::SpecError;

/// The most audiences of a token.
const AUDIENCES: usize = 16;

/// The length of the longest audience, in characters.
const AUDIENCE: usize = 2048;

/// The length of the longest name of a Kubernetes object, and of the longest key of a Secret.
const NAME: usize = 253;

/// Checks that no field is longer than the CRDs permit: cert-manager's limit nothing, and every copy of an issuer takes as
/// much memory.
///
/// Names of Kubernetes objects are checked where they are parsed.
pub(super) fn check(spec: &VaultSpec) -> Result<(), SpecError> {
    let long = texts(spec).find(|(_, text, longest)| is_longer(text, *longest));
    if let Some((field, ..)) = long {
        return Err(SpecError::Long(field));
    }
    let long = audiences(&spec.auth).find(|(_, audiences)| {
        audiences.len() > AUDIENCES || audiences.iter().any(|audience| is_longer(audience, AUDIENCE))
    });
    long.map_or(Ok(()), |(field, _)| Err(SpecError::Long(field)))
}

/// A field, its value, and the length of its longest value, in characters.
type Bounded<'a> = (&'static str, &'a str, usize);

fn texts(spec: &VaultSpec) -> impl Iterator<Item = Bounded<'_>> {
    let required = [("spec.server", &*spec.server, 2048), ("spec.path", &*spec.path, 1024)];
    let optional = [
        ("spec.namespace", &spec.namespace, 1024),
        ("spec.serverName", &spec.server_name, NAME),
        ("spec.proxy", &spec.proxy, 2048),
        ("spec.signTimeout", &spec.sign_timeout, 32),
        ("spec.auth.namespace", &spec.auth.namespace, 1024),
    ];
    required.into_iter().chain(present(optional)).chain(auth(&spec.auth))
}

fn auth(auth: &Auth) -> impl Iterator<Item = Bounded<'_>> {
    let app_role = auth.app_role.iter().flat_map(|role| {
        present([
            ("spec.auth.appRole.path", &role.path, 512),
            ("spec.auth.appRole.roleId", &role.role_id, 4096),
            (
                "spec.auth.appRole.secretIdWrappingPath",
                &role.secret_id_wrapping_path,
                1024,
            ),
        ])
    });
    let kubernetes = auth.kubernetes.iter().flat_map(|kubernetes| {
        let mount = present([("spec.auth.kubernetes.mountPath", &kubernetes.mount_path, 512)]);
        mount.chain([("spec.auth.kubernetes.role", &*kubernetes.role, 512)])
    });
    let jwt = auth.jwt.iter().flat_map(|jwt| {
        let mount = present([("spec.auth.jwt.mountPath", &jwt.mount_path, 512)]);
        mount.chain([("spec.auth.jwt.role", &*jwt.role, 512)])
    });
    let aws = auth.aws.iter().flat_map(|aws| {
        let optional = present([
            ("spec.auth.aws.mountPath", &aws.mount_path, 512),
            ("spec.auth.aws.region", &aws.region, 63),
            ("spec.auth.aws.iamRoleArn", &aws.iam_role_arn, 2048),
            ("spec.auth.aws.vaultHeaderValue", &aws.vault_header_value, 1024),
        ]);
        optional.chain([("spec.auth.aws.role", &*aws.role, 512)])
    });
    let certificate = auth.client_certificate.iter().flat_map(|certificate| {
        present([
            ("spec.auth.clientCertificate.mountPath", &certificate.mount_path, 512),
            ("spec.auth.clientCertificate.name", &certificate.name, 512),
        ])
    });
    app_role.chain(kubernetes).chain(jwt).chain(aws).chain(certificate)
}

/// Returns the fields that are set.
fn present<'a, const N: usize>(
    fields: [(&'static str, &'a Option<String>, usize); N],
) -> impl Iterator<Item = Bounded<'a>> {
    let set = |(field, text, longest): (_, &'a Option<String>, _)| Some((field, text.as_deref()?, longest));
    fields.into_iter().filter_map(set)
}

/// Returns the audiences of the service accounts that log in.
fn audiences(auth: &Auth) -> impl Iterator<Item = (&'static str, &[String])> {
    let kubernetes = auth.kubernetes.iter().flat_map(|auth| &auth.service_account_ref);
    let jwt = auth.jwt.iter().flat_map(|auth| &auth.service_account_ref);
    let aws = auth.aws.iter().flat_map(|auth| &auth.service_account_ref);
    let kubernetes =
        kubernetes.map(|account| ("spec.auth.kubernetes.serviceAccountRef.audiences", &*account.audiences));
    let jwt = jwt.map(|account| ("spec.auth.jwt.serviceAccountRef.audiences", &*account.audiences));
    let aws = aws.map(|account| ("spec.auth.aws.serviceAccountRef.audiences", &*account.audiences));
    kubernetes.chain(jwt).chain(aws)
}

fn is_longer(text: &str, longest: usize) -> bool {
    text.len() > longest && text.chars().count() > longest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Passes the schema of each field that is no object to `visit`, with the field's path.
    fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            match field["type"].as_str() {
                Some("object") => walk(&path, field, visit),
                _ => visit(&path, field),
            }
        }
    }

    /// Returns a spec in which one field has this value.
    fn spec_with(path: &str, value: Value) -> Option<VaultSpec> {
        let mut spec = json!({ "server": "https://vault", "path": "pki/sign/web", "auth": {} });
        let mut place = &mut spec;
        for name in path.split('/').skip(1) {
            place = &mut place[name];
        }
        *place = value;
        // What a struct requires beside the field.
        for auth in ["kubernetes", "jwt", "aws"] {
            if let Some(auth) = spec["auth"].get_mut(auth).and_then(Value::as_object_mut) {
                auth.entry("role").or_insert(json!("web"));
                if let Some(account) = auth.get_mut("serviceAccountRef").and_then(Value::as_object_mut) {
                    account.entry("name").or_insert(json!("signer"));
                }
            }
        }
        serde_json::from_value(spec).ok()
    }

    /// A field that is too long for the CRD is refused here, under its name; any other is not.
    #[test]
    fn bounds_are_those_of_the_crd() {
        let crd = serde_json::to_value(&issuer_api::crds().unwrap()[0]).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut checked = 0;
        walk("", schema, &mut |path, field| {
            let field_name = format!("spec{}", path.replace('/', "."));
            // Names and keys of objects, and the bundle, are checked where they are parsed.
            let is_name = [".name", ".key", ".secretName"]
                .iter()
                .any(|end| field_name.ends_with(end));
            let is_object = is_name && field_name != "spec.auth.clientCertificate.name";
            if is_object || field.get("enum").is_some() || field_name == "spec.caBundle" {
                return;
            }
            let values = match (field["maxLength"].as_u64(), field["maxItems"].as_u64()) {
                (Some(longest), _) => {
                    let text = |length| Value::from("\u{e4}".repeat(usize::try_from(length).unwrap()));
                    vec![(text(longest), true), (text(longest + 1), false)]
                }
                (_, Some(most)) => {
                    let longest = usize::try_from(field["items"]["maxLength"].as_u64().unwrap()).unwrap();
                    let list = |count: u64, length| json!((0..count).map(|_| "a".repeat(length)).collect::<Vec<_>>());
                    vec![
                        (list(most, longest), true),
                        (list(most + 1, 1), false),
                        (list(1, longest + 1), false),
                    ]
                }
                _ => return,
            };
            for (value, is_admitted) in values {
                let spec = spec_with(path, value).unwrap_or_else(|| panic!("{path}"));
                let expected = if is_admitted { Ok(()) } else { Err(field_name.clone()) };
                let verdict = check(&spec).map_err(|error| match error {
                    SpecError::Long(field) => field.to_owned(),
                    other => panic!("{other}"),
                });
                assert_eq!(verdict, expected);
            }
            checked += 1;
        });
        assert!(checked >= 20, "{checked}");
    }
}
