//! The system backend: health, seal and capabilities.

use http::{Response, StatusCode};
use issuer_core::{Body, Now};
use serde_json::{Map, Value, json};

use crate::answer::{Refusal, json_reply, with};
use crate::call::{Action, Call};

/// The version that the model reports.
pub(crate) const VERSION: &str = "1.21.0";

/// The kind and state of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The leader.
    #[default]
    Active,
    /// A node of a disaster-recovery secondary, which serves no requests.
    DrSecondary,
    /// A standby that cannot reach the leader.
    HaUnhealthy,
    /// A standby that serves reads itself.
    PerformanceStandby,
    /// A node that was removed from the cluster.
    Removed,
    /// A standby that forwards requests.
    Standby,
    /// A server that is not initialized.
    Uninitialized,
}

/// The state of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) health: Health,
    pub(crate) sealed: bool,
}

impl Node {
    /// Returns `true` if the node answers requests beyond `sys/` as a sealed server does.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed || matches!(self.health, Health::Uninitialized | Health::Removed)
    }

    fn is_standby(&self) -> bool {
        matches!(
            self.health,
            Health::HaUnhealthy | Health::PerformanceStandby | Health::Standby
        )
    }

    /// Answers `sys/health`: <https://developer.hashicorp.com/vault/api-docs/system/health>.
    pub(crate) fn health(&self, now: Now, call: &Call) -> Response<Body> {
        if !matches!(call.action, Action::Read | Action::Head) {
            return Refusal::bare(StatusCode::METHOD_NOT_ALLOWED).into_response();
        }
        let Some(status) = self.health_status(&call.query) else {
            return Refusal::bare(StatusCode::BAD_REQUEST).into_response();
        };
        let dr = if self.health == Health::DrSecondary {
            "secondary"
        } else {
            "disabled"
        };
        let mut body = json!({
            "initialized": self.health != Health::Uninitialized,
            "sealed": self.is_sealed(),
            "standby": self.is_standby() || self.is_sealed(),
            "performance_standby": self.health == Health::PerformanceStandby,
            "replication_performance_mode": if self.is_sealed() { "unknown" } else { "disabled" },
            "replication_dr_mode": if self.is_sealed() { "unknown" } else { dr },
            "server_time_utc": now.unix.as_secs(),
            "version": VERSION,
            "enterprise": self.health == Health::PerformanceStandby || self.health == Health::DrSecondary,
            "echo_duration_ms": 0,
            "clock_skew_ms": 0,
            "replication_primary_canary_age_ms": 0,
        });
        if !self.is_sealed() {
            body = with(body, CLUSTER.map(|(key, value)| (key, json!(value))));
        }
        if self.health == Health::Removed {
            body = with(body, [("removed_from_cluster", json!(true))]);
        }
        let mut response = json_reply(status, &body);
        if call.action == Action::Head {
            *response.body_mut() = Body::default();
        }
        response
    }

    /// Returns the status of `sys/health`, which the query may replace; `None` if the query is malformed.
    fn health_status(&self, query: &str) -> Option<StatusCode> {
        let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let asked = |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let ok = |key| matches!(asked(key), Some("true" | "1"));
        let mut codes = pairs.iter().filter(|(name, _)| name.ends_with("code"));
        if !codes.all(|(_, value)| value.parse::<u16>().is_ok()) {
            return None;
        }
        let (key, code) = match self.health {
            Health::Uninitialized => ("uninitcode", 501),
            Health::Removed => ("removedcode", 530),
            _ if self.sealed => ("sealedcode", 503),
            Health::HaUnhealthy => ("haunhealthycode", 474),
            Health::DrSecondary => ("drsecondarycode", 472),
            Health::PerformanceStandby if !ok("perfstandbyok") => ("performancestandbycode", 473),
            Health::Standby if !ok("standbyok") => ("standbycode", 429),
            Health::Active | Health::PerformanceStandby | Health::Standby => ("activecode", 200),
        };
        let code = asked(key).and_then(|value| value.parse().ok()).unwrap_or(code);
        StatusCode::from_u16(code).ok()
    }

    /// Answers `sys/seal-status`: <https://developer.hashicorp.com/vault/api-docs/system/seal-status>.
    pub(crate) fn seal_status(&self) -> Response<Body> {
        let mut body = json!({
            "type": "shamir",
            "initialized": self.health != Health::Uninitialized,
            "sealed": self.is_sealed(),
            "t": 1,
            "n": 1,
            "progress": 0,
            "nonce": "",
            "version": VERSION,
            "build_date": "2025-10-21T20:29:35Z",
            "migration": false,
            "recovery_seal": false,
            "storage_type": "inmem",
        });
        if !self.is_sealed() {
            body = with(body, CLUSTER.map(|(key, value)| (key, json!(value))));
        }
        json_reply(StatusCode::OK, &body)
    }

    /// Answers `sys/unseal`.
    pub(crate) fn unseal(&mut self, call: &Call, key: &str) -> Result<Response<Body>, Refusal> {
        if call.action != Action::Update {
            return Err(Refusal::bare(StatusCode::METHOD_NOT_ALLOWED));
        }
        let given = call.fields.text("key");
        if given.is_empty() {
            return Err(Refusal::bad_request(
                "'key' must be specified in request body as JSON, or 'reset' set to true",
            ));
        }
        if given.chars().any(|c| !c.is_ascii_hexdigit()) {
            return Err(Refusal::bad_request("'key' must be a valid hex or base64 string"));
        }
        if given.len() < 32 {
            return Err(Refusal::bad_request(
                "invalid key: key is shorter than minimum 16 bytes",
            ));
        }
        if given != key {
            let cause = "invalid key: failed to decrypt keys from storage";
            return Err(Refusal::bad_request(format!("unable to retrieve stored keys: {cause}")));
        }
        self.sealed = false;
        Ok(self.seal_status())
    }
}

/// Endpoints that refuse the namespace header.
pub(crate) const ROOT_ONLY: [&str; 4] = ["sys/health", "sys/seal", "sys/seal-status", "sys/unseal"];

const CLUSTER: [(&str, &str); 2] = [
    ("cluster_name", "vault-cluster-fake"),
    ("cluster_id", "5e3c7a10-0f1e-4b1d-9f52-0d7d5b7f8a01"),
];

/// Returns the data of `sys/capabilities-self`: the capabilities of each path, and those of a single path as
/// `capabilities` too.
pub(crate) fn capabilities(paths: &[(String, Vec<&'static str>)]) -> Map<String, Value> {
    let mut data: Map<_, _> = paths.iter().map(|(path, words)| (path.clone(), json!(words))).collect();
    if let [(_, words)] = paths {
        data.insert("capabilities".to_owned(), json!(words));
    }
    data
}
