//! CPU time, memory, and the new lines of the audit logs.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::servers::audit::Audit;
use crate::servers::env::Env;

/// Part of each line of Vault's audit log that records an answer.
const ANSWER: &str = r#""type":"response""#;

/// The lines that a server appends to a log.
pub(super) struct Tail {
    reader: BufReader<File>,
    partial: String,
}

impl Tail {
    /// Begins at the end of the file.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            reader: BufReader::new(file),
            partial: String::new(),
        })
    }

    /// Passes on the complete lines since the last call.
    pub(super) fn read(&mut self, mut each: impl FnMut(&str)) -> anyhow::Result<()> {
        while self.reader.read_line(&mut self.partial)? > 0 {
            if self.partial.ends_with('\n') {
                each(&self.partial);
                self.partial.clear();
            }
        }
        Ok(())
    }
}

/// Counts lines of a log from one moment on.
pub(super) struct Count {
    tail: Tail,
    counts: fn(&str) -> bool,
    /// The number so far.
    pub(super) total: usize,
    /// The first of them.
    pub(super) first: Option<String>,
}

impl Count {
    /// Begins at the end of the file.
    pub(super) fn open(path: &Path, counts: fn(&str) -> bool) -> anyhow::Result<Self> {
        Ok(Self {
            tail: Tail::open(path)?,
            counts,
            total: 0,
            first: None,
        })
    }

    /// Reads what is new; returns the number so far.
    pub(super) fn read(&mut self) -> anyhow::Result<usize> {
        self.tail.read(|line| {
            if (self.counts)(line) {
                self.total += 1;
                self.first.get_or_insert_with(|| line.to_owned());
            }
        })?;
        Ok(self.total)
    }
}

/// Returns `true` if a line of Vault's audit log records a signature.
pub(super) fn is_signature(line: &str) -> bool {
    // The answer to a probe has an error.
    line.contains(ANSWER) && line.contains("/sign/bench") && !line.contains(r#""error":"#)
}

/// The two audit logs from one moment on.
pub(super) struct AuditLogs {
    vault_tail: Tail,
    api_tail: Tail,
    /// The new lines of Vault's log.
    pub(super) vault: Vec<String>,
    /// The new lines of the API server's log.
    pub(super) api: Vec<String>,
}

impl AuditLogs {
    /// Begins at the end of both.
    pub(super) async fn open(env: &Env) -> anyhow::Result<Self> {
        let Audit::File(vault) = &env.vault.audit else {
            bail!("Vault's audit log is no file");
        };
        Ok(Self {
            vault_tail: Tail::open(vault)?,
            api_tail: Tail::open(&env.local_servers().await?.cluster.audit_log())?,
            vault: Vec::new(),
            api: Vec::new(),
        })
    }

    /// Reads what is new in both.
    pub(super) fn read(&mut self) -> anyhow::Result<()> {
        self.vault_tail.read(|line| self.vault.push(line.to_owned()))?;
        self.api_tail.read(|line| self.api.push(line.to_owned()))
    }

    /// Counts the requests to the API server, except those of the Lease, which never end.
    pub(super) fn api_requests(&self) -> usize {
        let is_lease = |line: &&String| line.contains(r#""resource":"leases""#);
        self.api.iter().filter(|line| !is_lease(line)).count()
    }

    /// Returns the paths of the requests that Vault has answered.
    pub(super) fn vault_paths(&self) -> Vec<String> {
        let answers = self.vault.iter().filter(|line| line.contains(ANSWER));
        let lines = answers.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| Some(line["request"]["path"].as_str()?.to_owned()))
            .collect()
    }

    /// Counts the answers of Vault to signing requests.
    pub(super) fn signatures(&self) -> usize {
        let is_answer = |line: &&String| line.contains(ANSWER) && line.contains("/sign/bench");
        self.vault.iter().filter(is_answer).count()
    }
}

/// Returns the user and system time of Vault, the API server and etcd.
pub(super) async fn servers_cpu(env: &Env) -> anyhow::Result<Duration> {
    let mut local = env.local_servers().await?;
    let vault = local.vault.process().id();
    let [_, apiserver, etcd] = local.cluster.processes();
    let ids = [vault, apiserver.id(), etcd.id()];
    ids.into_iter().map(cpu).sum()
}

/// Returns the user and system time of a process (proc_pid_stat(5), fields 14 and 15).
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("an odd /proc/PID/stat")?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(Duration::from_millis(
        ticks.iter().sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}

/// Returns the peak resident memory of a process in bytes (proc_pid_status(5), VmHWM).
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn tail_returns_complete_new_lines() {
        let path = std::env::temp_dir().join(format!("vault-issuer-tail-{}", std::process::id()));
        fs::write(&path, "old\n").unwrap();
        let mut tail = Tail::open(&path).unwrap();
        let mut log = File::options().append(true).open(&path).unwrap();
        let mut lines = Vec::new();
        log.write_all(b"one\ntw").unwrap();
        tail.read(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one\n"]);
        log.write_all(b"o\n").unwrap();
        tail.read(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one\n", "two\n"]);
        fs::remove_file(&path).unwrap();
    }
}
