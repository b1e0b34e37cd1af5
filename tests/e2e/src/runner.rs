//! Starts the servers, runs the chosen cases and stops the servers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::ValueEnum;
use futures::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::cases::{CASES, Case, On};
use crate::report;
use crate::rights;
use crate::servers::components::{Choice, Components};
use crate::servers::controller::{self, Profile};
use crate::servers::env::Env;
use crate::servers::kind::{self, Shape};
use crate::servers::local::Local;
use crate::servers::offline::{self, Engine};
use crate::servers::process::run_dir;
use crate::servers::provider::Provider;
use crate::servers::say;
use crate::test_namespace::TestNamespace;

/// The number of cases that run at once on the same servers.
const AT_ONCE: usize = 6;

/// The number of clusters that run at once: a third one would take all memory beyond 4 GiB.
const CLUSTERS: usize = 2;

/// The time limit of one case, but for a larger crowd.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs the end-to-end tests on real servers
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The provider of the servers
    #[arg(long, value_enum, default_value_t = ProviderName::Local)]
    provider: ProviderName,
    /// Leaves the servers running and prints where they are
    #[arg(long)]
    keep: bool,
    /// Runs this case only; may be given several times
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    #[command(flatten)]
    servers: Choice,
    /// The number of requests that wait in the case memory-limit
    #[arg(long, value_name = "N", default_value = "2000")]
    crowd: u32,
    /// Builds what the provider kind needs, and runs a Docker engine of its own
    #[arg(long)]
    offline: bool,
    /// The folder of the run, where this program runs in the namespaces of that engine
    #[arg(long, hide = true, value_name = "DIR")]
    within: Option<PathBuf>,
    /// Lists the cases
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProviderName {
    /// Processes on loopback; needs Go once, to build them.
    Local,
    /// Kind clusters of one node, of three, and with IPv6. With docker, kind, kubectl and helm, the images come from a
    /// registry; else, or with --offline, everything is built from Go modules and Debian packages, which needs root.
    Kind,
}

/// How a run without failures ended.
pub(crate) enum Completion {
    /// Everything was run.
    Done,
    /// Nothing was run, because something it needs is missing.
    Skipped,
}

impl Args {
    /// Runs the chosen cases; fails if one fails.
    pub(crate) fn run(self) -> anyhow::Result<Completion> {
        if self.list {
            println!("{}", CASES.iter().map(|case| case.name).collect::<Vec<_>>().join("\n"));
            return Ok(Completion::Done);
        }
        let chosen = self.chosen()?;
        ensure!(
            self.provider == ProviderName::Local || self.servers == Choice::default(),
            "--components, --openbao and --vault-binary need --provider local"
        );
        ensure!(
            self.provider == ProviderName::Kind || !self.offline,
            "--offline needs --provider kind"
        );
        if self.within.is_some() {
            return until_interrupted(self.suite(&chosen));
        }
        let offline = self.offline || self.provider == ProviderName::Kind && kind::missing().is_some();
        let missing = match self.provider {
            ProviderName::Local => self.servers.missing().map(str::to_owned),
            ProviderName::Kind if offline => offline::missing(),
            ProviderName::Kind => None,
        };
        if let Some(missing) = missing {
            return skip(&missing);
        }
        if offline {
            let dir = offline::build()?;
            return until_interrupted(offline::run(&dir));
        }
        until_interrupted(self.suite(&chosen))
    }

