//! Issuers, Secrets and ConfigMaps from YAML files.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use issuer_api::{CertManagerSpec, VaultSpec};
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reference::{ConfigMapRef, IssuerKey, IssuerKind, SecretRef};
use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

/// The most that is read from a file of issuers and what they refer to, in bytes.
const LIMIT: u64 = 4 << 20;

/// An issuer, from a file or from the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Issuer {
    pub(crate) key: IssuerKey,
    pub(crate) spec: VaultSpec,
}

/// The issuers, Secrets and ConfigMaps of some YAML files; objects of other kinds are skipped.
#[derive(Default)]
pub(crate) struct Manifests {
    pub(crate) issuers: Vec<Issuer>,
    /// By name and, where the document says one, namespace.
    secrets: BTreeMap<Name, SecretData>,
    /// The same of ConfigMaps.
    config_maps: BTreeMap<Name, SecretData>,
}

/// A name, and the namespace where the document says one.
type Name = (String, Option<String>);

impl fmt::Debug for Manifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifests")
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

impl Manifests {
    /// Reads files of one or more documents; `-` is the standard input. A namespaced issuer that names no namespace is
    /// in `namespace`, and a Secret or ConfigMap that names none in any.
    pub(crate) fn read(files: &[PathBuf], namespace: &str) -> anyhow::Result<Self> {
        let mut manifests = Self::default();
        documents(files, LIMIT, &mut |document| manifests.take(document, namespace))?;
        Ok(manifests)
    }

    fn take(&mut self, mut document: Value, namespace: &str) -> anyhow::Result<()> {
        let (version, kind) = version_and_kind(&document);
        if let Some(kind) = issuer_kind(&version, &kind) {
            self.issuers.extend(issuer(document, kind, namespace)?);
            return Ok(());
        }
        match (version.as_str(), kind.as_str()) {
            ("v1", "ConfigMap") => self.take_config_map(document)?,
            ("v1", "Secret") => self.take_secret(document)?,
            ("", _) | (_, "") if !document.is_null() => bail!("not a Kubernetes object: apiVersion or kind is missing"),
            _ => {
                for item in take_items(&mut document) {
                    self.take(item, namespace)?;
                }
            }
        }
        Ok(())
    }

    fn take_secret(&mut self, document: Value) -> anyhow::Result<()> {
        // The error of serde would quote the value that is wrong.
        let wrong = "not a Secret: data must hold base64 text, stringData text";
        let mut object: SecretObject = serde_json::from_value(document).map_err(|_| anyhow::anyhow!(wrong))?;
        let name = object.metadata.name.take().context("the Secret has no metadata.name")?;
        let namespace = object.metadata.namespace.take();
        self.secrets.insert((name, namespace), object.into());
        Ok(())
    }

    fn take_config_map(&mut self, document: Value) -> anyhow::Result<()> {
        let mut object: ConfigMap = serde_json::from_value(document).context("not a ConfigMap")?;
        // Without a name no issuer can refer to it.
        if let Some(name) = object.metadata.name.take() {
            let namespace = object.metadata.namespace.take();
            self.config_maps.insert((name, namespace), object.into());
        }
        Ok(())
    }

    /// Returns the Secret as the API server would if it held these files.
    pub(crate) fn secret(&self, reference: &SecretRef) -> Result<SecretData, ReadError> {
        find(&self.secrets, &reference.namespace, &reference.name)
    }

    /// Returns the ConfigMap, as `secret` does.
    pub(crate) fn config_map(&self, reference: &ConfigMapRef) -> Result<SecretData, ReadError> {
        find(&self.config_maps, &reference.namespace, &reference.name)
    }
}

fn find(objects: &BTreeMap<Name, SecretData>, namespace: &str, name: &str) -> Result<SecretData, ReadError> {
    let exact = objects.get(&(name.to_owned(), Some(namespace.to_owned())));
    exact
        .or_else(|| objects.get(&(name.to_owned(), None)))
        .cloned()
        .ok_or(ReadError::NotFound)
}

