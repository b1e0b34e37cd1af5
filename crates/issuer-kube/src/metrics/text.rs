//! The text formats of metrics.

use std::fmt::Write as _;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
    /// The older format of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    Prometheus,
}

impl TextFormat {
    /// Returns the format that a header `Accept` asks for, as Prometheus' own libraries choose it: OpenMetrics for
    /// clients that name it.
    pub fn accepted_by(accept: &str) -> Self {
        let names = |media_type: &str| media_type.trim().starts_with("application/openmetrics-text");
        if accept.split(',').any(names) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Rewrites OpenMetrics in the older format, in which a counter is described under its name with `_total`, and nothing
/// marks the end.
pub(super) fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        // Writing to a string cannot fail.
        let _ = match line
            .strip_prefix("# ")
            .map(|rest| rest.splitn(3, ' ').collect::<Vec<_>>())
        {
            None => writeln!(text, "{line}"),
            Some(words) => match words[..] {
                ["HELP", name, words] => {
                    help = Some((name, words));
                    Ok(())
                }
                ["TYPE", name, kind] => {
                    let suffix = if kind == "counter" { "_total" } else { "" };
                    let described = help.take().filter(|(described, _)| *described == name);
                    described
                        .map_or(Ok(()), |(_, words)| writeln!(text, "# HELP {name}{suffix} {words}"))
                        .and_then(|()| writeln!(text, "# TYPE {name}{suffix} {kind}"))
                }
                _ => Ok(()),
            },
        };
    }
    text
}
