//! Everything fails, one after the other, while requests flow: two controllers of which one leads, Vault, and the API
//! server. In the end every request is issued, and Vault has signed no more than the failures account for.

mod fault;
mod signature_budget;

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use issuer_api::CertificateRequest;
use kube::api::ListParams;
use serde_json::json;
use tokio::time::interval;

use crate::pki::{Csr, Names};
use crate::servers::process::eventually;
use crate::servers::proxy::Proxy;
use crate::servers::replicas::Replicas;
use crate::servers::say;
use crate::test_namespace::{Ask, LATER, SOON, Stage};
use fault::{Blow, Fault, Servers};
use signature_budget::{Account, Allowed, Signatures};

/// How many requests are made around each failure, at least.
const PER_ROUND: usize = 40;

/// How many of them are made at once, so that signatures are under way at once.
const TOGETHER: usize = 4;

/// How long after some requests the next are made.
const PACE: Duration = Duration::from_millis(750);

/// The issuers, each of which signs with a mount of its own.
const ISSUERS: [&str; 2] = ["first", "second"];

const FLAGS: [&str; 6] = [
    "--leader-election-lease-duration",
    "6s",
    "--leader-election-renew-deadline",
    "4s",
    "--leader-election-retry-period",
    "1s",
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
        stage,
        local: &mut local,
        replicas: &replicas,
        to_vault: Proxy::start(stage.env.vault.port()?).await?,
    };
    let (faults, requests) = tokio::select! {
        done = rounds(stage, servers) => done?,
        ended = replicas.tend() => return ended.context("a controller does not start again"),
    };
    let terms = replicas.terms();
    replicas.stop()?;

    for round in 0..Blow::ALL.len() {
        eventually(LATER, async || stage.stored(&web(round)).await).await?;
    }
    let mut signatures = Signatures::default();
    for issuer in ISSUERS {
        signatures.read(stage, &mount(stage, issuer)).await?;
    }
    let allowed = Allowed::new(&faults, &terms, claims);
    let account = Account::take(&requests, &signatures, &allowed)?;
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!("{}: {account}; {allowed}; {seconds:.0} s", stage.case));
    faults.iter().for_each(|fault| say(&format!("  {fault}")));
    account.check(&faults)?;
    local.start_controller().await
}

/// Lets requests flow and strikes once in each round; the failures and the requests, all of them settled.
async fn rounds(stage: &Stage<'_>, mut servers: Servers<'_>) -> anyhow::Result<(Vec<Fault>, Vec<CertificateRequest>)> {
    issuers(stage, &servers.to_vault.url()).await?;
    let (mut faults, mut made) = (Vec::new(), 0);
    for (round, blow) in Blow::ALL.into_iter().enumerate() {
        let struck = Cell::new(false);
        let strike = async {
            tokio::time::sleep(PACE * 2).await;
            servers.strike(blow, &struck).await.with_context(|| blow.name())
        };
        let (flowed, fault) = tokio::try_join!(flow(stage, round, &struck), strike)?;
        faults.push(fault);
        made += flowed.len() + 1;
        let (name, csr) = flowed.last().context("no requests")?;
        stage.issued(name, csr, LATER).await?;
    }
    Ok((faults, settled(stage, made).await?))
}

/// Makes the issuers, which find Vault at the URL `server`, and waits until they are ready.
async fn issuers(stage: &Stage<'_>, server: &str) -> anyhow::Result<()> {
    stage.approve_all().await?;
    let paths = ISSUERS.map(|issuer| path(stage, issuer));
    let policy = stage.policy(&paths.each_ref().map(String::as_str)).await?;
    let auth = stage.approle("approle", &policy, json!({})).await?;
    for (issuer, path) in ISSUERS.into_iter().zip(&paths) {
        let mount = mount(stage, issuer);
        stage.env.vault.admin.root(&mount, &mount).await?;
        let backdating = json!({ "not_before_duration": format!("{}s", signature_budget::BACKDATING.as_secs()) });
        stage.role_in(&mount, backdating).await?;
        let mut spec = stage.spec(path, auth.clone());
        spec["server"] = json!(server);
        stage.issuer(issuer, spec).await?;
        stage.ready(issuer, SOON).await?;
    }
    Ok(())
}

fn mount(stage: &Stage<'_>, issuer: &str) -> String {
    format!("{}-{issuer}", stage.case)
}

/// Returns the path that an issuer signs on.
fn path(stage: &Stage<'_>, issuer: &str) -> String {
    format!("{}/sign/{}", mount(stage, issuer), stage.case)
}

/// Makes a Certificate, and approved requests at a steady pace for both issuers, at least until it is `struck`.
async fn flow(stage: &Stage<'_>, round: usize, struck: &Cell<bool>) -> anyhow::Result<Vec<(String, Csr)>> {
    let [issuer, _] = ISSUERS;
    stage.certificate(&web(round), "VaultIssuer", issuer).await?;
    let mut pace = interval(PACE);
    let mut flowed = Vec::new();
    while flowed.len() < PER_ROUND || !struck.get() {
        pace.tick().await;
        let numbers = flowed.len()..flowed.len() + TOGETHER;
        let together = numbers.zip(ISSUERS.into_iter().cycle());
        let made = together.map(|(number, issuer)| request(stage, format!("flow-{round}-{number}"), issuer));
        flowed.extend(try_join_all(made).await?);
    }
    Ok(flowed)
}

/// Makes an approved request, as soon as the API server takes it.
async fn request(stage: &Stage<'_>, name: String, issuer: &str) -> anyhow::Result<(String, Csr)> {
    let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
    let ask = Ask {
        issuer,
        ..Ask::default()
    };
    eventually(LATER, async || stage.request(&name, &csr.pem, ask).await).await?;
    Ok((name, csr))
}

fn web(round: usize) -> String {
    format!("web-{round}")
}

/// Waits until none of the requests waits any more; all of them.
async fn settled(stage: &Stage<'_>, made: usize) -> anyhow::Result<Vec<CertificateRequest>> {
    let requests = stage.api::<CertificateRequest>();
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
