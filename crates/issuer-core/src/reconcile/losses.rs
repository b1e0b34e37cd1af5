//! Attribution of lost answers: the issuer's fault or the request's.

use std::time::Duration;

/// The answers that an issuer has lost since it last signed, although its checks succeed.
///
/// A request that keeps losing answers is at fault, unless several requests lose answers and none is signed: then the
/// endpoint fails in a way that no check sees, such as a key that is out of reach.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Losses {
    /// The number of requests that have lost one, up to [`MANY`](Self::MANY).
    requests: u8,
    /// Since when the issuer has been to blame.
    since: Option<Duration>,
    /// The last time that was given to a request for its next attempt.
    attempt: Duration,
    /// The number of signatures.
    signatures: u64,
    /// Whether requests wait that were found to be without fault.
    wait: bool,
}

/// Who is to blame for a lost answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The issuer; the request may be tried again at this time.
    Issuer(Duration),
    /// The request.
    Request,
}

impl Losses {
    /// The number of distinct requests from which on the issuer is to blame.
    const MANY: u8 = 3;

    /// The time between two attempts with requests that have lost an answer while the issuer is to blame: so many waiting
    /// requests cost no more than a few, and the end of the fault is noticed soon.
    const PAUSE: Duration = Duration::from_secs(15);

    /// The time after which a fault of the issuer is worth a warning.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// Returns the number of signatures, by which a request remembers when it last lost an answer.
    pub(super) fn signatures(&self) -> u64 {
        self.signatures
    }

    /// Records that a request has lost an answer; `before` is the number of signatures when it last did.
    ///
    /// That others were signed since is evidence against the request.
    pub(super) fn record(&mut self, before: Option<u64>, now: Duration) -> Blame {
        // A request counts once for each stretch without a signature.
        if before != Some(self.signatures) && self.requests < Self::MANY {
            self.requests += 1;
        }
        let others_signed = before.is_some_and(|before| before < self.signatures);
        if self.requests < Self::MANY || others_signed {
            return Blame::Request;
        }
        self.since.get_or_insert(now);
        self.wait = true;
        self.attempt = self.attempt.max(now) + Self::PAUSE;
        Blame::Issuer(self.attempt)
    }

    /// Records a signature; returns `true` if it shows that a fault of the issuer is over: the request is one that had
    /// lost an answer.
    pub(super) fn signed(&mut self, had_lost: bool) -> bool {
        self.forget();
        self.signatures += 1;
        had_lost && std::mem::take(&mut self.wait)
    }

    /// Forgets the losses, which say nothing about another endpoint.
    pub(super) fn forget(&mut self) {
        (self.requests, self.since, self.attempt) = (0, None, Duration::ZERO);
    }

    /// Returns `true` if the issuer has not signed for so long that its users should know.
    pub(super) fn is_worth_a_warning(&self, now: Duration) -> bool {
        self.since.is_some_and(|since| now >= since + Self::PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn few_losses_blame_the_request() {
        let mut losses = Losses::default();
        for second in 0..9 {
            // Two requests in turn.
            let before = (second > 1).then(|| losses.signatures());
            assert_eq!(losses.record(before, s(second)), Blame::Request);
        }
        assert!(!losses.is_worth_a_warning(s(9999)));
    }

    #[test]
    fn many_losses_blame_the_issuer() {
        let mut losses = Losses::default();
        losses.record(None, s(0));
        losses.record(None, s(0));
        assert_eq!(losses.record(None, s(1)), Blame::Issuer(s(16)));
        assert_eq!(losses.record(Some(0), s(2)), Blame::Issuer(s(31)));
        assert_eq!(losses.record(None, s(100)), Blame::Issuer(s(115)));
        assert!(!losses.is_worth_a_warning(s(120)) && losses.is_worth_a_warning(s(121)));
        assert!(losses.signed(true) && !losses.signed(true));
        assert!(!losses.is_worth_a_warning(s(9999)));
    }

    #[test]
    fn signature_of_another_is_evidence() {
        let mut losses = Losses::default();
        for _ in 0..4 {
            losses.record(None, s(0));
        }
        assert!(!losses.signed(false));
        for _ in 0..4 {
            assert_eq!(losses.record(Some(0), s(1)), Blame::Request);
        }
        assert_eq!(losses.record(Some(1), s(2)), Blame::Issuer(s(17)));
    }
}
