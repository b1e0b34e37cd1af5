//! Fault injection under load: two controllers of which one leads, Vault and the API server fail one after the other
//! while requests are created. Afterwards every request is issued, and Vault has signed no more certificates than the
//! [`signature_budget`] of the injected faults.

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
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};
use fault::{Fault, Injected, Servers};
use signature_budget::{Budget, Signatures, Tally};

/// The least number of requests that are created around each fault.
const PER_ROUND: usize = 40;

/// How many requests are created at once, so that several signatures are in flight.
const TOGETHER: usize = 4;

/// The time between two groups of requests.
const PACE: Duration = Duration::from_millis(750);

/// The issuers; each signs with its own mount.
const ISSUERS: [&str; 2] = ["first", "second"];

const FLAGS: [&str; 6] = [
    "--leader-election-lease-duration",
    "6s",
    "--leader-election-renew-deadline",
    "4s",
    "--leader-election-retry-period",
    "1s",
];

/// Without claims, two controllers that both believe that they lead may both sign a request.
pub(super) async fn unclaimed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    chaos(test, false).await
}

/// With claims, a second leader adds no signatures.
pub(super) async fn claimed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    chaos(test, true).await
}

async fn chaos(test: &TestNamespace<'_>, claims: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut local = test.env.local_servers().await?;
    local.stop_controller()?;
    let mut flags = FLAGS.to_vec();
    flags.extend(claims.then_some("--claim-requests"));
    let launch = local.launch(local.cluster.port)?;
    let replicas = Replicas::start(launch, test.env.client.clone(), flags).await?;
    let servers = Servers {
        test,
        local: &mut local,
        replicas: &replicas,
        to_vault: Proxy::start(test.env.vault.port()?).await?,
    };
    let (faults, requests) = tokio::select! {
        done = rounds(test, servers) => done?,
        ended = replicas.supervise() => return ended.context("a controller does not start again"),
    };
    let terms = replicas.terms();
    replicas.stop()?;

    for round in 0..Fault::ALL.len() {
        eventually(LATER, async || test.stored(&web(round)).await).await?;
    }
    let mut signatures = Signatures::default();
    for issuer in ISSUERS {
        signatures.read(test, &mount(test, issuer)).await?;
    }
    let budget = Budget::new(&faults, &terms, claims);
    let tally = Tally::take(&requests, &signatures, &budget)?;
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!("{}: {tally}; {budget}; {seconds:.0} s", test.case));
    faults.iter().for_each(|fault| say(&format!("  {fault}")));
    tally.check(&faults)?;
    local.start_controller().await
}

/// Injects one fault in each round while requests are created; returns the faults and the requests, all final.
async fn rounds(
    test: &TestNamespace<'_>,
    mut servers: Servers<'_>,
) -> anyhow::Result<(Vec<Injected>, Vec<CertificateRequest>)> {
    issuers(test, &servers.to_vault.url()).await?;
    let (mut faults, mut made) = (Vec::new(), 0);
    for (round, fault) in Fault::ALL.into_iter().enumerate() {
        let failed = Cell::new(false);
        let inject = async {
            tokio::time::sleep(PACE * 2).await;
            servers.inject(fault, &failed).await.with_context(|| fault.name())
        };
        let (flowed, fault) = tokio::try_join!(flow(test, round, &failed), inject)?;
        faults.push(fault);
        made += flowed.len() + 1;
        let (name, csr) = flowed.last().context("no requests")?;
        test.issued(name, csr, LATER).await?;
    }
    Ok((faults, settled(test, made).await?))
}

/// Creates the issuers, whose server is the URL `server`, and waits until they are ready.
async fn issuers(test: &TestNamespace<'_>, server: &str) -> anyhow::Result<()> {
    test.approve_all().await?;
    let paths = ISSUERS.map(|issuer| path(test, issuer));
    let policy = test.policy(&paths.each_ref().map(String::as_str)).await?;
    let auth = test.approle("approle", &policy, json!({})).await?;
    for (issuer, path) in ISSUERS.into_iter().zip(&paths) {
        let mount = mount(test, issuer);
        test.env.vault.admin.root(&mount, &mount).await?;
        let backdating = json!({ "not_before_duration": format!("{}s", signature_budget::BACKDATING.as_secs()) });
        test.role_in(&mount, backdating).await?;
        let mut spec = test.spec(path, auth.clone());
        spec["server"] = json!(server);
        test.issuer(issuer, spec).await?;
        test.ready(issuer, SOON).await?;
    }
    Ok(())
}

fn mount(test: &TestNamespace<'_>, issuer: &str) -> String {
    format!("{}-{issuer}", test.case)
}

/// Returns the path that an issuer signs on.
fn path(test: &TestNamespace<'_>, issuer: &str) -> String {
    format!("{}/sign/{}", mount(test, issuer), test.case)
}

/// Creates a Certificate, and approved requests for both issuers at a steady pace, at least until the fault has been
/// injected (`failed`).
async fn flow(test: &TestNamespace<'_>, round: usize, failed: &Cell<bool>) -> anyhow::Result<Vec<(String, Csr)>> {
    let [issuer, _] = ISSUERS;
    test.certificate(&web(round), "VaultIssuer", issuer).await?;
    let mut pace = interval(PACE);
    let mut flowed = Vec::new();
    while flowed.len() < PER_ROUND || !failed.get() {
        pace.tick().await;
        let numbers = flowed.len()..flowed.len() + TOGETHER;
        let together = numbers.zip(ISSUERS.into_iter().cycle());
        let made = together.map(|(number, issuer)| request(test, format!("flow-{round}-{number}"), issuer));
        flowed.extend(try_join_all(made).await?);
    }
    Ok(flowed)
}

/// Creates an approved request as soon as the API server accepts it.
async fn request(test: &TestNamespace<'_>, name: String, issuer: &str) -> anyhow::Result<(String, Csr)> {
    let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
    let ask = Ask {
        issuer,
        ..Ask::default()
    };
    eventually(LATER, async || test.request(&name, &csr.pem, ask).await).await?;
    Ok((name, csr))
}

fn web(round: usize) -> String {
    format!("web-{round}")
}

/// Waits until no request is pending, and returns all requests.
async fn settled(test: &TestNamespace<'_>, made: usize) -> anyhow::Result<Vec<CertificateRequest>> {
    let requests = test.api::<CertificateRequest>();
    eventually(LATER, async || {
        let all = requests.list(&ListParams::default()).await?.items;
        let waits = |request: &&CertificateRequest| {
            let ready = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
            matches!(ready, None | Some("Pending"))
        };
        let waiting = all.iter().filter(waits).count();
        ensure!(waiting == 0, "{waiting} requests are pending");
        ensure!(all.len() == made, "{} requests, not {made}", all.len());
        Ok(all)
    })
    .await
}
