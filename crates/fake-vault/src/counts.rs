use issuer_core::Operation;

/// What was asked of the server and what it has done.
///
/// The attempts count every request that arrived, whatever became of it; the rest counts what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Requests of every kind.
    pub requests: u64,
    /// Requests to `sys/health`.
    pub health: u64,
    /// Attempts to log in.
    pub login_attempts: u64,
    /// Tokens handed out.
    pub logins: u64,
    /// Tokens looked up by their holders.
    pub lookups: u64,
    /// Requests to a signing endpoint without a CSR.
    pub probes: u64,
    /// Attempts to renew a token.
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
    pub(crate) fn ask(&mut self, operation: Operation) {
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
