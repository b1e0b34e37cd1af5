//! The manifests below `deploy/` that people apply.

use std::fs;
use std::path::{Path, PathBuf};

use issuer_api::VaultSpec;
use serde_json::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// Decodes the issuers among the objects; returns how many there are.
pub(crate) fn issuers_in(yaml: &str) -> usize {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let issuers = objects.iter().filter(|o| o["apiVersion"] == "vault-issuer.io/v1alpha1");
    let check = |issuer: &Value| {
        let spec: VaultSpec = serde_json::from_value(issuer["spec"].clone()).unwrap();
        // Decoding ignores unknown fields, so they are missing here.
        assert_eq!(serde_json::to_value(&spec).unwrap(), issuer["spec"]);
    };
    issuers.map(check).count()
}

#[test]
fn issuers_of_examples_have_known_fields() {
    let mut issuers = 0;
    for entry in fs::read_dir(deploy().join("examples")).unwrap() {
        issuers += issuers_in(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    assert!(issuers >= 6, "{issuers} issuers");
}

#[test]
fn kustomization_lists_generated_manifests() {
    let text = fs::read_to_string(deploy().join("kustomization.yaml")).unwrap();
    let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
    let resources = kustomization["resources"].as_array().unwrap();
    for directory in ["crds", "rbac"] {
        for entry in fs::read_dir(deploy().join(directory)).unwrap() {
            let path = format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy());
            // cert-manager's own issuers are served on demand only.
            let is_default = path != "rbac/drop-in.yaml";
            assert_eq!(resources.contains(&path.as_str().into()), is_default, "{path}");
        }
    }
}
