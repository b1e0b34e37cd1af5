//! The CustomResourceDefinitions, as plain manifests and as templates of the chart.
//!
//! An example of issuer-api prints them, so that this program compiles without the Kubernetes types.

use std::env;
use std::process::Command;

use anyhow::{Context, ensure};
use xtask::process::{cargo, read};

use super::{CHART, File, GROUP, HEADER, literal};

pub(super) const DIRECTORY: &str = "deploy/crds";

/// Returns the files; `is_built` says that the example lies beside this program already.
pub(super) fn files(is_built: bool) -> anyhow::Result<Vec<File>> {
    let printed = if is_built {
        let own = env::current_exe()?;
        read(&mut Command::new(own.with_file_name("examples").join("crds")))?
    } else {
        let example = ["--package", "issuer-api", "--example", "crds"];
        read(cargo(["run", "--quiet", "--locked"]).args(example))?
    };
    let mut files = Vec::new();
    for crd in printed.split("---\n").filter(|document| !document.is_empty()) {
        files.extend(manifest_and_template(crd)?);
    }
    ensure!(!files.is_empty(), "issuer-api prints no CRDs");
    Ok(files)
}

/// Returns the two files that one CRD, a YAML document, goes into.
fn manifest_and_template(crd: &str) -> anyhow::Result<[File; 2]> {
    let name = crd.lines().find_map(|line| line.strip_prefix("  name: "));
    let name = name.context("a CRD without a name")?;
    let (plural, group) = name.split_once('.').context("a CRD's name is PLURAL.GROUP")?;
    ensure!(group == GROUP, "{name} is not in the group {GROUP}");
    let (_, spec) = crd.split_once("\nspec:\n").context("a CRD without a spec")?;
    Ok([
        File {
            path: format!("{DIRECTORY}/{group}_{plural}.yaml"),
            text: format!("{HEADER}{crd}"),
        },
        File {
            path: format!("{CHART}/templates/crd-{plural}.yaml"),
            text: format!("{HEADER}{}", template(name, &literal(spec.into())?)),
        },
    ])
}

/// Returns a template of a CRD that `crds.enabled` installs and that `crds.keep` keeps, with all issuers, when the
/// release is uninstalled.
fn template(name: &str, spec: &str) -> String {
    format!(
        r#"{{{{- if .Values.crds.enabled }}}}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {name}
  labels:
    {{{{- include "vault-issuer.labels" . | nindent 4 }}}}
  {{{{- if .Values.crds.keep }}}}
  annotations:
    helm.sh/resource-policy: keep
  {{{{- end }}}}
spec:
{spec}{{{{- end }}}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crd_becomes_manifest_and_template() {
        let crd =
            "kind: CustomResourceDefinition\nmetadata:\n  name: issuers.vault-issuer.io\nspec:\n  scope: Cluster\n";
        let [manifest, template] = manifest_and_template(crd).unwrap();
        assert_eq!(manifest.path, "deploy/crds/vault-issuer.io_issuers.yaml");
        assert_eq!(manifest.text, format!("{HEADER}{crd}"));
        assert_eq!(template.path, format!("{CHART}/templates/crd-issuers.yaml"));
        assert!(template.text.ends_with("\nspec:\n  scope: Cluster\n{{- end }}\n"));
    }

    #[test]
    fn crd_of_another_group_is_rejected() {
        manifest_and_template("metadata:\n  name: issuers.example.com\nspec:\n  scope: Cluster\n").unwrap_err();
    }
}
