//! Liveness and readiness.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The liveness and readiness of this process, as its probes report them.
///
/// Each part of the process reports its own checks. The process is ready if it can campaign for leadership and, while
/// it leads, its watches are in sync. It is alive as long as each part sends its heartbeats in time: a process whose
/// election, loop or watch has ended or hangs must be restarted.
#[derive(Debug, Default)]
pub struct ControllerHealth(Mutex<Checks>);

#[derive(Debug, Default)]
struct Checks {
    ready: BTreeMap<Cow<'static, str>, Result<(), String>>,
    /// The time by which each part sends its next heartbeat.
    live: BTreeMap<Cow<'static, str>, Duration>,
}

impl ControllerHealth {
    /// Starts without checks: ready and alive.
    pub fn new() -> Self {
        Self::default()
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the result of a check of readiness, and returns it if it is new.
    pub fn set(&self, check: impl Into<Cow<'static, str>>, result: Result<(), String>) -> Option<Result<(), String>> {
        let before = self.checks().ready.insert(check.into(), result.clone());
        (before.as_ref() != Some(&result)).then_some(result)
    }

    /// Records a heartbeat of a part, which announces the next one before the [monotonic](issuer_core::Now) time
    /// `next`.
    pub fn alive(&self, part: impl Into<Cow<'static, str>>, next: Duration) {
        self.checks().live.insert(part.into(), next);
    }

    /// Expects no more heartbeats of a part that ends.
    pub fn ended(&self, part: &str) {
        self.checks().live.remove(part);
    }

    /// Returns whether every check of readiness passes, and a line for each.
    pub fn ready(&self) -> (bool, String) {
        let checks = self.checks();
        let results = checks.ready.iter();
        report(results.map(|(check, result)| (&**check, result.as_ref().err().cloned())))
    }

    /// Returns whether every part has sent its heartbeats in time, and a line for each.
    pub fn live(&self, now: Duration) -> (bool, String) {
        let checks = self.checks();
        let late = |next: Duration| {
            let by = now.checked_sub(next).filter(|by| !by.is_zero())?;
            Some(format!("no heartbeat, {} s late", by.as_secs()))
        };
        report(checks.live.iter().map(|(part, next)| (&**part, late(*next))))
    }
}

/// Writes a line for each check as the API server does, and returns `true` if none has a cause of failure.
fn report<'a>(checks: impl Iterator<Item = (&'a str, Option<String>)>) -> (bool, String) {
    let (mut passes, mut text) = (true, String::new());
    for (check, failure) in checks {
        passes &= failure.is_none();
        // Writing to a string cannot fail.
        let _ = match failure {
            None => writeln!(text, "[+]{check} ok"),
            Some(cause) => writeln!(text, "[-]{check} failed: {cause}"),
        };
    }
    (passes, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_check_passes() {
        let health = ControllerHealth::new();
        assert_eq!(health.ready(), (true, String::new()));
        assert_eq!(health.set("lease", Ok(())), Some(Ok(())));
        assert_eq!(health.set("lease", Ok(())), None);
        health.set("VaultIssuer", Err("not listed yet".to_owned()));
        let text = "[-]VaultIssuer failed: not listed yet\n[+]lease ok\n";
        assert_eq!(health.ready(), (false, text.to_owned()));
        health.set("VaultIssuer", Ok(()));
        assert_eq!(health.ready(), (true, "[+]VaultIssuer ok\n[+]lease ok\n".to_owned()));
    }

    #[test]
    fn late_part_is_not_alive() {
        let health = ControllerHealth::new();
        let s = Duration::from_secs;
        assert_eq!(health.live(s(100)), (true, String::new()));
        health.alive("lease", s(130));
        health.alive("controller", s(110));
        assert_eq!(
            health.live(s(110)),
            (true, "[+]controller ok\n[+]lease ok\n".to_owned())
        );
        let late = "[-]controller failed: no heartbeat, 2 s late\n[+]lease ok\n";
        assert_eq!(health.live(s(112)), (false, late.to_owned()));
        health.ended("controller");
        assert_eq!(health.live(s(112)), (true, "[+]lease ok\n".to_owned()));
    }
}
