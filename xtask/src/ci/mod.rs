//! `ci`: everything that must hold before a change is merged.

mod cold;
mod processes;
mod schedule;
mod steps;
mod tools;

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::bail;

use schedule::{Outcome, Report};
use steps::{STEPS, Step};

/// Runs all checks of a change, at most two at once, and stops at the first failure
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves out the end-to-end tests, which build and start the real servers
    #[arg(long)]
    skip_e2e: bool,
    /// Starts with empty caches, as on a new machine
    #[arg(long, conflicts_with = "only")]
    cold: bool,
    /// Runs only this step; may be given several times
    #[arg(long, value_name = "STEP", conflicts_with = "skip_e2e")]
    only: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.cold {
            return cold::ci(if self.skip_e2e { &["--skip-e2e"] } else { &[] });
        }
        if let Some(unknown) = self
            .only
            .iter()
            .find(|name| STEPS.iter().all(|step| step.name != *name))
        {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step {unknown}; there are: {}", names.join(" "));
        }
        let steps: Vec<&'static Step> = STEPS.iter().filter(|step| self.includes(step)).collect();
        let begun = Instant::now();
        let reports = schedule::run(&steps)?;
        print!("\n{}", table(&reports, begun.elapsed().as_secs_f64()));
        let failed = reports
            .iter()
            .find(|report| matches!(report.outcome, Outcome::Failed(_)));
        match failed.map(|report| (report.step.name, &report.outcome)) {
            Some((name, Outcome::Failed(cause))) => {
                bail!("{name}: {cause}; to run it again: cargo xtask ci --only {name}")
            }
            _ => Ok(()),
        }
    }

    fn includes(&self, step: &Step) -> bool {
        let is_end_to_end = ["components", "e2e", "kind"].contains(&step.name);
        if self.only.is_empty() {
            return !(self.skip_e2e && is_end_to_end);
        }
        let named = |step: &Step| self.only.iter().any(|name| name == step.name);
        named(step)
            || STEPS
                .iter()
                .any(|other| named(other) && other.compiled_by() == Some(step.name))
    }
}

/// Returns the table of the steps: time, peak memory, result.
fn table(reports: &[Report], seconds: f64) -> String {
    let mut text = String::new();
    let mut counts = [0; 3];
    for report in reports {
        let (word, count) = match report.outcome {
            Outcome::Passed => ("passed", 0),
            Outcome::Failed(_) => ("failed", 1),
            Outcome::Skipped => ("skipped", 2),
        };
        if let Some(count) = counts.get_mut(count) {
            *count += 1;
        }
        let memory = report.memory >> 20;
        let seconds = report.elapsed.as_secs_f64();
        let _ = writeln!(text, "{:<12}{seconds:>8.1} s{memory:>8} MiB  {word}", report.step.name);
    }
    let [passed, failed, skipped] = counts;
    let peak = reports.iter().map(|report| report.peak >> 20).max().unwrap_or_default();
    let _ = writeln!(text, "{:<12}{seconds:>8.1} s{peak:>8} MiB", "all");
    text + &format!("{passed} passed, {failed} failed, {skipped} skipped\n")
}
