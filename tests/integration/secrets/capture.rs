//! Captures what all crates log on a thread, with `tracing` and with `log`.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

thread_local! {
    static LOGGED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Records the text if the thread captures its logs.
fn keep(bytes: &[u8]) {
    let _ = LOGGED.try_with(|logged| {
        if let Some(logged) = &mut *logged.borrow_mut() {
            logged.extend_from_slice(bytes);
        }
    });
}

/// Writes to the thread's log.
struct Keep;

impl io::Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        keep(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        keep(format!("{} {} {}\n", record.level(), record.target(), record.args()).as_bytes());
    }

    fn flush(&self) {}
}

/// Returns the result of `run` and everything that is logged meanwhile, except what the binary never logs
/// (`vault-issuer/src/telemetry.rs`).
pub(crate) fn capture<T>(work: impl FnOnce() -> T) -> (T, String) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keep).unwrap();
        // The level of trace is compiled out: ureq writes there what it sends and receives (`issuer-ureq/Cargo.toml`).
        log::set_max_level(log::LevelFilter::Trace);
    });
    LOGGED.set(Some(Vec::new()));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("trace,kube_client::client=off"))
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(|| Keep)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    (result, String::from_utf8(LOGGED.take().unwrap()).unwrap())
}

#[test]
fn both_log_facades_are_captured() {
    let ((), logged) = capture(|| {
        tracing::trace_span!("a span", of = "its field").in_scope(|| tracing::trace!(field = "value", "an event"));
        log::debug!("a record");
    });
    assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Debug);
    for part in ["a span", "its field", "field=\"value\"", "an event", "a record"] {
        assert!(logged.contains(part), "{part}: {logged}");
    }
}
