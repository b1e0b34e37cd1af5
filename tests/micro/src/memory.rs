//! The memory that a waiting request takes.
//!
//! Resident memory, by which a container is limited: what the allocator does not use is in it. It grows by whole pages, so
//! thousands of requests are counted, in a process that has used no memory before.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use issuer_core::reconcile::{Change, Outcome};

use crate::controller::Driven;
use crate::fixture::{self, NOW};

/// Its name among the operations.
pub(crate) const NAME: &str = "waiting";

/// The most that one may take, in bytes: a sixth more than was measured, which is less than a second copy of its CSR.
pub(crate) const BUDGET: u64 = 3000;

/// How many requests wait before any is counted, and how many are counted. The CSRs of all have room.
const REQUESTS: [u32; 2] = [1_000, 8_000];

/// The environment variable by which a process is told to measure.
const VARIABLE: &str = "MICRO_MEMORY";

/// Measures in a process of its own; returns the bytes of one request.
pub(crate) fn measure() -> anyhow::Result<u64> {
    let mut process = Command::new(env::current_exe()?);
    let output = process.env(VARIABLE, "1").stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "cannot measure the memory of waiting requests");
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().context("no figure")
}

/// Returns `true` if this process is one that measures.
pub(crate) fn is_measured_here() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Lets requests wait for an issuer that does not exist; returns the bytes that each takes.
pub(crate) fn of_one() -> anyhow::Result<u64> {
    let [before, counted] = REQUESTS;
    let mut driven = Driven::new();
    (0..before).for_each(|number| wait(&mut driven, number));
    let least = resident()?;
    (before..before + counted).for_each(|number| wait(&mut driven, number));
    let most = resident()?;
    ensure!(
        driven.controller.pending() == usize::try_from(before + counted)?,
        "some do not wait"
    );
    let grown = most.checked_sub(least).context("the memory has shrunk")?;
    Ok(grown / u64::from(counted))
}

/// Lets a request arrive, in one of a hundred namespaces, and wait.
fn wait(driven: &mut Driven, number: u32) {
    let mut request = fixture::request(&format!("web-{number}"));
    request.metadata.namespace = Some(format!("team-{}", number % 100));
    fixture::approve(&mut request);
    driven.observe(Change::Request(request.clone().into()));
    assert_eq!(driven.work(NOW).1, Outcome::Pending("IssuerNotFound"));
    // The watch shows the status that says so.
    let mut patch = driven.written.take().unwrap();
    request.status = serde_json::from_value(patch.body["status"].take()).unwrap();
    request.metadata.resource_version = Some("2".to_owned());
    driven.observe(Change::Request(request.into()));
}

/// Returns the resident memory of this process, in bytes, page by page: the sums that Linux keeps elsewhere lag.
fn resident() -> anyhow::Result<u64> {
    let pages = fs::read_to_string("/proc/self/smaps_rollup").context("cannot read /proc/self/smaps_rollup")?;
    rss(&pages).context("no resident memory in /proc/self/smaps_rollup")
}

/// Reads the resident memory, in bytes: `Rss:                1234 kB`.
fn rss(pages: &str) -> Option<u64> {
    let line = pages.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_their_issuer() {
        let mut driven = Driven::new();
        (0..3).for_each(|number| wait(&mut driven, number));
        assert_eq!(driven.controller.pending(), 3);
    }

    #[test]
    fn resident_memory_is_read() {
        let pages =
            "00400000-7ffc4000 ---p 00000000 00:00 0    [rollup]\nRss:                1234 kB\nPss:        12 kB\n";
        assert_eq!(rss(pages), Some(1234 * 1024));
        assert_eq!(rss("Pss:        12 kB\n"), None);
        assert_eq!(rss("Rss:        many kB\n"), None);
    }
}
