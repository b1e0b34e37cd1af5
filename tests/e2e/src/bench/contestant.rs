//! A controller under measurement.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _};
use issuer_api::CertificateRequest;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::Figures;
use crate::pki::{Csr, Names};
use crate::servers::cluster::{AuditEvent, CERT_MANAGER};
use crate::servers::process::{Process, Signal, eventually};
use crate::test_namespace::{SOON, TestNamespace};

/// The number of requests before the measurement, which open connections and log in.
const WARM_UP: usize = 20;

/// A controller under measurement.
#[derive(Clone, Copy)]
pub(super) enum Contestant {
    /// cert-manager's built-in Vault issuer, in a process without other controllers.
    BuiltIn,
    /// Our controller.
    Ours,
}

impl Contestant {
    /// Returns its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "cert-manager",
            Self::Ours => "vault-issuer",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::BuiltIn => CERT_MANAGER,
            Self::Ours => "system:serviceaccount:vault-issuer:vault-issuer",
        }
    }

    /// Returns the group and kind of its issuer.
    fn kind(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::BuiltIn => ("cert-manager.io", "v1", "Issuer"),
            Self::Ours => ("vault-issuer.io", "v1alpha1", "VaultIssuer"),
        }
    }

    /// Has it sign requests, stops it, and returns its figures.
    pub(super) async fn run(self, test: &TestNamespace<'_>, requests: usize) -> anyhow::Result<Figures> {
        let mut process = self.start(test).await?;
        self.issuer(test).await?;
        self.requests(test, "warm-up", WARM_UP).await?;
        self.wait(test, WARM_UP).await?;

        process.signal(Signal::STOP)?;
        self.requests(test, "measured", requests).await?;
        let before = Counts::take(test).await?;
        let (cpu, begun) = (cpu(process.id())?, Timestamp::now());
        process.signal(Signal::CONT)?;
        self.wait(test, WARM_UP + requests).await?;
        // Work that follows the last certificate counts as well.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (vault, events) = Counts::take(test).await?.since(&before);
        let ours: Vec<&AuditEvent> = events.iter().filter(|event| event.user() == self.user()).collect();
        let status = "certificaterequests/status";
        let saved = ours
            .iter()
            .filter(|event| event.is_write() && event.resource() == status)
            .map(|event| event.at);
        let figures = Figures {
            name: self.name(),
            elapsed: Duration::try_from(saved.max().context("nothing was saved")?.duration_since(begun))?,
            cpu: self::cpu(process.id())?.saturating_sub(cpu),
            memory: peak_memory(process.id())?,
            vault: tally(vault.into_iter()),
            api: tally(ours.iter().map(|event| format!("{} {}", event.verb, event.resource()))),
        };
        process.stop()?;
        let all = test.api::<CertificateRequest>();
        all.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        Ok(figures)
    }

    /// Starts its process.
    async fn start(self, test: &TestNamespace<'_>) -> anyhow::Result<Process> {
        let mut local = test.env.local_servers().await?;
        if let Self::Ours = self {
            local.start_controller().await?;
            return Ok(local.controller.take().context("no controller")?.into_process());
        }
        let mut command = Command::new(&local.cert_manager_binary);
        command.arg("-kubeconfig").arg(local.cluster.kubeconfig(CERT_MANAGER));
        command.args(["-controllers", "issuers,certificaterequests-issuer-vault"]);
        Process::start(&local.dir, "cert-manager-vault", &mut command)
    }

    /// Creates its issuer, with AppRole, and waits until it is ready.
    async fn issuer(self, test: &TestNamespace<'_>) -> anyhow::Result<()> {
        let path = test.role(json!({})).await?;
        let mut auth = test
            .approle("approle", &test.policy(&[&path]).await?, json!({}))
            .await?;
        let reference = auth.pointer_mut("/appRole/secretRef").context("no secretRef")?;
        *reference = json!({ "name": "approle", "key": "secretId" });
        let spec = test.spec(&path, auth);
        let spec = if let Self::Ours = self {
            spec
        } else {
            json!({ "vault": spec })
        };
        let (group, version, kind) = self.kind();
        test.apply(json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": kind,
            "metadata": { "name": "vault" },
            "spec": spec,
        }))
        .await?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let issuers: Api<DynamicObject> = Api::namespaced_with(test.env.client.clone(), &test.namespace, &resource);
        eventually(SOON, async || {
            let issuer = issuers.get("vault").await?;
            let conditions = issuer.data.pointer("/status/conditions").and_then(Value::as_array);
            let conditions = conditions.context("no conditions")?;
            let ready = |condition: &&Value| {
                condition.get("type") == Some(&json!("Ready")) && condition.get("status") == Some(&json!("True"))
            };
            ensure!(
                conditions.iter().any(|condition| ready(&condition)),
                "it is {conditions:?}"
            );
            Ok(())
        })
        .await
        .with_context(|| format!("the issuer of {} is not ready", self.name()))
    }

    /// Creates approved requests, 16 at a time.
    async fn requests(self, test: &TestNamespace<'_>, prefix: &str, count: usize) -> anyhow::Result<()> {
        let (group, _, kind) = self.kind();
        let make = async |number: usize| {
            let name = format!("{prefix}-{number}");
            let common_name = format!("{name}.example.com");
            let names = Names {
                dns: &[&common_name],
                ..Names::common(&common_name)
            };
            let request = STANDARD.encode(Csr::new(&names)?.pem);
            let spec = json!({ "request": request, "issuerRef": { "group": group, "kind": kind, "name": "vault" } });
            test.apply(json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "CertificateRequest",
                "metadata": { "name": name },
                "spec": spec,
            }))
            .await?;
            test.decide(&name, "Approved").await
        };
        futures::stream::iter(0..count)
            .map(Ok)
            .try_for_each_concurrent(16, make)
            .await
    }

    /// Waits until all requests are issued; polls once a second, to disturb little.
    async fn wait(self, test: &TestNamespace<'_>, count: usize) -> anyhow::Result<()> {
        let all = test.api::<CertificateRequest>();
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let list = all.list(&ListParams::default()).await?;
            let failed = list.iter().find(|request| {
                request
                    .condition("Ready")
                    .is_some_and(|ready| ready.reason.as_deref() == Some("Failed"))
            });
            ensure!(failed.is_none(), "{failed:?}");
            if list.iter().filter(|request| request.is("Ready")).count() == count {
                return Ok(());
            }
        }
        anyhow::bail!("{} has not signed {count} requests within ten minutes", self.name())
    }
}

/// The requests in the audit logs of Vault and the API server.
struct Counts {
    vault: Vec<String>,
    api: Vec<AuditEvent>,
}

impl Counts {
    async fn take(test: &TestNamespace<'_>) -> anyhow::Result<Self> {
        let vault = test
            .env
            .vault
            .audit
            .answered()?
            .into_iter()
            .map(|answer| answer.path)
            .collect();
        Ok(Self {
            vault,
            api: test.env.local_servers().await?.cluster.audit()?,
        })
    }

    /// Returns the requests since `before`.
    fn since(self, before: &Self) -> (Vec<String>, Vec<AuditEvent>) {
        let vault = self.vault.into_iter().skip(before.vault.len()).collect();
        (vault, self.api.into_iter().skip(before.api.len()).collect())
    }
}

/// Counts equal strings, the most frequent first.
fn tally(words: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// Returns the user and system time of a process (proc_pid_stat(5), fields 14 and 15).
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("an odd /proc/PID/stat")?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(Duration::from_millis(
        ticks.iter().sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}

/// Returns the peak resident memory of a process in bytes (proc_pid_status(5), VmHWM).
fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
