//! The table of the results.

use super::Figures;
use super::contestant::Contestant;

/// A figure of a contestant.
pub(super) struct Metric {
    /// The name.
    pub(super) name: &'static str,
    /// The key in the JSON.
    pub(super) key: &'static str,
    /// The unit.
    pub(super) unit: &'static str,
    /// Whether the limit has this figure too, so that the others are given as ratios to it.
    pub(super) limited: bool,
    /// Its value in a round.
    pub(super) value: fn(&Figures) -> Option<f64>,
}

/// The figures, in the table's order.
pub(super) const METRICS: [Metric; 6] = [
    Metric {
        name: "requests per second",
        key: "requests_per_second",
        unit: "1/s",
        limited: true,
        value: |figures| Some(to_f64(figures.requests) / figures.elapsed.as_secs_f64()),
    },
    Metric {
        name: "CPU of servers and controller per certificate",
        key: "total_cpu_ms",
        unit: "ms",
        limited: true,
        value: |figures| {
            let own = controller_cpu(figures).unwrap_or_default();
            Some(own + figures.servers_cpu.as_secs_f64() * 1000.0 / to_f64(figures.requests))
        },
    },
    Metric {
        name: "controller's CPU per certificate",
        key: "controller_cpu_ms",
        unit: "ms",
        limited: false,
        value: controller_cpu,
    },
    Metric {
        name: "peak resident memory",
        key: "peak_memory_mib",
        unit: "MiB",
        limited: false,
        value: |figures| Some(to_f64(figures.memory?) / f64::from(1 << 20)),
    },
    Metric {
        name: "Approved to Issued, one at a time, p50",
        key: "latency_p50_ms",
        unit: "ms",
        limited: true,
        value: |figures| percentile(figures, 50),
    },
    Metric {
        name: "Approved to Issued, one at a time, p99",
        key: "latency_p99_ms",
        unit: "ms",
        limited: true,
        value: |figures| percentile(figures, 99),
    },
];

/// Returns the controller's CPU time per certificate in milliseconds; the loader's does not count.
fn controller_cpu(figures: &Figures) -> Option<f64> {
    let counts = figures.contestant != Contestant::Limit;
    counts.then(|| figures.own_cpu.as_secs_f64() * 1000.0 / to_f64(figures.requests))
}

/// Returns a percentile of the latencies in milliseconds: the smallest that so many per cent do not exceed.
fn percentile(figures: &Figures, percent: usize) -> Option<f64> {
    let rank = (figures.latencies.len() * percent).div_ceil(100);
    let latency = figures.latencies.get(rank.checked_sub(1)?)?;
    Some(latency.as_secs_f64() * 1000.0)
}

/// The smallest, the middle and the largest value of all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The smallest.
    pub(super) min: f64,
    /// The middle one, the lower of two.
    pub(super) median: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Spread {
    /// Returns the spread of a figure over all rounds.
    pub(super) fn of(rounds: &[Vec<Figures>], metric: &Metric, contestant: Contestant) -> Option<Self> {
        let values = rounds.iter().map(|round| value(round, metric, contestant));
        Self::of_values(values.collect::<Option<_>>()?)
    }

    /// Returns the spread of the ratios to the limit of the same round.
    pub(super) fn of_ratios(rounds: &[Vec<Figures>], metric: &Metric, contestant: Contestant) -> Option<Self> {
        let ratio =
            |round: &Vec<Figures>| Some(value(round, metric, contestant)? / value(round, metric, Contestant::Limit)?);
        Self::of_values(rounds.iter().map(ratio).collect::<Option<_>>()?)
    }

    fn of_values(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            min: *values.first()?,
            median: *values.get((values.len() - 1) / 2)?,
            max: *values.last()?,
        })
    }
}

fn value(round: &[Figures], metric: &Metric, contestant: Contestant) -> Option<f64> {
    let figures = round.iter().find(|figures| figures.contestant == contestant)?;
    (metric.value)(figures)
}

/// Prints the figures of all and their ratios to the limit.
pub(super) fn print(rounds: &[Vec<Figures>]) {
    println!("\nmin / median / max of {} rounds", rounds.len());
    for metric in &METRICS {
        println!("\n{}, {}", metric.name, metric.unit);
        for contestant in Contestant::ALL {
            let Some(spread) = Spread::of(rounds, metric, contestant) else {
                continue;
            };
            let ratios = Spread::of_ratios(rounds, metric, contestant).filter(|_| metric.limited);
            let ratios = ratios.map(|ratios| format!("   ÷ limit {}", row(ratios)));
            println!(
                "  {:<14}{}{}",
                contestant.name(),
                row(spread),
                ratios.unwrap_or_default()
            );
        }
    }
    for figures in rounds.last().into_iter().flatten() {
        println!("\n{} in the last round", figures.contestant.name());
        for (what, number) in figures.vault.iter().chain(&figures.api) {
            println!(
                "  {what:<50}{number:>7}{:>8.2} per certificate",
                to_f64(*number) / to_f64(figures.requests)
            );
        }
    }
    let loader = rounds.iter().flatten().find(|f| f.contestant == Contestant::Limit);
    if let Some(loader) = loader {
        let own = loader.own_cpu.as_secs_f64() * 1000.0 / to_f64(loader.requests);
        println!("\nThe loader's own CPU, {own:.2} ms per certificate in the first round, is in no figure.");
    }
    println!("Vault audits no health request, so none is counted.");
}

fn row(spread: Spread) -> String {
    format!("{:>9.2} /{:>9.2} /{:>9.2}", spread.min, spread.median, spread.max)
}

/// Converts a count; all counts are small enough to be exact.
pub(super) fn to_f64(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn figures(contestant: Contestant, seconds: u64) -> Figures {
        Figures {
            contestant,
            requests: 100,
            elapsed: Duration::from_secs(seconds),
            servers_cpu: Duration::from_secs(1),
            own_cpu: Duration::from_millis(500),
            memory: None,
            latencies: (1..=200).map(Duration::from_millis).collect(),
            vault: Vec::new(),
            api: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_same_round() {
        let round = |limit, ours| vec![figures(Contestant::Limit, limit), figures(Contestant::Ours, ours)];
        let rounds = [round(1, 2), round(4, 4), round(1, 4)];
        let [throughput, ..] = &METRICS;
        let spread = Spread::of_ratios(&rounds, throughput, Contestant::Ours);
        let (min, median, max) = (0.25, 0.5, 1.0);
        assert_eq!(spread, Some(Spread { min, median, max }));
        assert_eq!(Spread::of(&rounds, throughput, Contestant::BuiltIn), None);
    }

    #[test]
    fn loaders_cpu_is_in_no_figure() {
        let total = |contestant| (METRICS[1].value)(&figures(contestant, 1));
        assert_eq!(total(Contestant::Limit), Some(10.0));
        assert_eq!(total(Contestant::Ours), Some(15.0));
        assert_eq!(controller_cpu(&figures(Contestant::Limit, 1)), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let all = figures(Contestant::Ours, 1);
        assert_eq!(percentile(&all, 50), Some(100.0));
        assert_eq!(percentile(&all, 99), Some(198.0));
        let none = Figures {
            latencies: Vec::new(),
            ..all
        };
        assert_eq!(percentile(&none, 99), None);
    }
}
