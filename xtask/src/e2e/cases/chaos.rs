//! Everything fails, one after the other, while requests flow: two controllers of which one leads, Vault, and the API
//! server. In the end every request is issued, and Vault has signed no more than the failures account for.

mod account;
mod blow;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use kube::api::ListParams;
use serde_json::json;
use tokio::time::interval;

use super::super::pki::{Csr, Names};
use super::super::process::eventually;
use super::super::replicas::Replicas;
use super::super::say;
use super::super::stage::{Ask, LATER, SOON, Stage};
use super::certificates::{certificate, stored};
use account::{Account, Signatures};
use blow::{Blow, Fault, Servers};

/// How many requests are made around each failure.
const PER_ROUND: usize = 40;

/// How long after one request the next is made.
const PACE: Duration = Duration::from_millis(250);

/// The issuers and the mounts that they sign with.
const ISSUERS: [(&str, &str); 2] = [("first", "chaos-first"), ("second", "chaos-second")];

/// How many requests of one issuer a controller works on at once.
const SLOTS: usize = 4;

const FLAGS: [&str; 8] = [
    "--leader-election-lease-duration",
    "6s",
    "--leader-election-renew-deadline",
    "4s",
    "--leader-election-retry-period",
    "1s",
    "--max-concurrent-reconciles",
    "4",
];

/// Requests are signed without a claim: while two lead, each may sign.
pub(super) async fn unclaimed(stage: &Stage<'_>) -> anyhow::Result<()> {
    chaos(stage, false).await
}

/// Requests are claimed before they are signed: that two lead adds nothing.
pub(super) async fn claimed(stage: &Stage<'_>) -> anyhow::Result<()> {
    chaos(stage, true).await
}

async fn chaos(stage: &Stage<'_>, claims: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut local = stage.env.local_servers().await?;
    local.stop_controller()?;
    let mut flags = FLAGS.to_vec();
    flags.extend(claims.then_some("--claim-requests"));
    let launch = local.launch(local.cluster.port)?;
    let replicas = Replicas::start(launch, stage.env.client.clone(), flags).await?;
    let servers = Servers {
        vault: &stage.env.vault.admin,
        local: &mut local,
        replicas: &replicas,
    };
    let (faults, requests) = tokio::select! {
        done = rounds(stage, servers) => done?,
        ended = replicas.tend() => return ended.context("a controller does not start again"),
    };

    for round in 0..Blow::ALL.len() {
        stored(stage, &web(round)).await?;
    }
    let mut signatures = Signatures::default();
    for (_, mount) in ISSUERS {
        signatures.read(stage, mount).await?;
    }
    let account = Account::take(&requests, &signatures, &faults, claims)?;
    say(&format!(
        "{}: {account}; {} controllers restarted, {:.0} s",
        stage.case,
        replicas.restarts(),
        begun.elapsed().as_secs_f64()
    ));
    faults.iter().for_each(|fault| say(&format!("  {fault}")));
    account.check()?;
    replicas.stop()?;
    local.start_controller().await
}

/// Lets requests flow and strikes once in each round; the failures and the requests, all of them settled.
async fn rounds(stage: &Stage<'_>, mut servers: Servers<'_>) -> anyhow::Result<(Vec<Fault>, Vec<CertificateRequest>)> {
    issuers(stage).await?;
    let mut faults = Vec::new();
    for (round, blow) in Blow::ALL.into_iter().enumerate() {
        let strike = async {
            tokio::time::sleep(PACE * 8).await;
            servers.strike(blow).await.with_context(|| blow.name())
        };
        let ((name, csr), fault) = tokio::try_join!(flow(stage, round), strike)?;
        faults.push(fault);
        stage.issued(&name, &csr, LATER).await?;
    }
    Ok((faults, settled(stage).await?))
}

/// Makes the issuers, each with a mount of its own, and waits until they are ready.
async fn issuers(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.approve_all().await?;
    let admin = &stage.env.vault.admin;
    let mut paths = Vec::new();
    for (_, mount) in ISSUERS {
        if !admin.read("sys/mounts").await?[format!("{mount}/")].is_null() {
            admin.delete(&format!("sys/mounts/{mount}")).await?;
        }
        admin.root(mount, mount).await?;
        let backdating = json!({ "not_before_duration": format!("{}s", account::BACKDATING.as_secs()) });
        paths.push(stage.role_in(mount, backdating).await?);
    }
    let all: Vec<&str> = paths.iter().map(String::as_str).collect();
    let auth = stage.approle("approle", &stage.policy(&all).await?, json!({})).await?;
    for ((name, _), path) in ISSUERS.into_iter().zip(&paths) {
        stage.issuer(name, stage.spec(path, auth.clone())).await?;
        stage.ready(name, SOON).await?;
    }
    Ok(())
}

/// Makes a Certificate, and approved requests at a steady pace, for both issuers in turn; the last of them.
async fn flow(stage: &Stage<'_>, round: usize) -> anyhow::Result<(String, Csr)> {
    let mut pace = interval(PACE);
    let mut issuers = ISSUERS.into_iter().map(|(issuer, _)| issuer).cycle();
    let mut issuer = || issuers.next().unwrap_or_default();
    certificate(stage, &web(round), "VaultIssuer", issuer()).await?;
    let mut last = None;
    for number in 0..PER_ROUND {
        pace.tick().await;
        let name = format!("flow-{round}-{number}");
        let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
        let ask = Ask {
            issuer: issuer(),
            ..Ask::default()
        };
        // The API server may be down.
        eventually(SOON, async || stage.request(&name, &csr.pem, ask).await).await?;
        last = Some((name, csr));
    }
    last.context("no requests")
}

fn web(round: usize) -> String {
    format!("web-{round}")
}

/// Waits until no request waits any more.
async fn settled(stage: &Stage<'_>) -> anyhow::Result<Vec<CertificateRequest>> {
    let requests = stage.api::<CertificateRequest>();
    let made = Blow::ALL.len() * (PER_ROUND + 1);
    eventually(LATER, async || {
        let all = requests.list(&ListParams::default()).await?.items;
        let waits = |request: &&CertificateRequest| {
            let ready = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
            matches!(ready, None | Some("Pending"))
        };
        let waiting = all.iter().filter(waits).count();
        ensure!(waiting == 0, "{waiting} requests wait");
        ensure!(all.len() == made, "{} requests, not {made}", all.len());
        Ok(all)
    })
    .await
}
