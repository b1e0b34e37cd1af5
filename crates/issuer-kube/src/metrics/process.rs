//! The metrics of this process, from Linux's `/proc`. Where there is none, they are missing. prometheus-client has no
//! process collector, and six numbers of two files are too few for a dependency.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::table::{CPU, MOST_FILES, MetricInfo, OPEN_FILES, RESIDENT_MEMORY, START_TIME, VIRTUAL_MEMORY};

/// The unit of CPU times in `/proc`: a hundredth of a second on every architecture that Rust supports (proc(5),
/// `USER_HZ`).
const USER_HZ: f64 = 100.0;

/// Describes the process at each scrape.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    started: f64,
}

impl ProcessMetrics {
    /// Begins with the start of the process, which is now.
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: now.as_secs_f64(),
        }
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        write(encoder, CPU, cpu_seconds().map(ConstCounter::new))?;
        let status = read("status");
        write(encoder, RESIDENT_MEMORY, memory(&status, "VmRSS:").map(ConstGauge::new))?;
        write(encoder, VIRTUAL_MEMORY, memory(&status, "VmSize:").map(ConstGauge::new))?;
        let files = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        write(encoder, OPEN_FILES, files.map(ConstGauge::new))?;
        write(encoder, MOST_FILES, most_files(&read("limits")).map(ConstGauge::new))?;
        write(encoder, START_TIME, Some(ConstGauge::new(self.started)))
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default()
}

fn cpu_seconds() -> Option<f64> {
    let stat = read("stat");
    // The name of the program, in parentheses, may contain blanks.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((user + system) / USER_HZ)
}

/// Returns an entry of `/proc/self/status`, which is in kB, in bytes.
fn memory(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = value.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Returns the soft limit of open files; `None` if it is unlimited.
fn most_files(limits: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_whitespace().next()?.parse().ok()
}

fn write(encoder: &mut DescriptorEncoder<'_>, metric: MetricInfo, value: Option<impl EncodeMetric>) -> fmt::Result {
    let Some(value) = value else {
        return Ok(());
    };
    let help = format!("{}.", metric.help);
    value.encode(encoder.encode_descriptor(metric.name, &help, None, metric.kind.into())?)
}
