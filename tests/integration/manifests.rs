//! The manifests below `deploy/` that people apply.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
            // These rights are for modes that are off by default.
            let on_demand = [
                "rbac/drop-in.yaml",
                "rbac/drop-in-csrs.yaml",
                "rbac/kubernetes-csrs.yaml",
                "rbac/namespaces.yaml",
            ];
            let is_default = !on_demand.contains(&&*path);
            assert_eq!(resources.contains(&path.as_str().into()), is_default, "{path}");
        }
    }
}

/// The plugin manifest of a release names an archive for each platform, with its checksum, and the workflow makes these.
#[test]
fn plugin_manifest_has_every_archive() {
    let folder = std::env::temp_dir().join(format!("vault-issuer-krew-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let platforms = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];
    let workflow = fs::read_to_string(deploy().join("../.github/workflows/release.yml")).unwrap();
    for platform in platforms {
        assert!(workflow.contains(&format!("platform: {platform},")), "{platform}");
        fs::write(folder.join(format!("vault-issuer_{platform}.tar.gz")), platform).unwrap();
    }
    let rendered = Command::new(deploy().join("krew/render"))
        .args([OsStr::new("v1.2.3"), folder.as_os_str()])
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let manifest: Value = serde_saphyr::from_str(&String::from_utf8(rendered.stdout).unwrap()).unwrap();
    assert_eq!(manifest["spec"]["version"], "v1.2.3");
    let sums: BTreeSet<&str> = manifest["spec"]["platforms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|platform| platform["sha256"].as_str().unwrap())
        .collect();
    assert_eq!(sums.len(), platforms.len());
    assert!(sums.iter().all(|sum| sum.len() == 64), "{sums:?}");
}