    fn chosen(&self) -> anyhow::Result<Vec<&'static Case>> {
        for name in &self.case {
            ensure!(
                CASES.iter().any(|case| case.name == name),
                "no case {name}; --list lists them"
            );
        }
        let openbao = self.provider == ProviderName::Kind || self.servers.has_openbao();
        let runs = |case: &&Case| match case.on {
            On::Any => true,
            On::Loopback => self.provider == ProviderName::Local,
            On::Vault => !openbao,
            On::OpenBao => openbao,
            On::Kind(_) => self.provider == ProviderName::Kind,
        };
        let named = |case: &&Case| self.case.is_empty() || self.case.iter().any(|name| name == case.name);
        let chosen: Vec<_> = CASES.iter().filter(runs).filter(named).collect();
        ensure!(!chosen.is_empty(), "none of these cases runs with this provider");
        Ok(chosen)
    }

    /// Starts the servers, runs the cases, stops the servers.
    async fn suite(&self, chosen: &[&'static Case]) -> anyhow::Result<()> {
        let outcomes = match self.provider {
            ProviderName::Local => vec![self.on_loopback(chosen).await],
            ProviderName::Kind => self.in_clusters(chosen).await?,
        };
        let mut results = Vec::new();
        let mut kept = Vec::new();
        let mut broken = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok((of_these, env)) => {
                    results.extend(of_these);
                    kept.extend(env);
                }
                Err(error) => broken.push(format!("{error:#}")),
            }
        }
        let failed: Vec<String> = results.iter().filter_map(|result| result.clone().err()).collect();
        say(&format!(
            "{} passed, {} failed",
            results.len() - failed.len(),
            failed.len()
        ));
        self.leave(&mut kept).await?;
        ensure!(broken.is_empty(), "{}", broken.join("\n"));
        ensure!(
            failed.is_empty(),
            "{} of {} cases failed:\n{}",
            failed.len(),
            results.len(),
            failed.join("\n")
        );
        Ok(())
    }

    /// Leaves the servers running: those that end with this program, until it is interrupted.
    async fn leave(&self, kept: &mut [Env]) -> anyhow::Result<()> {
        let mut shell = None;
        for env in kept {
            env.keep()?;
            if let Provider::Kind(cluster) = &env.provider {
                shell = cluster.engine().map(|engine| engine.shell());
            }
        }
        if let Some(shell) = shell {
            say(&format!("they are reached from a shell in: {shell}"));
            futures::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn on_loopback(&self, chosen: &[&'static Case]) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let env = start_local(Profile::Dev, &self.servers).await?;
        say(&format!(
            "servers are ready after {:.1} s",
            begun.elapsed().as_secs_f64()
        ));
        let results = self.cases(&env, chosen).await?;
        if self.case.is_empty() && results.iter().all(Result::is_ok) {
            rights::all_used(&env).await?;
        }
        Ok((results, self.keep.then_some(env)))
    }

    /// Starts the clusters that the cases need beside each other, and runs the cases of each as soon as it is ready;
    /// returns an outcome for each cluster.
    async fn in_clusters(&self, chosen: &[&'static Case]) -> anyhow::Result<Vec<anyhow::Result<Outcome>>> {
        let (dir, engine) = match &self.within {
            Some(parts) => (parts.clone(), Some(Arc::new(Engine::start(parts).await?))),
            None => (run_dir(&xtask::root())?, None),
        };
        if engine.is_none() {
            kind::build_image().await?;
        }
        let (dir, room) = (&dir, &Semaphore::new(CLUSTERS));
        let clusters = Shape::ALL.into_iter().filter_map(|shape| {
            let anywhere = |case: &Case| matches!(case.on, On::Any | On::OpenBao);
            let here = |case: &&Case| case.on == On::Kind(shape) || anywhere(case) && shape == Shape::OneNode;
            let cases: Vec<&'static Case> = chosen.iter().copied().filter(here).collect();
            (!cases.is_empty()).then(|| {
                let engine = engine.clone();
                async move {
                    let _room = room.acquire().await?;
                    let (client, vault, cluster) = kind::start(dir, shape, engine).await?;
                    let env = Env::new(client, vault, Provider::Kind(cluster)).with_crowd(self.crowd);
                    let results = self.cases(&env, &cases).await?;
                    say(&format!("the cases in {} are done", shape.name()));
                    if self.keep {
                        return Ok((results, Some(env)));
                    }
                    if let Provider::Kind(cluster) = env.provider {
                        cluster.delete().await?;
                    }
                    Ok((results, None))
                }
            })
        });
        Ok(futures::future::join_all(clusters).await)
    }

    /// Runs cases on the same servers: those that run alone after the others.
    async fn cases(&self, env: &Env, cases: &[&'static Case]) -> anyhow::Result<Vec<CaseResult>> {
        let together = cases.iter().filter(|case| !case.alone);
        let mut results: Vec<CaseResult> = futures::stream::iter(together)
            .map(|case| run(env, case, self.keep))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for case in cases.iter().filter(|case| case.alone) {
            let result = run(env, case, self.keep).await;
            if result.is_err() {
                env.restore().await?;
            }
            results.push(result);
        }
        Ok(results)
    }
}

/// How a case ended; a failure with the name of the case.
type CaseResult = Result<(), String>;

/// How each of the cases on the same servers ended, and the servers if they are kept.
type Outcome = (Vec<CaseResult>, Option<Env>);

/// Runs a future to completion, or drops it, and so stops all servers, on Ctrl-C or SIGTERM.
pub(crate) fn until_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Completion> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            outcome = work => outcome.map(|()| Completion::Done),
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

/// Builds the servers that are not in the cache.
pub(crate) fn build_components(choice: &Choice) -> anyhow::Result<Completion> {
    if let Some(missing) = choice.missing() {
        return skip(missing);
    }
    Components::build(&xtask::root(), choice).map(|_| Completion::Done)
}

/// Builds what is missing and starts all servers on loopback.
pub(crate) async fn start_local(profile: Profile, choice: &Choice) -> anyhow::Result<Env> {
    let root = xtask::root();
    let components = Components::build(&root, choice)?;
    say("building vault-issuer");
    let binary = controller::build(profile)?;
    let (client, vault, local) = Local::start(run_dir(&root)?, &components, binary).await?;
    let env = Env::new(client, vault, Provider::Local(tokio::sync::Mutex::new(local)));
    env.local_servers()
        .await?
        .canaries()
        .for_each(|secret| env.canary(secret));
    Ok(env)
}

/// Reports that nothing is run; fails in CI, where that would hide a failure.
pub(crate) fn skip(missing: &str) -> anyhow::Result<Completion> {
    ensure!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
    say(&format!("SKIPPED, nothing was run: {missing}"));
    Ok(Completion::Skipped)
}

/// Runs a case in its own namespace and prints the result.
async fn run(env: &Env, case: &Case, keep: bool) -> CaseResult {
    let begun = Instant::now();
    let limit = env.time_for_crowd(LIMIT);
    let outcome = match tokio::time::timeout(limit, attempt(env, case, keep)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("not done within {} s", limit.as_secs())),
    };
    let seconds = begun.elapsed().as_secs_f64();
    match &outcome {
        Ok(()) => println!("ok    {:<34}{seconds:>7.1} s", case.name),
        Err(error) => {
            let details = report::details(env, case.name).await;
            println!("FAIL  {:<34}{seconds:>7.1} s\n      {error:#}\n{details}", case.name);
        }
    }
    outcome.map_err(|error| format!("{}: {error:#}", case.name))
}

async fn attempt(env: &Env, case: &Case, keep: bool) -> anyhow::Result<()> {
    let test = TestNamespace::open(env, case.name).await?;
    (case.run)(&test).await?;
    report::no_secrets(&test).await?;
    if keep { Ok(()) } else { test.close().await }
}
