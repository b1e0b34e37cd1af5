//! Vault's audit log, from which the requests of an issuer are counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use xtask::process;

/// The location of Vault's audit log.
pub(crate) enum Audit {
    /// In a file.
    File(PathBuf),
    /// In a file of the pod `vault` in the namespace `vault`.
    Pod {
        /// The kubeconfig of the cluster.
        kubeconfig: PathBuf,
        /// The file.
        path: &'static str,
    },
}

/// A request in the audit log, with its result.
pub(crate) struct Answered {
    /// The path, without `/v1/`.
    pub(crate) path: String,
    /// Whether the request succeeded.
    pub(crate) done: bool,
    /// The AppRole of the token, or empty.
    pub(crate) role: String,
    /// The common name that is asked for, or empty; a hash unless the mount keeps it plain.
    common_name: String,
    /// When it was answered.
    at: String,
}

impl Audit {
    /// Returns all requests so far, oldest first.
    pub(crate) fn answered(&self) -> anyhow::Result<Vec<Answered>> {
        let text = self.text()?;
        // The last line may be half written.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines
            .filter(|line| line["type"] == "response")
            .map(|line| answered(&line))
            .collect())
    }

    /// Counts the successful requests to a path, such as `pki/sign/web`.
    pub(crate) fn signatures(&self, path: &str) -> anyhow::Result<usize> {
        Ok(self
            .answered()?
            .iter()
            .filter(|answer| answer.done && answer.path == path)
            .count())
    }

    /// Returns the times of the signatures on a path, by common name.
    pub(crate) fn signed(&self, path: &str) -> anyhow::Result<BTreeMap<String, Vec<Timestamp>>> {
        let mut signed = BTreeMap::<_, Vec<_>>::new();
        let answered = self.answered()?.into_iter();
        for answer in answered.filter(|answer| answer.done && answer.path == path) {
            let at = answer.at.parse().with_context(|| format!("{} is no time", answer.at))?;
            signed.entry(answer.common_name).or_default().push(at);
        }
        Ok(signed)
    }

    /// Returns the text of the log.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        match self {
            Self::File(path) => Ok(fs::read_to_string(path)?),
            Self::Pod { kubeconfig, path } => {
                let mut kubectl = Command::new("kubectl");
                kubectl.arg("--kubeconfig").arg(kubeconfig);
                process::read(kubectl.args(["--namespace", "vault", "exec", "vault", "--", "cat", path]))
            }
        }
    }
}

fn answered(line: &Value) -> Answered {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refused = !line["error"].is_null() || !line["response"]["data"]["error"].is_null();
    Answered {
        path: text(&line["request"]["path"]),
        done: !refused,
        role: text(&line["auth"]["metadata"]["role_name"]),
        common_name: text(&line["request"]["data"]["common_name"]),
        at: text(&line["time"]),
    }
}
