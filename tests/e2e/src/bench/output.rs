//! The results as files: JSON with every round, and a plot.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Figures;
use super::contestant::Contestant;
use super::plot;
use super::table::{METRICS, Spread};
use crate::servers::say;

/// The folder of the results, below the repository's root.
pub(super) const FOLDER: &str = "target/bench";

/// Writes `name`.json and `name`.svg.
pub(super) fn write(rounds: &[Vec<Figures>], name: &str) -> anyhow::Result<()> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder)?;
    for (extension, text) in [
        ("json", serde_json::to_string_pretty(&document(rounds))?),
        ("svg", plot::svg(rounds)),
    ] {
        let path = folder.join(format!("{name}.{extension}"));
        fs::write(&path, text)?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn document(rounds: &[Vec<Figures>]) -> Value {
    let each = rounds.iter().map(|round| round.iter().map(of_one).collect::<Vec<_>>());
    let mut summary = Map::new();
    for metric in &METRICS {
        let of_all = Contestant::ALL.map(|contestant| {
            let spread = Spread::of(rounds, metric, contestant).map(values);
            let ratios = Spread::of_ratios(rounds, metric, contestant).filter(|_| metric.limited);
            (
                contestant.name().to_owned(),
                json!({ "value": spread, "ratio_to_limit": ratios.map(values) }),
            )
        });
        summary.insert(metric.key.to_owned(), Value::Object(of_all.into_iter().collect()));
    }
    json!({ "summary": summary, "rounds": each.collect::<Vec<_>>() })
}

fn of_one(figures: &Figures) -> Value {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(figures.contestant.name()));
    object.insert("requests".to_owned(), json!(figures.requests));
    for metric in &METRICS {
        object.insert(metric.key.to_owned(), json!((metric.value)(figures)));
    }
    object.insert("own_cpu_s".to_owned(), json!(figures.own_cpu.as_secs_f64()));
    object.insert("vault_requests".to_owned(), counts(&figures.vault));
    object.insert("api_requests".to_owned(), counts(&figures.api));
    Value::Object(object)
}

fn counts(counts: &[(String, usize)]) -> Value {
    counts
        .iter()
        .map(|(what, count)| (what.clone(), json!(count)))
        .collect()
}

fn values(spread: Spread) -> Value {
    json!({ "min": spread.min, "median": spread.median, "max": spread.max })
}
