//! Statistics of a server.

use issuer_core::Operation;

/// The number of requests and results of a server.
///
/// Attempts include failed requests; the other numbers are those of successes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Requests of every kind.
    pub requests: u64,
    /// Requests to `sys/health`.
    pub health: u64,
    /// Login requests.
    pub login_attempts: u64,
    /// Tokens issued.
    pub logins: u64,
    /// Tokens looked up by their holders.
    pub lookups: u64,
    /// Requests to a signing endpoint without a CSR.
    pub probes: u64,
    /// Renewal requests.
    pub renewal_attempts: u64,
    /// Tokens renewed.
    pub renewals: u64,
    /// Tokens revoked by their holders.
    pub revocations: u64,
    /// Requests to sign a CSR.
    pub sign_attempts: u64,
    /// Certificates signed.
    pub signs: u64,
}

impl Counts {
    pub(crate) fn count(&mut self, operation: Operation) {
        match operation {
            Operation::Health => self.health += 1,
            Operation::Login => self.login_attempts += 1,
            Operation::Probe => self.probes += 1,
            Operation::Renew => self.renewal_attempts += 1,
            Operation::Sign => self.sign_attempts += 1,
            Operation::Lookup | Operation::Revoke => {}
        }
    }
}
