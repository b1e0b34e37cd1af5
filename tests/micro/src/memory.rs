//! The memory that an object takes of which there are many.
//!
//! Resident memory, by which a container is limited: what the allocator does not use is in it. It grows by whole pages, so
//! thousands of objects are counted, in a process that has used no memory before.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use issuer_core::reconcile::{Change, Outcome};
use issuer_core::reference::IssuerKey;

use crate::controller::Driven;
use crate::fixture::{self, NOW};

/// Objects of a kind.
pub(crate) struct Many {
    /// The name among the operations.
    pub(crate) name: &'static str,
    /// A description.
    pub(crate) about: &'static str,
    /// The most that one may take, in bytes.
    pub(crate) budget: u64,
    /// Adds one.
    add: fn(&mut Driven, u32),
    /// Counts them.
    count: fn(&Driven) -> usize,
}

/// All kinds.
pub(crate) const ALL: [Many; 2] = [
    Many {
        name: "waiting",
        about: "the memory of a request that waits for its issuer",
        // A sixth more than was measured, which is less than a second copy of its CSR.
        budget: 2640,
        add: wait,
        count: |driven| driven.controller.pending(),
    },
    Many {
        name: "issuer",
        about: "the memory of an issuer that is ready, with a CA bundle of one certificate",
        // A tenth more than was measured.
        budget: 9200,
        add: be_ready,
        count: |driven| driven.controller.readiness().filter(|(_, ready)| *ready).count(),
    },
];

/// How many exist before any is counted, and how many are counted. The CSRs of all have room.
const OBJECTS: [u32; 2] = [1_000, 8_000];

/// The environment variable by which a process is told what to measure.
const VARIABLE: &str = "MICRO_MEMORY";

impl Many {
    /// Measures in a process of its own; returns the bytes of one object.
    pub(crate) fn measure(&self) -> anyhow::Result<u64> {
        let mut process = Command::new(env::current_exe()?);
        let output = process.env(VARIABLE, self.name).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "cannot measure {}", self.about);
        let text = String::from_utf8(output.stdout)?;
        text.trim().parse().context("no figure")
    }

    /// Returns what this process is to measure, if it is one of those.
    pub(crate) fn of_environment() -> Option<&'static Self> {
        let name = env::var(VARIABLE).ok()?;
        ALL.iter().find(|many| many.name == name)
    }

    /// Adds objects; returns the bytes that each takes.
    pub(crate) fn of_one(&self) -> anyhow::Result<u64> {
        let [before, counted] = OBJECTS;
        let mut driven = Driven::new();
        (0..before).for_each(|number| (self.add)(&mut driven, number));
        let least = resident()?;
        (before..before + counted).for_each(|number| (self.add)(&mut driven, number));
        let most = resident()?;
        ensure!(
            (self.count)(&driven) == usize::try_from(before + counted)?,
            "some are missing"
        );
        let grown = most.checked_sub(least).context("the memory has shrunk")?;
        Ok(grown / u64::from(counted))
    }

    /// Returns the line of its table.
    pub(crate) fn row(&self, bytes: u64) -> String {
        let verdict = if bytes <= self.budget { "kept" } else { "EXCEEDED" };
        format!(
            "{:<10}{bytes:>8} bytes{:>16}  budget {:>7}  {verdict:<8}  {}",
            self.name, "", self.budget, self.about
        )
    }
}

/// Lets a request arrive, in one of a hundred namespaces, and wait for an issuer that does not exist.
fn wait(driven: &mut Driven, number: u32) {
    let mut request = fixture::request(&format!("web-{number}"));
    request.metadata.namespace = Some(format!("team-{}", number % 100));
    fixture::approve(&mut request);
    driven.observe(Change::Request(request.clone().into()));
    assert_eq!(driven.work(NOW).1, Outcome::Pending("IssuerNotFound"));
    // The watch shows the status that says so.
    let patch = driven.written.take().unwrap();
    request.status = serde_json::from_value(patch.value()["status"].take()).unwrap();
    request.metadata.resource_version = Some("2".to_owned());
    driven.observe(Change::Request(request.into()));
}

/// Lets an issuer arrive, in a namespace of its own, and become ready.
fn be_ready(driven: &mut Driven, number: u32) {
    let key = IssuerKey {
        namespace: format!("team-{number}").into(),
        ..fixture::issuer_key("vault")
    };
    driven.add_issuer(key);
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
    fn memory_has_a_budget() {
        let [waiting, _] = &ALL;
        assert!(waiting.row(waiting.budget).contains("kept"));
        assert!(waiting.row(waiting.budget + 1).contains("EXCEEDED"));
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
