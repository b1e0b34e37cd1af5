//! `vault-issuer controller`: starts the election, the servers and the driver, and stops them in order.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use http::StatusCode;
use issuer_core::leader::Timing;
use issuer_core::reconcile::{Claim, Config, DropIn, IssuerStatusMode};
use issuer_core::reference::Namespaces;
use issuer_core::target::ServiceAccount;
use issuer_core::target::{AllowedAudiences, AllowedServers, AmbientAws, AwsEnvironment, IssuerPolicy, ProxySettings};
use issuer_core::{SizeLimits, VerifyOptions};
use issuer_kube::{Candidate, ControllerHealth, Leadership, Metrics, RunSetup, TextFormat, Transport};
use kube::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::account::own_account;
use crate::args::{ControllerArgs, DropInArgs, IssuerStatusChoice, LeaderArgs};
use crate::proxies::proxies;
use crate::serve::{Asked, Content, Page, serve};
use crate::telemetry;
use crate::traces::{Collector, Exporter};

/// The file that holds a pod's own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Runs the controller until SIGTERM, SIGINT or the loss of its leadership. Errors are logged, unless there is no log
/// yet.
pub(crate) fn run(args: ControllerArgs, err: &mut dyn Write) -> ExitCode {
    if let Err(error) = telemetry::init(&args.log) {
        let _ = writeln!(err, "vault-issuer: {error:#}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .context("cannot start the async runtime")
        .and_then(|runtime| runtime.block_on(control(args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn control(args: ControllerArgs) -> anyhow::Result<()> {
    args.check().map_err(anyhow::Error::msg)?;
    let leader = &args.leader;
    let timing = Timing::new(
        leader.leader_election_lease_duration,
        leader.leader_election_renew_deadline,
        leader.leader_election_retry_period,
    )?;
    let proxies = proxies()?;
    let shutdown = shutdown()?;
    let home = home_namespace();
    let instance = instance();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), instance, "starting");
    if let Some(proxy) = proxies.proxy() {
        tracing::info!(%proxy, "connecting to Vault through the proxy of the environment");
    }
    raise_file_limit();
    let own_account = own_account()?;
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(ControllerHealth::new()));
    let client = issuer_kube::client(args.kubeconfig.clone(), None, Arc::clone(&metrics)).await?;
    let exporter = exporter(&instance, &metrics)?;
    listen(&args, &metrics, &health).await?;

    let (give_up, given_up) = watch::channel(false);
    let election = Election {
        timing,
        home: &home,
        instance: &instance,
        health: &health,
        metrics: &metrics,
    };
    let (mut candidate, mut leadership) = election.campaign(leader, client.clone(), given_up);
    let release = async {
        give_up.send_replace(true);
        (&mut candidate).await.context("the leader election panicked")
    };
    tokio::select! {
        () = leadership.acquired() => {
            metrics.set_leader(true);
            let setup = RunSetup {
                config: config(&args, proxies, own_account, &home, &instance),
                client,
                transport: Transport::new(),
                metrics: Arc::clone(&metrics),
                health: Arc::clone(&health),
                instance: instance.clone(),
                traces: exporter.as_ref().map(Exporter::traces),
            };
            issuer_kube::run(setup, leadership, is_set(shutdown.clone()), release).await?;
            metrics.set_leader(false);
        }
        () = is_set(shutdown.clone()) => release.await?,
    }
    ensure!(
        *shutdown.borrow(),
        "leader election lost; the next start campaigns again"
    );
    tracing::info!("stopped");
    Ok(())
}

fn config(
    args: &ControllerArgs,
    proxies: ProxySettings,
    own_account: Option<ServiceAccount>,
    home: &str,
    instance: &str,
) -> Config {
    let cluster_resource_namespace = args.cluster_resource_namespace.as_deref().unwrap_or(home);
    Config {
        check_interval: args.issuer_check_interval,
        claim: args.claim_requests.then(|| Claim {
            identity: instance.to_owned(),
        }),
        cluster_resource_namespace: cluster_resource_namespace.to_owned(),
        drop_in: drop_in(&args.drop_in),
        event_rate: args.event_rate,
        kubernetes_csrs: args.csrs.sign_kubernetes_csrs,
        namespaces: Namespaces::listed(args.watch.namespaces.iter().cloned()),
        max_concurrent_reconciles: args.max_concurrent_reconciles.into(),
        max_lost_answers: args.max_lost_answers,
        policy: IssuerPolicy {
            allow_http: args.allow_http,
            ambient_aws: AmbientAws {
                issuers: args.ambient.issuer_ambient_credentials,
                cluster_issuers: args.ambient.cluster_issuer_ambient_credentials,
                environment: AwsEnvironment::read(|name| std::env::var(name).ok()),
            },
            http_servers: args.allow_http_servers.clone(),
            allowed_audiences: AllowedAudiences::Listed(args.allow_audiences.iter().cloned().collect()),
            allowed_servers: AllowedServers::Listed(args.allowed_servers.clone()),
            proxies,
            own_account,
        },
        sign_timeout: args.sign_timeout,
        verify: VerifyOptions {
            limits: SizeLimits {
                certificate: args.max_certificate_size,
                chain: args.max_certificate_chain_length,
            },
            ..issuer_tls::signatures().into()
        },
    }
}

fn drop_in(args: &DropInArgs) -> Option<DropIn> {
    args.serve_cert_manager_issuers.then(|| DropIn {
        cluster_resource_namespace: args.drop_in_cluster_resource_namespace.clone(),
        issuer_status: match args.issuer_status {
            IssuerStatusChoice::Auto => IssuerStatusMode::Auto,
            IssuerStatusChoice::Leave => IssuerStatusMode::Leave,
            IssuerStatusChoice::Own => IssuerStatusMode::Own,
        },
    })
}

/// Starts the export of traces, if the environment names a collector.
fn exporter(instance: &str, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Exporter>> {
    let Some(collector) = Collector::of_environment(|name| std::env::var(name).ok())? else {
        return Ok(None);
    };
    tracing::info!(%collector, "exporting traces");
    let exporter = Exporter::start(collector, instance, Arc::clone(metrics));
    Ok(Some(exporter.context("traces cannot be exported")?))
}

/// The parts of a process that its candidate for leadership needs.
struct Election<'a> {
    timing: Timing,
    home: &'a str,
    instance: &'a str,
    health: &'a Arc<ControllerHealth>,
    metrics: &'a Arc<Metrics>,
}

impl Election<'_> {
    /// Campaigns for leadership until `given_up`; without leader election, this process always leads.
    fn campaign(
        &self,
        args: &LeaderArgs,
        client: Client,
        given_up: watch::Receiver<bool>,
    ) -> (JoinHandle<()>, Leadership) {
        if !args.leader_elect {
            return (tokio::spawn(async {}), Leadership::always());
        }
        let namespace = args.leader_election_namespace.as_deref().unwrap_or(self.home);
        let lease = (namespace, args.leader_election_id.as_str());
        let identity = self.instance.to_owned();
        let (health, metrics) = (Arc::clone(self.health), Arc::clone(self.metrics));
        let (candidate, leadership) = Candidate::new(client, lease, identity, self.timing, health, metrics);
        (tokio::spawn(candidate.run(is_set(given_up))), leadership)
    }
}

/// Serves metrics and probes. A process that waits for leadership is ready once it can use the Lease, so that a rollout
/// goes on while another replica leads.
async fn listen(args: &ControllerArgs, metrics: &Arc<Metrics>, health: &Arc<ControllerHealth>) -> anyhow::Result<()> {
    if let Some(address) = args.metrics_bind_address.0 {
        let metrics = Arc::clone(metrics);
        let page: Page = Arc::new(move |asked| {
            let format = TextFormat::accepted_by(asked.accept);
            Content {
                status: StatusCode::OK,
                media_type: format.media_type(),
                text: metrics.encode(format),
            }
        });
        tokio::spawn(serve(address, vec![("/metrics", page)]).await?.off_thread().run());
    }
    if let Some(address) = args.health_probe_bind_address.0 {
        let (live, ready) = (Arc::clone(health), Arc::clone(health));
        let live: Page = Arc::new(move |asked| probe("livez", live.live(Transport::now().monotonic), asked));
        let ready: Page = Arc::new(move |asked| probe("readyz", ready.ready(), asked));
        let pages = vec![("/livez", Arc::clone(&live)), ("/healthz", live), ("/readyz", ready)];
        tokio::spawn(serve(address, pages).await?.run());
    }
    Ok(())
}

/// Returns the result of a probe as the API server words it: the checks one by one if one fails, or if `?verbose` asks for
/// them.
fn probe(name: &str, (passes, checks): (bool, String), asked: Asked<'_>) -> Content {
    let (status, text) = match (passes, asked.is_verbose()) {
        (true, false) => (StatusCode::OK, "ok".to_owned()),
        (true, true) => (StatusCode::OK, format!("{checks}{name} check passed\n")),
        (false, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{checks}{name} check failed\n"),
        ),
    };
    Content {
        status,
        media_type: "text/plain; charset=utf-8",
        text,
    }
}

/// Raises the soft limit of open files to the hard one, as Go programs do.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != raised.current
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Returns a flag that the first SIGTERM or SIGINT sets. The second ends the process at once.
fn shutdown() -> anyhow::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (set, flag) = watch::channel(false);
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if set.send_replace(true) {
                tracing::warn!("second signal: stopping with certificates unsaved and tokens not revoked");
                std::process::exit(1);
            }
            tracing::info!("shutting down");
        }
    });
    Ok(flag)
}

/// Resolves when the flag is set; never, if its sender is gone.
async fn is_set(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending().await
    }
}

fn home_namespace() -> String {
    let file = std::fs::read_to_string(NAMESPACE_FILE);
    file.map_or_else(|_| "vault-issuer".to_owned(), |text| text.trim().to_owned())
}

/// Returns a name for this process: the pod's name, and numbers that a restart within the pod changes.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    process_name(host.trim(), std::process::id(), Transport::now().unix.as_nanos())
}

fn process_name(host: &str, process: u32, nanos: u128) -> String {
    format!("{host}_{process}_{nanos:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event's `reportingInstance` has at most 128 bytes, a host's name on Linux at most 64.
    #[test]
    fn longest_process_name_fits_into_events() {
        let name = process_name(&"h".repeat(64), u32::MAX, u64::MAX.into());
        assert!(name.len() <= 128, "{name}");
    }

    #[test]
    fn file_limit_is_raised_to_the_maximum() {
        let limit = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: Some(1000),
            ..limit
        };
        setrlimit(Resource::Nofile, lowered).unwrap();
        raise_file_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
