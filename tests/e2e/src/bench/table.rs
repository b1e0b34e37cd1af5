//! The table of the results.

use super::Figures;

/// Prints the figures of both and their ratios.
pub(super) fn print(requests: usize, ours: &Figures, built_in: &Figures) {
    let count = to_f64(requests);
    println!(
        "\n{:<44}{:>14}{:>14}{:>9}",
        format!("{requests} certificates"),
        ours.name,
        built_in.name,
        "ratio"
    );
    row("requests per second", ours, built_in, |f| {
        count / f.elapsed.as_secs_f64()
    });
    row("controller's CPU, s", ours, built_in, |f| f.cpu.as_secs_f64());
    row("controller's CPU per certificate, ms", ours, built_in, |f| {
        f.cpu.as_secs_f64() * 1000.0 / count
    });
    row("peak resident memory, MiB", ours, built_in, |f| {
        to_f64(f.memory) / f64::from(1 << 20)
    });
    row("requests to Vault per certificate", ours, built_in, |f| {
        total(&f.vault, "") / count
    });
    row("writes to the API server per certificate", ours, built_in, |f| {
        writes(&f.api) / count
    });
    row("reads from the API server per certificate", ours, built_in, |f| {
        (total(&f.api, "get ") + total(&f.api, "list ") + total(&f.api, "watch ")) / count
    });
    for figures in [ours, built_in] {
        println!("\n{}", figures.name);
        for (what, number) in figures.vault.iter().chain(&figures.api) {
            println!(
                "  {what:<50}{number:>7}{:>8.2} per certificate",
                to_f64(*number) / count
            );
        }
    }
    println!("\nVault audits no health request, so none is counted.");
}

fn row(name: &str, ours: &Figures, built_in: &Figures, value: impl Fn(&Figures) -> f64) {
    let (ours, built_in) = (value(ours), value(built_in));
    println!("{name:<44}{ours:>14.2}{built_in:>14.2}{:>9.2}", ours / built_in);
}

fn total(counts: &[(String, usize)], prefix: &str) -> f64 {
    to_f64(
        counts
            .iter()
            .filter(|(what, _)| what.starts_with(prefix))
            .map(|(_, count)| count)
            .sum::<usize>(),
    )
}

/// Counts writes, except those of the Lease, which depend on time and not on requests.
fn writes(counts: &[(String, usize)]) -> f64 {
    let is_read = |what: &str| ["get ", "list ", "watch "].iter().any(|verb| what.starts_with(verb));
    let counted = counts
        .iter()
        .filter(|(what, _)| !is_read(what) && !what.ends_with(" leases"));
    to_f64(counted.map(|(_, count)| count).sum::<usize>())
}

/// Converts a count; all counts are small enough to be exact.
fn to_f64(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::INFINITY, f64::from)
}
