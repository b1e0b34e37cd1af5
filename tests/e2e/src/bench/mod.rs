//! `bench`: the same requests through our controller and through cert-manager's built-in Vault issuer.
//!
//! Both run on the servers of the end-to-end tests, one after the other. Each is stopped (SIGSTOP) while the requests
//! are created and approved, so that only its own speed counts. Its requests are counted where they arrive: in the
//! audit logs of Vault and the API server.

mod contestant;
mod table;

use std::time::Duration;

use crate::runner::{Completion, local_missing, skip, start_local, until_interrupted};
use crate::servers::controller::Profile;
use crate::servers::env::Env;
use crate::servers::say;
use crate::test_namespace::TestNamespace;

use contestant::Contestant;

/// Compares the controller with cert-manager's built-in Vault issuer
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of certificates for each of them
    #[arg(long, default_value_t = 300)]
    requests: usize,
}

/// The measurements of one controller.
struct Figures {
    name: &'static str,
    /// From SIGCONT to the last saved certificate.
    elapsed: Duration,
    /// User and system time.
    cpu: Duration,
    /// Peak resident memory since its start, bytes.
    memory: u64,
    /// Requests to Vault by path.
    vault: Vec<(String, usize)>,
    /// Requests to the API server by verb and resource.
    api: Vec<(String, usize)>,
}

impl Args {
    /// Runs both and prints their figures side by side.
    pub(crate) fn run(self) -> anyhow::Result<Completion> {
        match local_missing() {
            Some(missing) => skip(&missing),
            None => until_interrupted(self.compare()),
        }
    }

    async fn compare(&self) -> anyhow::Result<()> {
        let env = start_local(Profile::Release, None).await?;
        stop_others(&env).await?;
        let test = TestNamespace::open(&env, "bench").await?;
        let mut figures = Vec::new();
        for contestant in [Contestant::BuiltIn, Contestant::Ours] {
            say(&format!("{} signs {} requests", contestant.name(), self.requests));
            figures.push(contestant.run(&test, self.requests).await?);
        }
        let [built_in, ours] = figures.as_slice() else {
            return Ok(());
        };
        table::print(self.requests, ours, built_in);
        Ok(())
    }
}

/// Stops the processes that neither of them needs.
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
