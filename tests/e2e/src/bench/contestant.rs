//! A controller, or the loader, under measurement.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _};
use issuer_api::CertificateRequest;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::Figures;
use super::latency::{approved_to_issued, is};
use super::loader::Loader;
use super::measure::{AuditLogs, cpu, peak_memory, servers_cpu};
use crate::pki::{Csr, Names};
use crate::servers::cluster::{AuditEvent, CERT_MANAGER};
use crate::servers::process::{Process, Signal, eventually};
use crate::servers::say;
use crate::test_namespace::{SOON, TestNamespace};

/// The number of requests before the measurement, which open connections and log in.
const WARM_UP: usize = 20;

/// The longest time for all requests.
const LIMIT: Duration = Duration::from_secs(900);

/// Flags for a controller that still leads after it was stopped while requests were created.
const LONG_LEASE: [&str; 2] = [
    "--leader-election-lease-duration=20m",
    "--leader-election-renew-deadline=15m",
];

/// The time between two looks at the audit logs.
const PAUSE: Duration = Duration::from_secs(1);

/// A controller or loader that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contestant {
    /// A loader that only signs and saves.
    Limit,
    /// cert-manager's built-in Vault issuer, in a process without other controllers.
    BuiltIn,
    /// Our controller.
    Ours,
}

/// A started contestant.
enum Started {
    Loader(Loader),
    Controller(Process),
}

impl Started {
    fn loader(&self) -> Option<&Loader> {
        match self {
            Self::Loader(loader) => Some(loader),
            Self::Controller(_) => None,
        }
    }

    /// Returns the id of the process that signs and saves: the loader is a part of this one.
    fn id(&self) -> u32 {
        match self {
            Self::Loader(_) => std::process::id(),
            Self::Controller(process) => process.id(),
        }
    }

    /// Keeps a controller from working on the requests to come.
    fn pause(&self) -> anyhow::Result<()> {
        match self {
            Self::Loader(_) => Ok(()),
            Self::Controller(process) => process.signal(Signal::STOP),
        }
    }

    /// Has the loader sign these requests, or lets the controller go on.
    async fn go(&self, requests: Vec<DynamicObject>) -> anyhow::Result<()> {
        match self {
            Self::Loader(loader) => loader.sign_all(requests).await,
            Self::Controller(process) => process.signal(Signal::CONT),
        }
    }
}

impl Contestant {
    /// All of them, in the order of their turns.
    pub(super) const ALL: [Self; 3] = [Self::Limit, Self::BuiltIn, Self::Ours];

