//! `bench`: the same requests through our controller, cert-manager's built-in Vault issuer, and a loader that does
//! nothing but sign and save, which is the limit that the servers set.
//!
//! All run on the servers of the end-to-end tests, one after the other, in several rounds. A controller is stopped
//! (SIGSTOP) while the requests are created and approved, so that only its own speed counts. Its requests are counted
//! where they arrive: in the audit logs of Vault and the API server, whose reading loads neither.

mod contestant;
mod latency;
mod loader;
pub(crate) mod measure;
mod output;
mod plot;
mod scale;
mod table;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::runner::{Completion, skip, start_local, until_interrupted};
use crate::servers::components::Choice;
use crate::servers::controller::Profile;
use crate::servers::env::Env;
use crate::servers::say;
use crate::test_namespace::TestNamespace;

use contestant::Contestant;

/// Compares the controller with cert-manager's built-in Vault issuer and with the limit that the servers set
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of certificates for each of them in a round
    #[arg(long, default_value = "2000")]
    requests: NonZeroUsize,
    /// The number of certificates that are then requested one at a time
    #[arg(long, default_value = "100")]
    singles: NonZeroUsize,
    /// The number of rounds
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    #[command(flatten)]
    servers: Choice,
    /// Compares them with the Vault that is built, then with OpenBao, or the server of --vault-binary
    #[arg(long, conflicts_with = "scale")]
    providers: bool,
    /// The vault-issuer to measure; by default one is built
    #[arg(long, value_name = "PATH")]
    controller_binary: Option<PathBuf>,
    /// Measures the costs of many issuers, waiting requests and finished ones instead
    #[arg(long)]
    scale: bool,
    #[command(flatten)]
    sizes: scale::Sizes,
}

/// The measurements of one contestant in one round.
struct Figures {
    contestant: Contestant,
    /// The number of certificates.
    requests: usize,
    /// From the start to the last saved certificate.
    elapsed: Duration,
    /// User and system time of Vault, the API server and etcd.
    servers_cpu: Duration,
    /// User and system time of the controller, or of the loader.
    own_cpu: Duration,
    /// Peak resident memory of the controller since its start, bytes.
    memory: Option<u64>,
    /// From Approved to Issued, one request at a time, sorted.
    latencies: Vec<Duration>,
    /// Requests to Vault by path.
    vault: Vec<(String, usize)>,
    /// Requests to the API server by verb and resource.
    api: Vec<(String, usize)>,
}

impl Args {
    /// Runs all rounds, prints the table and writes the JSON and the plot.
    pub(crate) fn run(self) -> anyhow::Result<Completion> {
        let other = self.servers.with_other_vault();
        let servers = if self.providers { &other } else { &self.servers };
        match servers.missing() {
            Some(missing) => skip(missing),
            None if self.scale => {
                let requests = self.requests.get();
                until_interrupted(self.sizes.run(requests, self.profile(), servers))
            }
            None if self.providers => until_interrupted(async {
                self.compare(&self.servers.with_built_vault(), "bench-vault").await?;
                self.compare(servers, "bench-other").await
            }),
            None => until_interrupted(self.compare(servers, "bench")),
        }
    }

    fn profile(&self) -> Profile {
        self.controller_binary.clone().map_or(Profile::Release, Profile::Given)
    }

    /// Prints the table of a comparison and writes its files.
    async fn compare(&self, servers: &Choice, name: &str) -> anyhow::Result<()> {
        let env = start_local(self.profile(), servers).await?;
        stop_others(&env).await?;
        let test = TestNamespace::open(&env, "bench").await?;
        let (requests, singles) = (self.requests.get(), self.singles.get());
        let mut rounds = Vec::new();
        for round in 1..=self.rounds.get() {
            let mut figures = Vec::new();
            for contestant in Contestant::ALL {
                say(&format!(
                    "round {round} of {}: {} signs {requests} requests",
                    self.rounds,
                    contestant.name()
                ));
                let measured = contestant.run(&test, requests, singles).await?;
                say(&format!(
                    "{} took {:.1} s",
                    contestant.name(),
                    measured.elapsed.as_secs_f64()
                ));
                figures.push(measured);
            }
            rounds.push(figures);
        }
        table::print(&rounds);
        output::write(&rounds, name)
    }
}

/// Stops the processes that no contestant needs.
async fn stop_others(env: &Env) -> anyhow::Result<()> {
    let mut local = env.local_servers().await?;
    if let Some(mut controller) = local.controller.take() {
        controller.process().stop()?;
    }
    local
        .cert_manager
        .processes()
        .into_iter()
        .try_for_each(|process| process.stop().map(drop))
}
