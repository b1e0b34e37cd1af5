//! Claims: an optional compare-and-set write before a request is signed.
//!
//! For a short time two controllers may both believe that they lead. Each could then have the same request signed; only
//! one could save its certificate, and the other would be an orphan. With claims only the controller whose write came
//! first signs.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use issuer_api::RequestCondition;

use super::observed_request::ObservedRequest;
use crate::Now;

/// The condition that holds a claim. Its reason is the identity of the holder; its message differs for each claim.
pub(super) const CONDITION: &str = "Claimed";

/// How a controller claims requests.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Claim {
    /// Identifies this process; no other process ever has the same identity.
    pub identity: String,
}

/// A claim, and when this process first saw or made it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    condition: RequestCondition,
    at: Duration,
}

impl Hash for Seen {
    /// Leaves out the time of the transition, which tells two claims apart no better than their messages.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let RequestCondition {
            kind,
            status,
            reason,
            message,
            ..
        } = &self.condition;
        (kind, status, reason, message, self.at).hash(state);
    }
}

impl Seen {
    /// The API server adds a time of its own to a condition of a Kubernetes CSR.
    fn new(condition: &RequestCondition, at: Duration) -> Self {
        let condition = RequestCondition {
            others: BTreeMap::new(),
            ..condition.clone()
        };
        Self { condition, at }
    }
}

/// The holder of the claim on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Unclaimed, or the claim has expired.
    Nobody,
    /// Another process, until this time.
    Other(Duration),
    /// This process.
    Us,
}

impl Claim {
    /// Returns the holder of the claim on a request. `seen` is the claim that this process remembers.
    ///
    /// A claim holds for twice the time that a signature may take, by the clock of the observer: the first half to begin
    /// signing, the second for the answer.
    pub(super) fn holder(
        &self,
        request: &ObservedRequest,
        seen: &mut Option<Seen>,
        sign_timeout: Duration,
        now: Now,
    ) -> Holder {
        let holds = 2 * sign_timeout;
        let Some(condition) = request.condition(CONDITION) else {
            *seen = None;
            return Holder::Nobody;
        };
        let ours = condition.reason.as_deref() == Some(&self.identity);
        let known = seen
            .as_ref()
            .filter(|seen| **seen == Seen::new(condition, seen.at))
            .map(|seen| seen.at);
        match known {
            Some(at) if ours && now.monotonic < at + sign_timeout => Holder::Us,
            // Not remembered here, or too old to begin a signature within it.
            _ if ours => Holder::Nobody,
            Some(at) if now.monotonic >= at + holds => Holder::Nobody,
            Some(at) => Holder::Other(at + holds),
            None => {
                *seen = Some(Seen::new(condition, now.monotonic));
                Holder::Other(now.monotonic + holds)
            }
        }
    }

    /// Returns the condition that claims a request, and the claim to remember.
    pub(super) fn make(&self, request: &ObservedRequest, now: Now) -> (RequestCondition, Seen) {
        let before = request.condition(CONDITION).filter(|before| before.status == "True");
        let since = before.and_then(|before| before.last_transition_time.clone());
        let condition = RequestCondition {
            others: BTreeMap::new(),
            kind: CONDITION.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(since.unwrap_or_else(|| now.timestamp().to_string())),
            reason: Some(self.identity.clone()),
            message: Some(format!(
                "Being signed by {} (attempt {})",
                self.identity,
                request.version()
            )),
        };
        let seen = Seen::new(&condition, now.monotonic);
        (condition, seen)
    }
}

#[cfg(test)]
mod tests {
    use issuer_api::{CertificateRequest, CertificateRequestStatus};

    use super::*;
    use crate::fixture::at;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn claim(identity: &str) -> Claim {
        Claim {
            identity: identity.to_owned(),
        }
    }

    fn unclaimed() -> ObservedRequest {
        CertificateRequest::default().into()
    }

    fn claimed_by(identity: &str, now: Now) -> (ObservedRequest, Seen) {
        let (condition, seen) = claim(identity).make(&unclaimed(), now);
        let status = CertificateRequestStatus {
            conditions: vec![condition],
            ..Default::default()
        };
        let request = CertificateRequest {
            status: Some(status),
            ..Default::default()
        };
        (request.into(), seen)
    }

    #[test]
    fn own_claim_holds_half_its_time() {
        let (request, seen) = claimed_by("a", at(0));
        let mut seen = Some(seen);
        assert_eq!(claim("a").holder(&request, &mut seen, TIMEOUT, at(29)), Holder::Us);
        assert_eq!(claim("a").holder(&request, &mut seen, TIMEOUT, at(30)), Holder::Nobody);
    }

    #[test]
    fn forgotten_claim_is_not_ours() {
        let (request, _) = claimed_by("a", at(0));
        assert_eq!(claim("a").holder(&request, &mut None, TIMEOUT, at(1)), Holder::Nobody);
    }

    #[test]
    fn foreign_claim_holds_since_first_seen() {
        let (request, _) = claimed_by("a", at(0));
        let mut seen = None;
        let until = Duration::from_secs(160);
        assert_eq!(
            claim("b").holder(&request, &mut seen, TIMEOUT, at(100)),
            Holder::Other(until)
        );
        assert_eq!(
            claim("b").holder(&request, &mut seen, TIMEOUT, at(159)),
            Holder::Other(until)
        );
        assert_eq!(claim("b").holder(&request, &mut seen, TIMEOUT, at(160)), Holder::Nobody);
        let (renewed, _) = claimed_by("a", at(161));
        assert_eq!(
            claim("b").holder(&renewed, &mut seen, TIMEOUT, at(161)),
            Holder::Other(Duration::from_secs(221))
        );
    }

    #[test]
    fn renewed_claim_keeps_transition_time() {
        let (first, seen) = claimed_by("a", at(0));
        let since = |condition: &RequestCondition| condition.last_transition_time.clone();
        let (again, renewed) = claim("b").make(&first, at(90));
        assert_eq!(since(&again), first.condition(CONDITION).and_then(since));
        assert_ne!(renewed, Seen { at: renewed.at, ..seen });
    }

    #[test]
    fn times_of_the_api_server_change_no_claim() {
        let (condition, seen) = claim("a").make(&unclaimed(), at(0));
        let mut shown = condition;
        shown
            .others
            .insert("lastUpdateTime".to_owned(), "2026-01-01T00:00:00Z".into());
        let mut request = issuer_api::CertificateSigningRequest::default();
        request.status.get_or_insert_default().conditions.push(shown);
        assert_eq!(
            claim("a").holder(&request.into(), &mut Some(seen), TIMEOUT, at(1)),
            Holder::Us
        );
    }

    #[test]
    fn unclaimed_request_has_no_holder() {
        assert_eq!(
            claim("a").holder(&unclaimed(), &mut None, TIMEOUT, at(0)),
            Holder::Nobody
        );
    }
}
