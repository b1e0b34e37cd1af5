//! Kubernetes objects, from Helm or from files.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The name of the release and its namespace, which give the objects the names of the plain manifests.
pub(crate) const RELEASE: &str = "vault-issuer";

/// The objects of some YAML documents.
pub(crate) struct Objects(Vec<Value>);

impl Objects {
    /// Reads YAML documents. A key that a mapping has twice is an error.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let documents = serde_saphyr::from_multiple::<Value>(text)?;
        Ok(Self(
            documents.into_iter().filter(|document| !document.is_null()).collect(),
        ))
    }

    /// Reads a file.
    pub(crate) fn read(path: impl AsRef<Path>) -> anyhow::Result<Self> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads the files of a directory.
    pub(crate) fn read_directory(path: &str) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for entry in fs::read_dir(path).with_context(|| path.to_owned())? {
            all.extend(Self::read(entry?.path())?.0);
        }
        ensure!(!all.is_empty(), "{path} holds no objects");
        Ok(Self(all))
    }

    /// Returns all objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    /// Returns the objects of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// Returns `true` if there is an object of this kind and name.
    pub(crate) fn has(&self, kind: &str, name: &str) -> bool {
        self.of_kind(kind).any(|object| object["metadata"]["name"] == name)
    }

    /// Returns the first object of a kind and name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> anyhow::Result<&Value> {
        let mut found = self.of_kind(kind).filter(|object| object["metadata"]["name"] == name);
        found.next().with_context(|| format!("there is no {kind} {name}"))
    }

    /// Returns the spec of the Deployment.
    pub(crate) fn deployment(&self) -> anyhow::Result<&Value> {
        let deployment = self.of_kind("Deployment").next();
        Ok(&deployment.context("there is no Deployment")?["spec"])
    }

    /// Returns the arguments of the controller.
    pub(crate) fn arguments(&self) -> anyhow::Result<Vec<&str>> {
        let arguments = &self.deployment()?["template"]["spec"]["containers"][0]["args"];
        let arguments = arguments.as_array().context("the container has no arguments")?;
        Ok(arguments.iter().filter_map(Value::as_str).collect())
    }
}
