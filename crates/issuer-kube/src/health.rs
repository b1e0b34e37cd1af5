use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Whether this process can do its work, as its readiness probe reports it.
///
/// Each part of the process reports on the check that it knows of. Liveness needs no check: the process has one thread,
/// so a probe that is answered shows that it turns, and a leader that cannot renew its Lease ends by itself.
#[derive(Debug, Default)]
pub struct ControllerHealth(Mutex<BTreeMap<&'static str, Result<(), String>>>);

impl ControllerHealth {
    /// Starts without checks: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the result of a check, and returns it if it is new.
    pub fn set(&self, check: &'static str, result: Result<(), String>) -> Option<Result<(), String>> {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = checks.insert(check, result.clone());
        (before.as_ref() != Some(&result)).then_some(result)
    }

    /// Returns whether every check passes, and a line for each.
    pub fn ready(&self) -> (bool, String) {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (check, result) in checks.iter() {
            // Writing to a string cannot fail.
            let _ = match result {
                Ok(()) => writeln!(text, "[+]{check} ok"),
                Err(cause) => writeln!(text, "[-]{check} failed: {cause}"),
            };
        }
        (checks.values().all(Result::is_ok), text)
    }
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
}
