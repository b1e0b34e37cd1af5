//! `bench --scale`: the costs of issuers, waiting requests and finished ones, one axis at a time, and an outage of
//! Vault with many of both in little memory.
//!
//! The objects are made by the API server and the controller, once each, and copied in etcd: so 100 000 take seconds.

mod outage;
mod point;
mod population;
mod report;

use std::time::Duration;

use super::measure::Count;
use crate::runner::start_local;
use crate::servers::audit::Audit;
use crate::servers::components::Choice;
use crate::servers::controller::{Controller, Profile};
use crate::servers::env::Env;
use crate::servers::say;
use crate::test_namespace::TestNamespace;

use population::Population;

/// The sizes of the second table
#[derive(clap::Args)]
pub(super) struct Sizes {
    /// The numbers of issuers in the second table
    #[arg(
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "1,100,1000,5000",
        requires = "scale"
    )]
    issuers: Vec<usize>,
    /// The numbers of waiting requests in the second table; the outage has the largest
    #[arg(
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "0,1000,20000",
        requires = "scale"
    )]
    waiting: Vec<usize>,
    /// The numbers of finished requests in the second table; the outage has the largest
    #[arg(
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "0,10000,100000",
        requires = "scale"
    )]
    finished: Vec<usize>,
    /// Seconds for which an idle controller is measured
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "scale")]
    idle: u64,
    /// Megabytes of memory in the outage
    #[arg(long, value_name = "MB", default_value = "128", requires = "scale")]
    memory: u64,
    /// Leaves the outage out
    #[arg(long, requires = "scale")]
    no_outage: bool,
}

/// The objects that exist.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Point {
    issuers: usize,
    waiting: usize,
    finished: usize,
}

impl Sizes {
    /// Measures all points and the outage, prints the table and writes the JSON.
    pub(super) async fn run(&self, requests: usize, profile: Profile, servers: &Choice) -> anyhow::Result<()> {
        let env = start_local(profile, servers).await?;
        let test = TestNamespace::open(&env, "bench").await?;
        let mut population = Population::prepare(&test).await?;
        let mut figures = Vec::new();
        for point in self.points() {
            say(&point.describe());
            population.set(point).await?;
            let measured = point::measure(&population, point, requests, Duration::from_secs(self.idle)).await?;
            say(&report::row(&measured));
            figures.push(measured);
        }
        let outage = if self.no_outage {
            None
        } else {
            let largest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or_default();
            let point = Point {
                issuers: 1,
                waiting: 0,
                finished: largest(&self.finished),
            };
            population.set(point).await?;
            let outage = outage::Outage {
                waiting: largest(&self.waiting),
                finished: point.finished,
                memory: self.memory << 20,
            };
            Some(outage.measure(&population).await?)
        };
        report::print(&figures, outage.as_ref());
        report::write(&figures, outage.as_ref())
    }

    /// Returns the points of the table: the smallest, then each axis.
    fn points(&self) -> Vec<Point> {
        let least = Point {
            issuers: 1,
            ..Point::default()
        };
        let issuers = self.issuers.iter().map(|issuers| Point {
            issuers: *issuers,
            ..least
        });
        let waiting = self.waiting.iter().map(|waiting| Point {
            waiting: *waiting,
            ..least
        });
        let finished = self.finished.iter().map(|finished| Point {
            finished: *finished,
            ..least
        });
        let others = issuers.chain(waiting).chain(finished).filter(|point| *point != least);
        std::iter::once(least).chain(others).collect()
    }
}

impl Point {
    fn describe(&self) -> String {
        format!(
            "{} issuers, {} waiting and {} finished requests",
            self.issuers, self.waiting, self.finished
        )
    }
}

/// Counts the signatures of Vault from now on.
fn signatures(env: &Env) -> anyhow::Result<Count> {
    let Audit::File(log) = &env.vault.audit else {
        anyhow::bail!("Vault's audit log is no file");
    };
    Count::open(log, super::measure::is_signature)
}

/// Counts lines of the API server's audit log, which records our controller only, from now on.
async fn api_requests(env: &Env, counts: fn(&str) -> bool) -> anyhow::Result<Count> {
    Count::open(&env.local_servers().await?.cluster.audit_log(), counts)
}

fn is_status_write(line: &str) -> bool {
    line.contains(r#""subresource":"status""#) && line.contains(r#""code":200"#)
}

/// The figures of a metrics page.
struct Metrics(String);

impl Metrics {
    async fn of(controller: &Controller) -> anyhow::Result<Self> {
        controller.metrics().await.map(Self)
    }

    /// Returns the sum of the samples of a metric whose labels contain `label`.
    fn sum(&self, metric: &str, label: &str) -> f64 {
        let samples = self.0.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(metric)?.rsplit_once(' ')?;
            let is_whole = labels.is_empty() || labels.starts_with('{');
            (is_whole && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        samples.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_label() {
        let page = "a{operation=\"sign\"} 2\na{operation=\"health\"} 3\nab 7\na_total{x=\"y\"} 1\nb 4\n";
        let metrics = Metrics(page.to_owned());
        assert_eq!(metrics.sum("a", ""), 5.0);
        assert_eq!(metrics.sum("a", "health"), 3.0);
        assert_eq!(metrics.sum("b", ""), 4.0);
        assert_eq!(metrics.sum("c", ""), 0.0);
    }
}
