//! The elector against a Lease that is kept in memory.

use std::collections::HashSet;

use super::*;

const LEASE: u64 = 15;

fn at(seconds: u64) -> Now {
    // Another wall clock than that of `fixture::at`: no decision may depend on it.
    Now {
        monotonic: Duration::from_secs(seconds),
        unix: Duration::from_secs(1_800_000_000 + seconds),
    }
}

fn elector(identity: &str) -> Elector {
    Elector::new(identity.to_owned(), Timing::default(), 7)
}

/// A lease as the API server keeps it: every write needs the version it changes.
#[derive(Clone, Default, Debug)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

impl Server {
    fn create(&mut self, lease: Lease) -> Result<Lease, LeaseWriteError> {
        assert_eq!(lease.metadata.resource_version, None);
        if self.lease.is_some() {
            Err(LeaseWriteError::Conflict)
        } else {
            Ok(self.store(lease))
        }
    }

    fn update(&mut self, lease: Lease) -> Result<Lease, LeaseWriteError> {
        let current = self.lease.as_ref().and_then(|l| l.metadata.resource_version.clone());
        assert!(lease.metadata.resource_version.is_some());
        if lease.metadata.resource_version == current {
            Ok(self.store(lease))
        } else {
            Err(LeaseWriteError::Conflict)
        }
    }

    fn store(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    fn spec(&self) -> k8s_openapi::api::coordination::v1::LeaseSpec {
        self.lease.clone().unwrap().spec.unwrap()
    }

    /// Answers the elector at once until it waits, and returns until when and how many requests that took.
    fn settle(&mut self, elector: &mut Elector, now: Now) -> (Option<Duration>, u32) {
        for requests in 0.. {
            match elector.poll(now) {
                Step::Read(read) => read.resume(elector, now, Ok(self.lease.clone())),
                Step::Create(lease, write) => write.resume(elector, now, self.create(lease)),
                Step::Update(lease, write) => write.resume(elector, now, self.update(lease)),
                Step::Wait(until) => return (Some(until), requests),
                Step::Released => return (None, requests),
            }
        }
        unreachable!()
    }
}

#[test]
fn first_candidate_creates_and_renews() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    assert_eq!(server.settle(&mut a, at(100)), (Some(Duration::from_secs(102)), 2));
    assert!(a.is_leader(at(100)));
    let spec = server.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some("a"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.acquire_time, spec.renew_time);

    assert_eq!(server.settle(&mut a, at(102)), (Some(Duration::from_secs(104)), 1));
    let renewed = server.spec();
    assert_eq!(renewed.acquire_time, spec.acquire_time);
    assert!(renewed.renew_time > spec.renew_time);
    assert_eq!(renewed.lease_transitions, Some(0));
}

#[test]
fn leader_stops_at_the_renew_deadline() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let _ = server.settle(&mut a, at(0));
    assert!(a.is_leader(at(9)));
    assert!(!a.is_leader(at(10)));
    assert_eq!(a.held_until(), Duration::from_secs(10));
}

#[test]
fn leadership_counts_from_the_send() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let _ = server.settle(&mut a, at(0));
    let Step::Update(lease, write) = a.poll(at(2)) else {
        panic!("a renewal is due")
    };
    let answer = server.update(lease);
    write.resume(&mut a, at(8), answer);
    assert_eq!(a.held_until(), Duration::from_secs(12));
}

#[test]
fn unchanged_lease_is_taken_over() {
    let (mut server, mut a, mut b) = (Server::default(), elector("a"), elector("b"));
    let _ = server.settle(&mut a, at(0));
    let mut time = 5;
    loop {
        let (until, requests) = server.settle(&mut b, at(time));
        if b.is_leader(at(time)) {
            break;
        }
        assert_eq!(requests, 1, "a candidate only reads");
        assert!(
            until.unwrap() >= Duration::from_secs(time + 2),
            "not before the retry period"
        );
        time = until.unwrap().as_secs() + 1;
    }
    assert!((5 + LEASE..5 + LEASE + 6).contains(&time), "took over at {time}");
    assert_eq!(server.spec().lease_transitions, Some(1));
    assert_eq!(server.spec().holder_identity.as_deref(), Some("b"));

    // `a` wakes from a long pause: it does not lead, finds out by a conflict, and waits.
    assert!(!a.is_leader(at(time)));
    let (_, requests) = server.settle(&mut a, at(time));
    assert_eq!(requests, 2, "a refused renewal and a read");
    assert!(!a.is_leader(at(time)));
    assert_eq!(a.holder(), Some("b"));
}

#[test]
fn renewed_lease_is_never_taken() {
    let (mut server, mut a, mut b) = (Server::default(), elector("a"), elector("b"));
    for time in 0..200 {
        let mut skewed = at(time);
        skewed.unix = Duration::from_secs(1000);
        let _ = server.settle(&mut a, skewed);
        let _ = server.settle(&mut b, at(time));
        assert!(a.is_leader(at(time)) && !b.is_leader(at(time)));
    }
}

#[test]
fn release_hands_over_at_once() {
    let (mut server, mut a, mut b) = (Server::default(), elector("a"), elector("b"));
    let _ = server.settle(&mut a, at(0));
    a.release();
    assert!(!a.is_leader(at(0)));
    assert_eq!(server.settle(&mut a, at(1)), (None, 1));
    assert_eq!(server.spec().holder_identity.as_deref(), Some(""));
    assert_eq!(server.spec().lease_duration_seconds, Some(1));

    let _ = server.settle(&mut b, at(1));
    assert!(b.is_leader(at(1)));
    assert_eq!(server.spec().lease_transitions, Some(1));
}

