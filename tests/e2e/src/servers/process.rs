//! Servers as child processes, which are stopped when their handle is dropped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process, test_kill_process};

/// The time from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// A running server, stopped on drop, with its output in a file.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts `command` in its own process group, so that Ctrl-C reaches this program only, and appends its output
    /// to `<dir>/<name>.log`.
    pub(crate) fn start(dir: &Path, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.into(),
            child,
            log,
            kept: false,
        })
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Leaves the process running when this value is dropped; returns its process id.
    pub(crate) fn keep(&mut self) -> u32 {
        self.kept = true;
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = pid(self.child.id()).context("no such process")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Fails with the end of the log if the process has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let message = format!("{} ended with {status}:\n{}", self.name, self.tail(20));
            return Err(Ended(message).into());
        }
        Ok(())
    }

    /// Stops the process with SIGTERM, or with SIGKILL after ten seconds.
    pub(crate) fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        // A stopped process handles no SIGTERM.
        self.signal(Signal::CONT)?;
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.kill()
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.kill()?;
        let status = self.child.wait()?;
        Ok(status)
    }

    /// Returns the output of the process.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the last lines of the output.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        all.iter()
            .skip(all.len().saturating_sub(lines))
            .fold(String::new(), |text, line| text + line + "\n")
    }
}

/// A process that a probe waits for has ended.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Ended(String);

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept && self.stop().is_err() {
            let _ = self.child.kill();
        }
    }
}

/// Returns `true` if a process with this id is alive.
pub(crate) fn alive(id: u32) -> bool {
    pid(id).is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// Returns a free port of the loopback interface.
///
/// It is below the range of outgoing connections, one of which could otherwise take it before the server does.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id();
    for _ in 0..PORTS.len() {
        let number = begin
            .wrapping_mul(101)
            .wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(number % u32::try_from(PORTS.len())?)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

const PORTS: Range<u16> = 20_000..32_000;

/// Calls `probe` five times a second until it succeeds; fails with its last error after `limit`, and at once if a
/// process that it checks has ended.
pub(crate) async fn eventually<T>(
    limit: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("not within {} s", limit.as_secs())));
            }
            Err(error) if error.is::<Ended>() => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Creates a folder for one run below `target/e2e/`, and removes those of runs that have ended.
pub(crate) fn run_dir(root: &Path) -> anyhow::Result<PathBuf> {
    let runs = root.join("target/e2e");
    fs::create_dir_all(&runs)?;
    for entry in fs::read_dir(&runs)? {
        let path = entry?.path();
        let pids = fs::read_to_string(path.join("pids")).unwrap_or_default();
        if !pids.split_whitespace().filter_map(|pid| pid.parse().ok()).any(alive) {
            fs::remove_dir_all(&path)?;
        }
    }
    let own = std::process::id().to_string();
    // A comparison of two Vaults makes two runs.
    let mut run = 1;
    let dir = loop {
        let dir = runs.join(format!("{own}-{run}"));
        if !dir.exists() {
            break dir;
        }
        run += 1;
    };
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("pids"), own)?;
    Ok(dir)
}
