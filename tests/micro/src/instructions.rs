//! Instruction counts, by valgrind (<https://valgrind.org/docs/manual/cg-manual.html>).
//!
//! Each piece of work is run by two processes, one of which repeats it more often: the difference is what the repetitions
//! cost, without start and preparation.

use std::collections::BTreeMap;
use std::env;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::cases::{CASES, Case};
use crate::cost::{Cost, Unit};
use crate::reference::{JSON, P256};
use crate::work::Work;

/// How often the two processes repeat the work.
const REPEATS: [u32; 2] = [10, 60];

/// The environment variables by which a process is told what to repeat: the work, how often, and its slowdown.
const VARIABLES: [&str; 3] = ["MICRO_WORK", "MICRO_REPEATS", "MICRO_SLOWDOWN"];

/// Returns `true` if valgrind is installed.
pub(crate) fn can_be_counted() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Counts instructions, those of each reference once.
#[derive(Default)]
pub(crate) struct Counter {
    references: BTreeMap<&'static str, f64>,
}

impl Counter {
    /// Counts the instructions of a case.
    pub(crate) fn cost(&mut self, case: &Case, slowdown: u32) -> anyhow::Result<Cost> {
        let name = case.reference.name;
        let reference = match self.references.get(name) {
            Some(known) => *known,
            None => of_one(case.reference, 1)?,
        };
        self.references.insert(name, reference);
        Ok(Cost {
            operation: of_one(&case.work, slowdown)?,
            reference,
            unit: Unit::Instructions,
        })
    }
}

fn of_one(work: &Work, slowdown: u32) -> anyhow::Result<f64> {
    let [few, many] = REPEATS;
    let (less, more) = (start(work, few, slowdown)?, start(work, many, slowdown)?);
    let (less, more) = (count(less, work)?, count(more, work)?);
    ensure!(less < more, "more repetitions of {} cost less", work.name);
    Ok((more - less) as f64 / f64::from(many - few))
}

/// Starts a process that repeats the work, under valgrind.
fn start(work: &Work, repeats: u32, slowdown: u32) -> anyhow::Result<Child> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            "--vgdb=no",
        ])
        .arg(env::current_exe()?)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for (variable, value) in
        VARIABLES
            .into_iter()
            .zip([work.name.to_owned(), repeats.to_string(), slowdown.to_string()])
    {
        valgrind.env(variable, value);
    }
    valgrind.spawn().context("cannot run valgrind")
}

/// Returns the instructions of a process, once it has ended.
fn count(process: Child, work: &Work) -> anyhow::Result<u64> {
    let output = process.wait_with_output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    match references(&report).filter(|_| output.status.success()) {
        Some(count) => Ok(count),
        None => bail!("valgrind counted nothing for {}:\n{report}", work.name),
    }
}

/// Reads the number of instructions in a report of cachegrind: `==7== I   refs:      127,757`.
fn references(report: &str) -> Option<u64> {
    let line = report
        .lines()
        .find_map(|line| line.split_once("refs:").filter(|(before, _)| before.contains(" I ")))?;
    line.1.trim().replace(',', "").parse().ok()
}

/// The work of a process under valgrind.
pub(crate) struct Job {
    name: String,
    repeats: u32,
    slowdown: u32,
}

impl Job {
    /// Returns the job of this process, if it has one.
    pub(crate) fn of_environment() -> Option<Self> {
        let [name, repeats, slowdown] = VARIABLES.map(|variable| env::var(variable).ok());
        Some(Self {
            name: name?,
            repeats: repeats?.parse().ok()?,
            slowdown: slowdown?.parse().ok()?,
        })
    }

    /// Repeats the work.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut works = CASES.iter().map(|case| &case.work).chain([&JSON, &P256]);
        let work = works.find(|work| work.name == self.name).context("no such operation")?;
        let mut run = work.slowed(self.slowdown);
        (0..self.repeats).for_each(|_| run());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_cachegrind_are_read() {
        let report = "==803== \n--803-- warning: L3 cache found\n==803== I   refs:      1,127,757\n";
        assert_eq!(references(report), Some(1_127_757));
        assert_eq!(references("==803== D refs: 5\n"), None);
        assert_eq!(references("==803== I refs: many\n"), None);
    }

    #[test]
    fn unknown_work_is_an_error() {
        let job = |name: &str| Job {
            name: name.to_owned(),
            repeats: 1,
            slowdown: 1,
        };
        assert!(job("json").run().is_ok());
        assert!(job("none").run().is_err());
    }
}