/// Passes every document of some files of at most `limit` bytes to `take`; `-` is the standard input.
pub(crate) fn documents(
    files: &[PathBuf],
    limit: u64,
    take: &mut dyn FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for file in files {
        parse(&text(file, limit)?, take).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Passes every document of a text to `take`.
pub(crate) fn parse(text: &str, take: &mut dyn FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let options = serde_saphyr::options! { budget: Some(budget(text.len())) };
    let documents = serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|error| {
        // The error's own text may quote the file, and so a Secret.
        match error.location() {
            Some(at) => anyhow::anyhow!("not YAML at line {}, column {}", at.line(), at.column()),
            None => anyhow::anyhow!("not YAML"),
        }
    })?;
    for (number, document) in documents.into_iter().enumerate() {
        take(document).with_context(|| format!("document {}", number + 1))?;
    }
    Ok(())
}

/// Returns the limits of the parser for a text of this length, which is limited itself: the defaults are less than the list of
/// all Certificates of a large cluster. Those of aliases stay.
fn budget(length: usize) -> serde_saphyr::Budget {
    let mut budget = serde_saphyr::Budget::default();
    for limit in [
        &mut budget.max_documents,
        &mut budget.max_events,
        &mut budget.max_nodes,
        &mut budget.max_total_scalar_bytes,
    ] {
        *limit = length.max(*limit);
    }
    budget
}

/// Returns the `apiVersion` and `kind` of an object, each empty if it is missing.
pub(crate) fn version_and_kind(document: &Value) -> (String, String) {
    let word = |field: &str| {
        document
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (word("apiVersion"), word("kind"))
}

/// Takes the objects out of a list: a `List` of kubectl, or one of the API server, such as an `IssuerList`, whose objects do
/// not say what they are.
pub(crate) fn take_items(list: &mut Value) -> Vec<Value> {
    let (version, kind) = version_and_kind(list);
    let Some(kind) = kind.strip_suffix("List") else {
        return Vec::new();
    };
    let items = list.get_mut("items").and_then(Value::as_array_mut);
    let mut items = items.map(std::mem::take).unwrap_or_default();
    for fields in items
        .iter_mut()
        .filter_map(Value::as_object_mut)
        .filter(|_| !kind.is_empty())
    {
        for (name, value) in [("apiVersion", &*version), ("kind", kind)] {
            fields.entry(name).or_insert_with(|| value.into());
        }
    }
    items
}

/// Returns the group of an `apiVersion`; empty for the core of Kubernetes.
pub(crate) fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Returns the kind of issuer that an object of this kind is, whatever the version of its group.
pub(crate) fn issuer_kind(version: &str, kind: &str) -> Option<IssuerKind> {
    IssuerKind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind && group(&known.api_version()) == group(version))
}

/// Decodes an issuer, without its status, which may be of another version; `None` for one of cert-manager's that does not
/// sign with Vault.
pub(crate) fn issuer(mut document: Value, kind: IssuerKind, namespace: &str) -> anyhow::Result<Option<Issuer>> {
    #[derive(Deserialize)]
    struct Object {
        metadata: ObjectMeta,
        spec: Value,
    }
    let wrong = || format!("not a {}", kind.as_str());
    if let Some(fields) = document.as_object_mut() {
        fields.remove("status");
    }
    let Object { metadata, spec } = serde_json::from_value(document).with_context(wrong)?;
    let spec = if kind.is_drop_in() {
        serde_json::from_value::<CertManagerSpec>(spec).map(CertManagerSpec::into_vault)
    } else {
        serde_json::from_value(spec).map(Some)
    };
    let Some(spec) = spec.with_context(wrong)? else {
        return Ok(None);
    };
    let name = metadata
        .name
        .with_context(|| format!("the {} has no metadata.name", kind.as_str()))?;
    let key = IssuerKey::new(kind, metadata.namespace.as_deref().unwrap_or(namespace), &name);
    Ok(Some(Issuer { key, spec }))
}

/// Reads a small file, or the standard input for `-`.
pub(crate) fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    bounded(file, LIMIT)
}

fn bounded(file: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(limit + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} is larger than {} MiB", file.display(), limit >> 20);
    }
    Ok(bytes)
}

fn text(file: &Path, limit: u64) -> anyhow::Result<String> {
    String::from_utf8(bounded(file, limit)?)
        .ok()
        .with_context(|| format!("{} is not text", file.display()))
}

#[cfg(test)]
mod tests {
    use issuer_core::Secret;

    use super::*;

    fn manifests(text: &str) -> anyhow::Result<Manifests> {
        let mut manifests = Manifests::default();
        parse(text, &mut |document| manifests.take(document, "here")).map(|()| manifests)
    }

