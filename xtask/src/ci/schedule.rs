//! Runs steps, two at once, each as soon as those that it needs have passed.
//!
//! A step's output goes to a file, of which the end is printed if the step fails.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use xtask::SKIPPED;

use super::processes;
use super::steps::Step;

/// How often memory is measured and an end noticed.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of steps that run at once.
const WORKERS: usize = 2;

const LOGS: &str = "target/ci";

/// A step that has ended.
pub(super) struct Report {
    pub(super) step: &'static Step,
    pub(super) outcome: Outcome,
    pub(super) elapsed: Duration,
    /// The most memory of the step's processes, in bytes.
    pub(super) memory: u64,
    /// The most memory of all steps meanwhile, in bytes.
    pub(super) peak: u64,
}

/// How a step ended.
pub(super) enum Outcome {
    Passed,
    /// Something that the step needs is missing, or another step has failed.
    Skipped,
    /// The cause.
    Failed(String),
}

#[derive(Default)]
struct State {
    started: Vec<&'static str>,
    reports: Vec<Report>,
    failed: bool,
}

impl State {
    /// Returns the first step that has not started and whose needs are met. A step that does not run is no need.
    fn next(&self, steps: &[&'static Step]) -> Option<&'static Step> {
        let ended = |name: &str| self.reports.iter().any(|report| report.step.name == name);
        let runs = |name: &str| steps.iter().any(|step| step.name == name);
        let waiting = steps.iter().filter(|step| !self.started.contains(&step.name));
        let mut ready = waiting.filter(|step| step.after.iter().all(|name| ended(name) || !runs(name)));
        ready.next().copied()
    }
}

struct Schedule<'a> {
    steps: &'a [&'static Step],
    state: Mutex<State>,
    changed: Condvar,
}

/// Runs the steps; after a failure no more are started and the others are stopped.
pub(super) fn run(steps: &[&'static Step]) -> anyhow::Result<Vec<Report>> {
    fs::create_dir_all(LOGS).with_context(|| format!("cannot create {LOGS}"))?;
    let schedule = Schedule {
        steps,
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| schedule.work());
        }
    });
    let state = schedule.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(state.reports)
}

impl Schedule<'_> {
    /// Runs steps until there are no more.
    fn work(&self) {
        while let Some(step) = self.take() {
            println!("start   {}", step.name);
            let begun = Instant::now();
            let log = Path::new(LOGS).join(format!("{}.log", step.name));
            let mut use_of_memory = (0, 0);
            let outcome = self
                .execute(step, &log, &mut use_of_memory)
                .unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
            let (memory, peak) = use_of_memory;
            let elapsed = begun.elapsed();
            print_end(step, &outcome, elapsed, &log);
            let mut state = self.state();
            state.failed |= matches!(outcome, Outcome::Failed(_));
            state.reports.push(Report {
                step,
                outcome,
                elapsed,
                memory,
                peak,
            });
            self.changed.notify_all();
        }
    }

    /// Waits for a step that can start; `None` if there are no more.
    fn take(&self) -> Option<&'static Step> {
        let mut state = self.state();
        loop {
            if state.failed || state.started.len() == self.steps.len() {
                return None;
            }
            if let Some(step) = state.next(self.steps) {
                state.started.push(step.name);
                return Some(step);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn execute(&self, step: &Step, log: &Path, (most, peak): &mut (u64, u64)) -> anyhow::Result<Outcome> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = step.command()?;
        let child = command.stdout(output.try_clone()?).stderr(output).spawn();
        let mut child = child.with_context(|| format!("cannot start {}", step.name))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            *most = processes::resident(child.id()).max(*most);
            *peak = processes::resident(std::process::id()).max(*peak);
            if self.state().failed {
                return stop(child);
            }
            thread::sleep(PAUSE);
        };
        Ok(outcome(status))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a step because another has failed.
fn stop(mut child: Child) -> anyhow::Result<Outcome> {
    let family = processes::family(child.id());
    terminate(child.id());
    child.wait()?;
    // A compiler does not end with the program that started it.
    family.into_iter().for_each(terminate);
    Ok(Outcome::Skipped)
}

/// Ends a process, unless it has ended already.
fn terminate(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped,
        _ => Outcome::Failed(status.to_string()),
    }
}

fn print_end(step: &Step, outcome: &Outcome, elapsed: Duration, log: &Path) {
    let seconds = elapsed.as_secs_f64();
    match outcome {
        Outcome::Passed => println!("passed  {:<12}{seconds:>8.1} s", step.name),
        Outcome::Skipped => println!("skipped {:<12}{seconds:>8.1} s  {}", step.name, log.display()),
        Outcome::Failed(cause) => {
            println!("FAILED  {:<12}{seconds:>8.1} s  {cause}; {}", step.name, log.display());
            let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(60)) {
                println!("  | {line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::super::steps::STEPS;
    use super::*;

    fn steps(names: &[&str]) -> Vec<&'static Step> {
        STEPS.iter().filter(|step| names.contains(&step.name)).collect()
    }

    fn passed(step: &'static Step) -> Report {
        Report {
            step,
            outcome: Outcome::Passed,
            elapsed: Duration::ZERO,
            memory: 0,
            peak: 0,
        }
    }

    fn next(state: &State, steps: &[&'static Step]) -> Option<&'static str> {
        state.next(steps).map(|step| step.name)
    }

    #[test]
    fn step_waits_for_those_it_needs() {
        let chosen = steps(&["build", "components", "clippy"]);
        let mut state = State::default();
        assert_eq!(next(&state, &chosen), Some("build"));
        state.started.push("build");
        assert_eq!(next(&state, &chosen), None);
        state.reports.push(passed(chosen[0]));
        assert_eq!(next(&state, &chosen), Some("components"));
        state.started.push("components");
        assert_eq!(next(&state, &chosen), Some("clippy"));
    }

    #[test]
    fn skipped_steps_are_not_waited_for() {
        assert_eq!(next(&State::default(), &steps(&["e2e"])), Some("e2e"));
    }

    #[test]
    fn descendants_end_with_their_step() {
        let script = "(sleep 5; echo late) & echo; wait";
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let mut output = child.stdout.take().unwrap();
        // The shell has started the other process.
        output.read_exact(&mut [0]).unwrap();
        stop(child).unwrap();
        let mut late = String::new();
        output.read_to_string(&mut late).unwrap();
        assert_eq!(late, "");
    }
}
