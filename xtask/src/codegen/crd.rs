//! The CustomResourceDefinitions, as plain manifests and as templates of the chart.

use anyhow::Context;

use super::{CHART, File, HEADER, indent, literal, yaml};

pub(super) const DIRECTORY: &str = "deploy/crds";

pub(super) fn files() -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for crd in issuer_api::crds()? {
        let name = crd.metadata.name.as_deref().context("a CRD has a name")?;
        let (plural, group) = (&crd.spec.names.plural, &crd.spec.group);
        files.push(File {
            path: format!("{DIRECTORY}/{group}_{plural}.yaml"),
            text: format!("{HEADER}{}", yaml(&crd)?),
        });
        let spec = literal(yaml(&crd.spec)?)?;
        files.push(File {
            path: format!("{CHART}/templates/crd-{plural}.yaml"),
            text: format!("{HEADER}{}", template(name, &spec)),
        });
    }
    Ok(files)
}

/// A CRD that `crds.enabled` installs, and that `crds.keep` keeps when the release goes, with all issuers.
fn template(name: &str, spec: &str) -> String {
    let spec = indent(spec, 2);
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
    use std::fs;

    use issuer_api::VaultSpec;
    use serde_json::Value;

    use super::*;
    use crate::root;

    #[test]
    fn the_issuers_of_the_examples_hold_only_known_fields() {
        let mut issuers = 0;
        for entry in fs::read_dir(root().join("deploy/examples")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            for object in objects.iter().filter(|o| o["apiVersion"] == "vault-issuer.io/v1alpha1") {
                let spec: VaultSpec = serde_json::from_value(object["spec"].clone()).unwrap();
                assert_eq!(serde_json::to_value(&spec).unwrap(), object["spec"]);
                issuers += 1;
            }
        }
        assert!(issuers >= 6, "{issuers} issuers");
    }

    #[test]
    fn the_kustomization_lists_every_generated_manifest() {
        let text = fs::read_to_string(root().join("deploy/kustomization.yaml")).unwrap();
        let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
        let resources = kustomization["resources"].as_array().unwrap();
        for file in files().unwrap().iter().chain(&crate::codegen::rbac::files().unwrap()) {
            let path = file.path.strip_prefix("deploy/").unwrap();
            assert!(
                path.starts_with("charts/") || resources.contains(&path.into()),
                "{path}"
            );
        }
    }
}