    /// Returns its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::BuiltIn => "cert-manager",
            Self::Ours => "vault-issuer",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::Limit | Self::BuiltIn => CERT_MANAGER,
            Self::Ours => "system:serviceaccount:vault-issuer:vault-issuer",
        }
    }

    /// Returns the group, version and kind of its issuer; the loader needs none, and its requests name ours.
    fn kind(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::BuiltIn => ("cert-manager.io", "v1", "Issuer"),
            Self::Limit | Self::Ours => ("vault-issuer.io", "v1alpha1", "VaultIssuer"),
        }
    }

    /// Has it sign requests, stops it, and returns its figures.
    pub(super) async fn run(
        self,
        test: &TestNamespace<'_>,
        requests: usize,
        singles: usize,
    ) -> anyhow::Result<Figures> {
        let mut started = self.start(test).await?;
        let mut logs = AuditLogs::open(test.env).await?;
        self.requests(test, "warm-up", WARM_UP, true).await?;
        started.go(named(test, "warm-up").await?).await?;
        self.wait(&mut logs, WARM_UP).await?;

        started.pause()?;
        self.requests(test, "measured", requests, true).await?;
        let waiting = match started.loader() {
            Some(_) => named(test, "measured").await?,
            None => Vec::new(),
        };
        let mut logs = AuditLogs::open(test.env).await?;
        let before = (servers_cpu(test.env).await?, cpu(started.id())?, Timestamp::now());
        let ((), events) = tokio::try_join!(started.go(waiting), self.wait(&mut logs, requests))?;
        let (servers_cpu, own_cpu) = (
            servers_cpu(test.env).await?.saturating_sub(before.0),
            cpu(started.id())?.saturating_sub(before.1),
        );
        ensure!(
            named(test, "measured")
                .await?
                .iter()
                .all(|request| is(request, "Ready", "Issued")),
            "not all are issued by {}",
            self.name()
        );
        let saved = events
            .iter()
            .filter(|event| is_status_write(event))
            .map(|event| event.at);
        let elapsed = saved.max().context("nothing was saved")?.duration_since(before.2);
        let latencies = self.singles(test, singles, started.loader()).await?;
        let memory = match &mut started {
            Started::Loader(_) => None,
            Started::Controller(process) => {
                let memory = peak_memory(process.id())?;
                process.stop()?;
                Some(memory)
            }
        };
        let all = test.api::<CertificateRequest>();
        all.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        Ok(Figures {
            contestant: self,
            requests,
            elapsed: Duration::try_from(elapsed)?,
            servers_cpu,
            own_cpu,
            memory,
            latencies,
            vault: tally(logs.vault_paths().into_iter()),
            api: tally(
                events
                    .iter()
                    .map(|event| format!("{} {}", event.verb, event.resource())),
            ),
        })
    }

    /// Measures requests one at a time; returns the sorted times.
    async fn singles(
        self,
        test: &TestNamespace<'_>,
        count: usize,
        loader: Option<&Loader>,
    ) -> anyhow::Result<Vec<Duration>> {
        self.requests(test, "single", count, false).await?;
        let api = objects(test);
        let mut latencies = Vec::new();
        for number in 0..count {
            latencies.push(approved_to_issued(test, &api, &format!("single-{number}"), loader).await?);
        }
        latencies.sort();
        Ok(latencies)
    }

    /// Starts it.
    async fn start(self, test: &TestNamespace<'_>) -> anyhow::Result<Started> {
        if let Self::Limit = self {
            return Loader::start(test).await.map(Started::Loader);
        }
        let process = self.process(test).await?;
        self.issuer(test).await?;
        Ok(Started::Controller(process))
    }

    /// Starts its process.
    async fn process(self, test: &TestNamespace<'_>) -> anyhow::Result<Process> {
        let local = test.env.local_servers().await?;
        if let Self::Ours = self {
            let launch = local.launch(local.cluster.port)?;
            let controller = launch.start("vault-issuer", &LONG_LEASE).await?;
            return Ok(controller.into_process());
        }
        let mut command = Command::new(&local.cert_manager_binary);
        command.arg("-kubeconfig").arg(local.cluster.kubeconfig(CERT_MANAGER));
        command.args(["-controllers", "issuers,certificaterequests-issuer-vault"]);
        Process::start(&local.dir, "cert-manager-vault", &mut command)
    }

    /// Creates its issuer, with AppRole, and waits until it is ready.
    async fn issuer(self, test: &TestNamespace<'_>) -> anyhow::Result<()> {
        let path = test.role(json!({ "no_store": true })).await?;
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

    /// Creates requests, 16 at a time, and approves them if so asked.
    async fn requests(
        self,
        test: &TestNamespace<'_>,
        prefix: &str,
        count: usize,
        approved: bool,
    ) -> anyhow::Result<()> {
        let api = &objects(test);
        let make = async |number: usize| {
            let name = format!("{prefix}-{number}");
            let request = serde_json::from_value(self.request(&name)?)?;
            api.create(&PostParams::default(), &request).await?;
            if approved {
                test.decide(&name, "Approved").await?;
            }
            anyhow::Ok(())
        };
        futures::stream::iter(0..count)
            .map(Ok)
            .try_for_each_concurrent(16, make)
            .await
    }

    fn request(self, name: &str) -> anyhow::Result<Value> {
        let (group, _, kind) = self.kind();
        let common_name = format!("{name}.example.com");
        let names = Names {
            dns: &[&common_name],
            ..Names::common(&common_name)
        };
        let request = STANDARD.encode(Csr::new(&names)?.pem);
        let spec = json!({ "request": request, "issuerRef": { "group": group, "kind": kind, "name": "vault" } });
        Ok(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "CertificateRequest",
            "metadata": { "name": name },
            "spec": spec,
        }))
    }

    /// Waits until Vault has signed `count` certificates and no more is saved; returns its requests to the API server.
    ///
    /// Both are read in the audit logs, once a second.
    async fn wait(self, logs: &mut AuditLogs, count: usize) -> anyhow::Result<Vec<AuditEvent>> {
        let deadline = Instant::now() + LIMIT;
        let mut before = (0, 0);
        loop {
            tokio::time::sleep(PAUSE).await;
            logs.read()?;
            let now = (logs.signatures(), logs.api_requests());
            // Work that follows the last certificate counts as well.
            if now.0 >= count && now == before {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{} has signed {} of {count} requests within {} s",
                self.name(),
                now.0,
                LIMIT.as_secs()
            );
            if now.0 < count && count > WARM_UP {
                say(&format!("{}: {} of {count}", self.name(), now.0));
            }
            before = now;
        }
        let events = logs.api.iter().filter_map(|line| serde_json::from_str(line).ok());
        Ok(events
            .filter(|event: &AuditEvent| event.user() == self.user())
            .collect())
    }
}

fn is_status_write(event: &AuditEvent) -> bool {
    event.is_write() && event.resource() == "certificaterequests/status"
}

/// Returns the requests of the namespace as an API of objects with all their fields.
fn objects(test: &TestNamespace<'_>) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<CertificateRequest>(&());
    Api::namespaced_with(test.env.client.clone(), &test.namespace, &resource)
}

/// Returns the requests whose names begin with `prefix`.
async fn named(test: &TestNamespace<'_>, prefix: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let mut requests = objects(test).list(&ListParams::default()).await?.items;
    let is_named = |request: &DynamicObject| {
        let name = request.metadata.name.as_deref();
        name.is_some_and(|name| name.starts_with(prefix))
    };
    requests.retain(is_named);
    Ok(requests)
}

/// Counts equal strings, the most frequent first.
fn tally(words: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}
