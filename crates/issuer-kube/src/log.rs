//! Log lines for events, and throttling of failures that repeat.

use std::time::Duration;

use issuer_core::reconcile::{Event, Key};

/// The time between the first two reports of a failure that lasts.
const FIRST: Duration = Duration::from_secs(60);

/// The longest time between two of them.
const LONGEST: Duration = Duration::from_secs(3600);

/// Decides when a failure that lasts is logged: at once if it is new, then after a minute, two, four, up to an hour.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    failure: Option<String>,
    pause: Duration,
    next: Duration,
}

impl LogThrottle {
    /// Records a failure; returns `true` if it must be logged.
    ///
    /// Failures that differ in digits only, such as a port or a version, are the same one.
    #[must_use]
    pub(crate) fn record_failure(&mut self, failure: &str, now: Duration) -> bool {
        let failure: String = failure.chars().filter(|c| !c.is_ascii_digit()).collect();
        self.pause = match &self.failure {
            Some(known) if *known == failure && now < self.next => return false,
            Some(known) if *known == failure => (self.pause * 2).min(LONGEST),
            _ => FIRST,
        };
        self.next = now + self.pause;
        self.failure = Some(failure);
        true
    }

    /// Records a success; returns `true` if it ends a failure.
    #[must_use]
    pub(crate) fn record_success(&mut self) -> bool {
        self.failure.take().is_some()
    }
}

/// Logs an event, except that of an issued certificate: every certificate is logged, but not every one has an event.
pub(crate) fn log_event(event: &Event) {
    let Event {
        regarding,
        warning,
        reason,
        note,
        ..
    } = event;
    let (kind, namespace, name) = object(regarding);
    match warning {
        true => tracing::warn!(kind, namespace, name, reason, "{note}"),
        false if *reason == "CertificateIssued" => {}
        false => tracing::info!(kind, namespace, name, reason, "{note}"),
    }
}

/// Returns kind, namespace and name of an object, as fields of the log.
pub(crate) fn object(key: &Key) -> (&'static str, &str, &str) {
    match key {
        Key::Issuer(issuer) => (issuer.kind.as_str(), &issuer.namespace, &issuer.name),
        Key::Request(request) => (request.kind.as_str(), &request.namespace, &request.name),
        Key::Token(_) => ("Token", "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasting_failures_are_logged_less_and_less() {
        let mut throttle = LogThrottle::default();
        let mut due = |failure: &str| -> Vec<u64> {
            let seconds = (0..4 * 3600).filter(|second| {
                let failure = format!("{failure} {second}");
                throttle.record_failure(&failure, Duration::from_secs(*second))
            });
            seconds.collect()
        };
        let logged = [0, 60, 180, 420, 900, 1860, 3780, 7380, 10980];
        assert_eq!(due("refused"), logged);
    }

    #[test]
    fn new_failure_is_logged_at_once() {
        let mut throttle = LogThrottle::default();
        let now = Duration::ZERO;
        assert!(!throttle.record_success());
        assert!(throttle.record_failure("a", now) && !throttle.record_failure("a", now));
        assert!(throttle.record_failure("b", now));
        assert!(throttle.record_success() && !throttle.record_success());
        assert!(throttle.record_failure("b", now));
    }
}
