//! The second table.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::outage::Survived;
use super::point::Figures;
use crate::bench::output::FOLDER;
use crate::bench::table::to_f64;
use crate::servers::say;

/// The head of the table.
const HEAD: &str = "\
issuers  waiting  finished  first signature  all ready    peak  CPU each  idle CPU   Vault/min  tokens/min  API/min";

/// Prints the table and the outage.
pub(super) fn print(all: &[Figures], outage: Option<&Survived>) {
    println!("\n{HEAD}");
    for figures in all {
        println!("{}", row(figures));
    }
    println!("\nCPU of the controller; requests while idle, without the Lease and watches that are opened again.");
    let Some(survived) = outage else { return };
    println!(
        "\nAn outage with {} waiting and {} finished requests, {}",
        survived.outage.waiting, survived.outage.finished, survived.limit
    );
    println!("  peak resident memory  {:>9.1} MiB", mebibytes(survived.memory));
    println!(
        "  slowest of {} liveness probes  {:.1} ms",
        survived.probes.len(),
        slowest(survived)
    );
    println!("  all told after        {:>9.1} s", survived.told.as_secs_f64());
    println!("  all signed after      {:>9.1} s", survived.signed.as_secs_f64());
}

/// Returns a line of the table.
pub(super) fn row(figures: &Figures) -> String {
    let Figures { point, .. } = figures;
    format!(
        "{:>7}{:>9}{:>10}{:>15.1} s{:>9.1} s{:>5.1} MiB{:>7.2} ms{:>8.2} %{:>12.1}{:>12.1}{:>9.1}",
        point.issuers,
        point.waiting,
        point.finished,
        figures.first_signature.as_secs_f64(),
        figures.all_ready.as_secs_f64(),
        mebibytes(figures.memory),
        milliseconds(figures.cpu_per_certificate),
        figures.idle_cpu * 100.0,
        figures.idle_vault.1,
        figures.idle_vault.0,
        figures.idle_api,
    )
}

/// Writes `scale.json`.
pub(super) fn write(all: &[Figures], outage: Option<&Survived>) -> anyhow::Result<()> {
    let points: Vec<Value> = all.iter().map(of_point).collect();
    let text = serde_json::to_string_pretty(&json!({ "points": points, "outage": outage.map(of_outage) }))?;
    fs::create_dir_all(FOLDER)?;
    let path = Path::new(FOLDER).join("scale.json");
    fs::write(&path, text)?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

fn of_point(figures: &Figures) -> Value {
    json!({
        "issuers": figures.point.issuers,
        "waiting": figures.point.waiting,
        "finished": figures.point.finished,
        "first_signature_s": figures.first_signature.as_secs_f64(),
        "all_ready_s": figures.all_ready.as_secs_f64(),
        "peak_memory_mib": mebibytes(figures.memory),
        "controller_cpu_ms": milliseconds(figures.cpu_per_certificate),
        "idle_cpu": figures.idle_cpu,
        "idle_token_requests_per_minute": figures.idle_vault.0,
        "idle_other_vault_requests_per_minute": figures.idle_vault.1,
        "idle_api_requests_per_minute": figures.idle_api,
    })
}

fn of_outage(survived: &Survived) -> Value {
    json!({
        "waiting": survived.outage.waiting,
        "finished": survived.outage.finished,
        "limit": survived.limit,
        "peak_memory_mib": mebibytes(survived.memory),
        "probes": survived.probes.len(),
        "slowest_probe_ms": slowest(survived),
        "told_s": survived.told.as_secs_f64(),
        "signed_s": survived.signed.as_secs_f64(),
    })
}

fn slowest(survived: &Survived) -> f64 {
    milliseconds(survived.probes.last().copied().unwrap_or_default())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mebibytes(bytes: u64) -> f64 {
    to_f64(bytes >> 10) / 1024.0
}
