//! The plot: a group of bars for each figure, with the range of all rounds.

use std::fmt::Write as _;

use super::Figures;
use super::contestant::Contestant;
use super::table::{METRICS, Spread, to_f64};

/// The place of the bars' left ends.
const LEFT: f64 = 150.0;

/// The length of the longest bar of a group.
const LENGTH: f64 = 420.0;

/// The height of a bar with the space below.
const LINE: f64 = 20.0;

/// Returns the plot as SVG. Each group has its own scale, since the units differ.
pub(super) fn svg(rounds: &[Vec<Figures>]) -> String {
    let (mut body, mut y) = (String::new(), LINE);
    for metric in &METRICS {
        let _ = writeln!(
            body,
            r#"<text x="8" y="{y}" font-weight="bold">{}, {}</text>"#,
            metric.name, metric.unit
        );
        y += 8.0;
        let spreads = Contestant::ALL.map(|contestant| (contestant, Spread::of(rounds, metric, contestant)));
        let longest = spreads
            .iter()
            .filter_map(|(_, spread)| Some(spread.as_ref()?.max))
            .fold(0.0, f64::max);
        for (contestant, spread) in spreads {
            if let Some(spread) = spread {
                bar(&mut body, y, contestant, spread, LENGTH / longest);
                y += LINE;
            }
        }
        y += LINE;
    }
    let title = format!(
        "median of {} rounds; the line is the range from min to max",
        to_f64(rounds.len())
    );
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{}" font-family="sans-serif" "#,
            r#"font-size="12"><title>{}</title><rect width="100%" height="100%" fill="white"/>"#,
            "\n{}</svg>\n"
        ),
        y, title, body
    )
}

fn bar(body: &mut String, y: f64, contestant: Contestant, spread: Spread, scale: f64) {
    let color = match contestant {
        Contestant::Limit => "#999999",
        Contestant::BuiltIn => "#d08a2e",
        Contestant::Ours => "#2e7dd0",
    };
    let (width, middle) = (spread.median * scale, y + 7.0);
    let (from, to) = (LEFT + spread.min * scale, LEFT + spread.max * scale);
    let (base, value) = (y + 11.0, LEFT + LENGTH + 8.0);
    let _ = writeln!(
        body,
        concat!(
            r#"<text x="24" y="{base}">{name}</text>"#,
            r#"<rect x="{left}" y="{y}" width="{width:.1}" height="14" fill="{color}"/>"#,
            r#"<line x1="{from:.1}" y1="{middle}" x2="{to:.1}" y2="{middle}" stroke="black"/>"#,
            r#"<text x="{value}" y="{base}">{median:.2}</text>"#
        ),
        base = base,
        name = contestant.name(),
        left = LEFT,
        y = y,
        width = width,
        color = color,
        from = from,
        to = to,
        middle = middle,
        value = value,
        median = spread.median
    );
}
