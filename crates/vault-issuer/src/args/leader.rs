//! Flags of the leader election.

use std::time::Duration;

use clap::{ArgAction, Parser};

use super::duration;

/// How replicas elect a leader.
#[derive(Clone, Debug, Parser)]
pub struct LeaderArgs {
    /// Whether to elect a leader, as is necessary for several replicas
    #[arg(
        long,
        env = "VAULT_ISSUER_LEADER_ELECT",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub leader_elect: bool,
    /// The namespace of the Lease [default: the pod's]
    #[arg(long, env = "VAULT_ISSUER_LEADER_ELECTION_NAMESPACE")]
    pub leader_election_namespace: Option<String>,
    /// The name of the Lease
    #[arg(long, env = "VAULT_ISSUER_LEADER_ELECTION_ID", default_value = "vault-issuer")]
    pub leader_election_id: String,
    /// How long the other replicas wait for a leader that does not renew the Lease
    #[arg(
        long,
        env = "VAULT_ISSUER_LEADER_ELECTION_LEASE_DURATION",
        default_value = "15s",
        value_parser = duration,
    )]
    pub leader_election_lease_duration: Duration,
    /// How long the leader continues without renewing the Lease
    #[arg(
        long,
        env = "VAULT_ISSUER_LEADER_ELECTION_RENEW_DEADLINE",
        default_value = "10s",
        value_parser = duration,
    )]
    pub leader_election_renew_deadline: Duration,
    /// How long to wait between attempts to get or renew the Lease
    #[arg(
        long,
        env = "VAULT_ISSUER_LEADER_ELECTION_RETRY_PERIOD",
        default_value = "2s",
        value_parser = duration,
    )]
    pub leader_election_retry_period: Duration,
}
