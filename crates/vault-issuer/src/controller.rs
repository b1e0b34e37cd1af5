use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use issuer_core::leader::Timing;
use issuer_core::reconcile::{Claim, Config};
use issuer_kube::{CONTENT_TYPE, Candidate, Leadership, Metrics, Transport};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::ControllerArgs;
use crate::serve::{Page, serve};
use crate::telemetry;

/// Where a pod finds its own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Runs the controller until it is told to end (SIGTERM, SIGINT) or loses its leadership. Errors are logged, like
/// everything else, unless there is no log yet.
pub(crate) fn run(args: ControllerArgs, err: &mut dyn Write) -> ExitCode {
    if let Err(error) = telemetry::init(&args.log) {
        let _ = writeln!(err, "vault-issuer: {error:#}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .context("no runtime")
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
    let timing = Timing::new(
        args.leader_election_lease_duration,
        args.leader_election_renew_deadline,
        args.leader_election_retry_period,
    )?;
    let told = told_to_end()?;
    let home = home_namespace();
    let instance = instance();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), instance, "starting");
    let client = issuer_kube::client(args.kubeconfig.clone()).await?;
    let metrics = Arc::new(Metrics::new());
    listen(&args, &metrics).await?;

    let (give_up, given_up) = watch::channel(false);
    let (election, mut leadership) = stand(&args, &home, &instance, client.clone(), timing, given_up);
    tokio::select! {
        () = leadership.acquired() => {
            metrics.set_leader(true);
            let config = Config {
                allow_http: args.allow_http,
                check_interval: args.issuer_check_interval,
                claim: args.claim_requests.then(|| Claim { identity: instance.clone() }),
                cluster_resource_namespace: args.cluster_resource_namespace.unwrap_or(home),
                max_concurrent_reconciles: args.max_concurrent_reconciles.into(),
                verify: issuer_tls::signatures().into(),
            };
            let stop = is_set(told.clone());
            issuer_kube::run(client, Transport::new(), config, Arc::clone(&metrics), instance, leadership, stop).await;
            metrics.set_leader(false);
        }
        () = is_set(told.clone()) => {}
    }
    give_up.send_replace(true);
    election.await.context("the election broke")?;
    ensure!(
        *told.borrow(),
        "the leadership was lost; the next start stands for it again"
    );
    tracing::info!("ended");
    Ok(())
}

/// Stands for leadership until `given_up`, where there is an election at all.
fn stand(
    args: &ControllerArgs,
    home: &str,
    instance: &str,
    client: Client,
    timing: Timing,
    given_up: watch::Receiver<bool>,
) -> (JoinHandle<()>, Leadership) {
    if !args.leader_elect {
        return (tokio::spawn(async {}), Leadership::always());
    }
    let namespace = args.leader_election_namespace.as_deref().unwrap_or(home);
    let name = args.leader_election_id.clone();
    let (candidate, leadership) = Candidate::new(client, namespace, name, instance.to_owned(), timing);
    (tokio::spawn(candidate.run(is_set(given_up))), leadership)
}

/// Serves metrics and probes. The process is ready when it can stand for leadership, so that a rollout goes on while
/// another replica leads.
async fn listen(args: &ControllerArgs, metrics: &Arc<Metrics>) -> anyhow::Result<()> {
    if let Some(address) = args.metrics_bind_address.0 {
        let metrics = Arc::clone(metrics);
        let page: Page = Arc::new(move || (CONTENT_TYPE, metrics.encode()));
        tokio::spawn(serve(address, vec![("/metrics", page)]).await?.run());
    }
    if let Some(address) = args.health_probe_bind_address.0 {
        let page: Page = Arc::new(|| ("text/plain", "ok".to_owned()));
        let pages = vec![("/healthz", Arc::clone(&page)), ("/readyz", page)];
        tokio::spawn(serve(address, pages).await?.run());
    }
    Ok(())
}

/// Returns a flag that the first SIGTERM or SIGINT sets. The second ends the process at once.
fn told_to_end() -> anyhow::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if tell.send_replace(true) {
                tracing::warn!("told to end twice: ending with certificates unsaved and tokens alive");
                std::process::exit(1);
            }
            tracing::info!("told to end");
        }
    });
    Ok(told)
}

/// Resolves when the flag is set; never, if nobody can set it any more.
async fn is_set(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending().await
    }
}

fn home_namespace() -> String {
    let file = std::fs::read_to_string(NAMESPACE_FILE);
    file.map_or_else(|_| "vault-issuer".to_owned(), |text| text.trim().to_owned())
}

/// Names this process: the pod's name, and a number that a restart within the pod changes.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "{}_{}_{:x}",
        host.trim(),
        std::process::id(),
        Transport::now().unix.as_nanos()
    )
}
