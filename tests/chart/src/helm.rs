//! Helm as a child process.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;
use xtask::tool::HELM;

use crate::objects::{Objects, RELEASE};

const CHART: &str = "deploy/charts/vault-issuer";

/// The program `helm`.
pub(crate) struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Returns the program; `None` if there is neither Helm nor Go.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        Ok(HELM.find()?.map(|program| Self { program }))
    }

    /// Runs `helm lint`, which must find nothing.
    pub(crate) fn lint(&self) -> anyhow::Result<()> {
        let output = Command::new(&self.program).args(["lint", "--strict", CHART]).output()?;
        ensure!(
            output.status.success(),
            "helm lint: {}{}",
            text(output.stdout),
            text(output.stderr)
        );
        Ok(())
    }

    /// Renders the chart's objects with `values`.
    pub(crate) fn template(&self, values: &Value) -> anyhow::Result<Objects> {
        self.template_as(RELEASE, values)
    }

    /// Renders the chart's objects for a release of another name.
    pub(crate) fn template_as(&self, release: &str, values: &Value) -> anyhow::Result<Objects> {
        let output = self.call(&["template", release], values)?;
        ensure!(
            output.status.success(),
            "helm refuses {values}: {}",
            text(output.stderr)
        );
        Objects::parse(&text(output.stdout))
    }

    /// Returns the error message for `values`; an empty one if they are accepted.
    pub(crate) fn errors(&self, values: &Value) -> anyhow::Result<String> {
        let output = self.call(&["template", RELEASE], values)?;
        Ok(if output.status.success() {
            String::new()
        } else {
            text(output.stderr)
        })
    }

    /// Returns the error message for `values`, which must be refused.
    pub(crate) fn refusal(&self, values: &Value) -> anyhow::Result<String> {
        let errors = self.errors(values)?;
        ensure!(!errors.is_empty(), "{values} is not refused");
        Ok(errors)
    }

    /// Returns the notes that an installation prints.
    pub(crate) fn notes(&self, release: &str, values: &Value) -> anyhow::Result<String> {
        let output = self.call(&["install", release, "--dry-run=client"], values)?;
        ensure!(output.status.success(), "helm install: {}", text(output.stderr));
        let text = text(output.stdout);
        let (_, notes) = text.split_once("\nNOTES:\n").context("there are no notes")?;
        Ok(notes.to_owned())
    }

    fn call(&self, arguments: &[&str], values: &Value) -> anyhow::Result<Output> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .args([CHART, "--namespace", RELEASE, "--values", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run helm")?;
        let mut input = child.stdin.take().context("helm has no standard input")?;
        input.write_all(values.to_string().as_bytes())?;
        drop(input);
        Ok(child.wait_with_output()?)
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
