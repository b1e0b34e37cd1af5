//! Everything that is logged on a thread, by our crates and all others, with `tracing` and with `log`.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

thread_local! {
    static LOGGED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Keeps it if the thread wants it to be kept, and still can.
fn keep(bytes: &[u8]) {
    let _ = LOGGED.try_with(|logged| {
        if let Some(logged) = &mut *logged.borrow_mut() {
            logged.extend_from_slice(bytes);
        }
    });
}

/// Writes to where the thread keeps what is logged.
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

/// Returns what something comes to, and what is logged meanwhile: all there is, but for what the binary never lets
/// through (`vault-issuer/src/telemetry.rs`).
pub(super) fn capture<T>(work: impl FnOnce() -> T) -> (T, String) {
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
fn both_ways_to_log_are_heard() {
    let ((), logged) = capture(|| {
        tracing::trace_span!("a span", of = "its field").in_scope(|| tracing::trace!(field = "value", "an event"));
        log::debug!("a record");
    });
    assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Debug);
    for part in ["a span", "its field", "field=\"value\"", "an event", "a record"] {
        assert!(logged.contains(part), "{part}: {logged}");
    }
}