    const ISSUER: &str = "
apiVersion: vault-issuer.io/v1alpha1
kind: VaultIssuer
metadata: {name: vault}
spec:
  server: https://vault.example.com:8200
  path: pki/sign/web
  auth: {tokenSecretRef: {name: token}}
status: {conditions: of another version}
";

    fn secret(manifests: &Manifests, namespace: &str, name: &str, key: &str) -> Option<String> {
        let reference = SecretRef {
            namespace: namespace.into(),
            name: name.into(),
        };
        let secret = manifests.secret(&reference).ok()?;
        secret.data.get(key).and_then(Secret::expose_str).map(str::to_owned)
    }

    #[test]
    fn other_kinds_are_skipped() {
        let text = format!(
            "{ISSUER}---
apiVersion: v1
kind: Secret
metadata: {{name: a, namespace: there}}
data: {{k: dg==}}
stringData: {{l: w}}
---
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: x}}
---
apiVersion: v1
kind: List
items:
  - apiVersion: vault-issuer.io/v1alpha1
    kind: VaultClusterIssuer
    metadata: {{name: all}}
    spec: {{server: s, path: p, auth: {{}}}}
  - {{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: acme}}, spec: {{acme: {{server: s}}}}}}
  - {{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: theirs}}, spec: {{vault: {{server: s, path: p, auth: {{}}}}}}}}
  - {{apiVersion: v1, kind: Secret, metadata: {{name: b}}, stringData: {{k: v}}}}
"
        );
        let manifests = manifests(&text).unwrap();
        let keys: Vec<_> = manifests.issuers.iter().map(|issuer| issuer.key.to_string()).collect();
        assert_eq!(
            keys,
            ["VaultIssuer here/vault", "VaultClusterIssuer all", "Issuer here/theirs"]
        );
        assert_eq!(secret(&manifests, "there", "a", "k").as_deref(), Some("v"));
        assert_eq!(secret(&manifests, "there", "a", "l").as_deref(), Some("w"));
        assert_eq!(secret(&manifests, "here", "a", "k"), None);
        assert_eq!(secret(&manifests, "anywhere", "b", "k").as_deref(), Some("v"));
    }

    #[test]
    fn config_maps_are_no_secrets() {
        let text =
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {ca.crt: bundle}, binaryData: {der: Yg==}}";
        let manifests = manifests(text).unwrap();
        let reference = ConfigMapRef {
            namespace: "here".into(),
            name: "a".into(),
        };
        let data = manifests.config_map(&reference).unwrap().data;
        assert_eq!(data.get("ca.crt").and_then(Secret::expose_str), Some("bundle"));
        assert_eq!(data.get("der").and_then(Secret::expose_str), Some("b"));
        assert_eq!(secret(&manifests, "here", "a", "ca.crt"), None);
    }

    #[test]
    fn errors_do_not_quote_the_file() {
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {k: 'hvs.canary'}}";
        for (text, expected) in [
            ("a: [hvs.canary", "not YAML at line"),
            ("hvs.canary: &x *hvs.canary", "not YAML"),
            ("hvs.canary", "not a Kubernetes object"),
            (
                "{kind: VaultIssuer, metadata: {name: hvs.canary}}",
                "not a Kubernetes object",
            ),
            (secret, "not a Secret"),
            (
                "{apiVersion: v1, kind: Secret, data: {k: dg==}}",
                "the Secret has no metadata.name",
            ),
            (&ISSUER.replace("server", "sever"), "missing field `server`"),
            (
                &ISSUER.replace("{name: vault}", "{}"),
                "the VaultIssuer has no metadata.name",
            ),
        ] {
            let error = format!("{:#}", manifests(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn limits_differ_by_purpose() {
        let file = std::env::temp_dir().join(format!("vault-issuer-manifest-{}", std::process::id()));
        let list = "items:\n".to_owned() + &"- a-certificate-web\n".repeat(300_000);
        std::fs::write(&file, list).unwrap();
        let small = Manifests::read(std::slice::from_ref(&file), "ns");
        let large = documents(std::slice::from_ref(&file), 8 << 20, &mut |_| Ok(()));
        std::fs::remove_file(&file).unwrap();
        let error = small.unwrap_err().to_string();
        assert!(error.ends_with(" is larger than 4 MiB"), "{error}");
        large.unwrap();
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Manifests::read(&["no/such/file".into()], "ns").unwrap_err();
        assert!(
            format!("{error:#}").starts_with("cannot read no/such/file: "),
            "{error:#}"
        );
    }
}
