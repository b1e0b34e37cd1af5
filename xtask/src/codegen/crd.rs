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
