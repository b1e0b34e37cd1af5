//! The log and its filter.

use anyhow::{Context, ensure};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{LogArgs, LogFormat};

/// Libraries log only warnings unless directives ask for more.
const LIBRARIES: &str = "h2=warn,hyper=warn,hyper_util=warn,kube_client=warn,opentelemetry=warn,opentelemetry_sdk=warn,\
                         rustls=warn,tower=warn";

/// Never logged, even on request: kube's client quotes replies that it cannot read, and one may be a Secret; the exporter of
/// traces quotes those of the collector, which may repeat a credential.
const SILENT: &str = "kube_client::client=off,opentelemetry-otlp=off";

/// Starts the log to stderr.
pub(crate) fn init(args: &LogArgs) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(&args.log_level)?)
        .with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(false).try_init(),
    };
    started.map_err(|_| anyhow::anyhow!("the log cannot be started twice"))
}

/// Returns the filter for a level, which is that of this program's own crates, or for directives.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let wrong = || format!("--log-level {level}: give error, warn, info, debug, trace, or info,issuer_kube=debug");
    let is_word = level.chars().all(char::is_alphanumeric);
    ensure!(
        !is_word || (!level.is_empty() && level.parse::<LevelFilter>().is_ok()),
        wrong()
    );
    let directives = if is_word {
        format!("{level},{LIBRARIES}")
    } else {
        level.to_owned()
    };
    EnvFilter::builder()
        .parse(format!("{directives},{SILENT}"))
        .with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_make_filters() {
        for level in ["error", "warn", "info", "debug", "trace", "off"] {
            assert!(
                filter(level).unwrap().to_string().contains("kube_client=warn"),
                "{level}"
            );
        }
        let directives = filter("warn,issuer_kube=debug").unwrap().to_string();
        assert_eq!(
            directives,
            "kube_client::client=off,opentelemetry-otlp=off,issuer_kube=debug,warn"
        );
        let stubborn = filter("trace,kube_client::client=trace").unwrap().to_string();
        assert_eq!(stubborn, "kube_client::client=off,opentelemetry-otlp=off,trace");
        for wrong in ["loud", "", "a=b=c"] {
            assert!(
                filter(wrong)
                    .unwrap_err()
                    .to_string()
                    .contains("info,issuer_kube=debug"),
                "{wrong}"
            );
        }
    }
}