#[test]
fn release_keeps_a_foreign_lease() {
    let (mut server, mut a, mut b) = (Server::default(), elector("a"), elector("b"));
    let _ = server.settle(&mut a, at(0));
    let _ = server.settle(&mut b, at(0));
    b.release();
    assert_eq!(server.settle(&mut b, at(100)), (None, 1));
    assert_eq!(server.spec().holder_identity.as_deref(), Some("a"));
}

#[test]
fn release_during_renewal_clears_lease() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let _ = server.settle(&mut a, at(0));
    let Step::Update(lease, write) = a.poll(at(2)) else {
        panic!("a renewal is due")
    };
    a.release();
    let answer = server.update(lease);
    write.resume(&mut a, at(3), answer);
    assert!(!a.is_leader(at(3)));
    assert_eq!(server.settle(&mut a, at(3)), (None, 1));
    assert_eq!(server.spec().holder_identity.as_deref(), Some(""));
}

#[test]
fn lost_reply_is_followed_by_a_read() {
    for applied in [false, true] {
        let (mut server, mut a) = (Server::default(), elector("a"));
        let _ = server.settle(&mut a, at(0));
        let Step::Update(lease, write) = a.poll(at(2)) else {
            panic!("a renewal is due")
        };
        if applied {
            let _ = server.update(lease);
        }
        write.resume(&mut a, at(5), Err(LeaseWriteError::Unanswered));
        assert_eq!(
            a.held_until(),
            Duration::from_secs(10),
            "only a confirmed write prolongs"
        );
        assert_eq!(server.settle(&mut a, at(7)), (Some(Duration::from_secs(9)), 2));
        assert_eq!(a.held_until(), Duration::from_secs(17));
    }
}

#[test]
fn missing_answer_is_followed_by_a_read() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let Step::Read(_) = a.poll(at(0)) else {
        panic!("the first step is to read")
    };
    assert_eq!(a.poll(at(1)), Step::Wait(Duration::from_secs(2)));
    let _ = server.settle(&mut a, at(2));
    assert!(a.is_leader(at(2)));
}

#[test]
fn conflicting_candidates_wait() {
    let (mut server, mut a, mut b) = (Server::default(), elector("a"), elector("b"));
    let Step::Read(read) = b.poll(at(0)) else {
        panic!("the first step is to read")
    };
    read.resume(&mut b, at(0), Ok(None));
    let _ = server.settle(&mut a, at(0));
    let Step::Create(lease, write) = b.poll(at(0)) else {
        panic!("there is no lease")
    };
    let answer = server.create(lease);
    write.resume(&mut b, at(0), answer);
    assert!(matches!(b.poll(at(0)), Step::Wait(until) if until >= Duration::from_secs(2)));
    assert!(!b.is_leader(at(0)));
}

#[test]
fn deleted_lease_is_created_again() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let _ = server.settle(&mut a, at(0));
    server.lease = None;
    let (_, requests) = server.settle(&mut a, at(2));
    assert_eq!(requests, 3, "a refused renewal, a read, a creation");
    assert!(a.is_leader(at(2)));
}

#[test]
fn foreign_fields_of_the_lease_are_kept() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let labels = [("app".to_owned(), "x".to_owned())].into();
    let metadata = ObjectMeta {
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    server.store(Lease {
        metadata: metadata.clone(),
        spec: None,
    });
    let _ = server.settle(&mut a, at(0));
    assert!(a.is_leader(at(0)));
    assert_eq!(server.lease.unwrap().metadata.labels, metadata.labels);
}

#[test]
fn seeds_spread_the_attempts() {
    let (mut server, mut a) = (Server::default(), elector("a"));
    let _ = server.settle(&mut a, at(0));
    let waits: HashSet<Duration> = (0..100)
        .map(|seed| {
            let mut b = Elector::new("b".to_owned(), Timing::default(), seed);
            server.settle(&mut b, at(0)).0.unwrap()
        })
        .collect();
    assert!(waits.len() > 90, "{} different waits", waits.len());
    let range = Duration::from_secs(2)..=Duration::from_millis(4400);
    assert!(waits.iter().all(|wait| range.contains(wait)), "{waits:?}");
}

#[test]
fn unsafe_timings_are_refused() {
    let timing = |lease, renew, retry| {
        Timing::new(
            Duration::from_millis(lease),
            Duration::from_millis(renew),
            Duration::from_millis(retry),
        )
    };
    assert_eq!(timing(15_000, 10_000, 2_000), Ok(Timing::default()));
    assert_eq!(timing(10_000, 10_000, 2_000), Err(TimingError::Lease));
    assert_eq!(
        timing(10_900, 10_500, 2_000),
        Err(TimingError::Lease),
        "whole seconds count"
    );
    assert_eq!(timing(15_000, 2_400, 2_000), Err(TimingError::Renew));
    assert_eq!(timing(15_000, 10_000, 0), Err(TimingError::Retry));
}

mod exploration;

#[test]
fn metadata_write_postpones_no_takeover() {
    let (mut server, mut a, mut b) = (Server::default(), elector("a"), elector("b"));
    server.settle(&mut a, at(0));
    server.settle(&mut b, at(0));
    let takeover = (1..60).find(|second| {
        let mut lease = server.lease.clone().unwrap();
        lease.metadata.annotations = Some([("touched".to_owned(), second.to_string())].into());
        server.store(lease);
        server.settle(&mut b, at(*second));
        b.is_leader(at(*second))
    });
    assert!((LEASE..LEASE + 6).contains(&takeover.unwrap()), "{takeover:?}");
}
