//! Each check can fail: it finds a seeded bug.

use std::sync::Arc;
use std::time::Duration;

use issuer_core::reference::RequestKind;
use simulator::clock::Clock;
use simulator::explorer;
use simulator::fixture::{Flaw, RequestFixture};
use simulator::invariants;
use simulator::mutant::Mutant;
use simulator::prelude::*;
use simulator::promise::{self, Promise};
use simulator::world::{Invariant, Place, Setup};

/// The number of states within which a seeded bug must be found.
const LIMIT: usize = 20_000;

/// A seeded bug and the promises that it breaks.
struct SeededBug {
    mutant: Mutant,
    breaks: &'static [Promise],
    setup: fn() -> Setup,
}

const fn bug(mutant: Mutant, breaks: &'static [Promise], setup: fn() -> Setup) -> SeededBug {
    SeededBug { mutant, breaks, setup }
}

const BUGS: [SeededBug; 38] = [
    bug(Mutant::IgnoredGroup, &[promise::LEAVES_OTHERS_ALONE], foreign),
    bug(Mutant::IgnoredApproval, &[promise::SIGNS_ONLY_APPROVED], unapproved),
    bug(Mutant::FalseReady, &[promise::READY_MEANS_PROBED], troubled),
    bug(Mutant::ForeignSecret, &[promise::CREDENTIALS_OF_ISSUER], calm),
    bug(Mutant::MissedIssuers, &[promise::CONVERGES], calm),
    bug(Mutant::UnsavedStop, &[promise::STOP_SAVES_CERTIFICATES], stopped),
    bug(Mutant::EarlyRevocation, &[promise::GOOD_TOKEN_IS_KEPT], calm),
    bug(Mutant::EchoedMessage, &[promise::MESSAGES_ARE_CLEAN], calm),
    bug(
        Mutant::UnconditionalWrite,
        &[promise::CERTIFICATE_IS_FINAL, promise::WRITES_ARE_GUARDED],
        pair,
    ),
    bug(Mutant::LostMemory, &[promise::SIGNATURES_ARE_BOUNDED], denied),
    bug(Mutant::FalseFailure, &[promise::FAILS_ONLY_IF_REFUSED], orphaned),
    bug(Mutant::UnboundedReply, &[promise::REPLIES_ARE_BOUNDED], calm),
    bug(Mutant::MissedDeletes, &[promise::FINISHED_IS_FORGOTTEN], calm),
    bug(Mutant::IgnoredRetryAfter, &[promise::RETRY_AFTER_IS_HONORED], troubled),
    bug(Mutant::LeakedToken, &[promise::ONE_TOKEN], moved),
    bug(Mutant::WrongName, &[promise::CONTENTS_AS_REQUESTED], calm),
    bug(Mutant::RenewedTimes, &[promise::CONDITIONS_ARE_WELL_FORMED], calm),
    bug(Mutant::HiddenIssuerStatus, &[promise::STAYS_QUIET], calm),
    bug(Mutant::WrongServer, &[promise::CREDENTIALS_STAY_AT_ORIGIN], calm),
    bug(
        Mutant::SwappedCertificate,
        &[promise::CERTIFICATE_OF_UID, promise::KEY_OF_CSR],
        calm,
    ),
    bug(Mutant::PublishedToken, &[promise::SECRETS_STAY_SECRET], calm),
    bug(Mutant::MissingFailureTime, &[promise::DENIED_IS_FINAL], denied),
    bug(Mutant::IgnoredUses, &[promise::USES_ARE_FOR_SIGNING], limited),
    bug(Mutant::IgnoredLease, &[promise::LEASED_TOKEN_IS_KEPT], leased),
    bug(Mutant::IgnoredBuiltIn, &[promise::NEVER_BESIDE_BUILT_IN], beside),
    bug(Mutant::MissedAnswers, &[promise::NEVER_BESIDE_BUILT_IN], csrs_beside),
    bug(Mutant::TrustedManagedFields, &[promise::FORGERS_STOP_NO_KIND], forged),
    bug(Mutant::ForcedStatus, &[promise::READY_OF_OTHERS_IS_LEFT], overtaken),
    bug(Mutant::IgnoredLabels, &[promise::NAMESPACE_IS_SELECTED], unlabeled),
    bug(Mutant::UnreadLabels, &[promise::NAMESPACE_IS_SELECTED], unlabeled),
    bug(Mutant::UnaskedReference, &[promise::REQUESTER_MAY_REFERENCE], stranger),
    bug(Mutant::WiderAudience, &[promise::CREDENTIALS_OF_ISSUER], by_jwt),
    bug(Mutant::MisdirectedToken, &[promise::CREDENTIALS_STAY_AT_ORIGIN], by_aws),
    bug(Mutant::UncheckedWrapping, &[promise::UNWRAPPED_ONCE], wrapped),
    bug(Mutant::LostMemory, &[promise::UNWRAPPED_ONCE], wrapped),
    bug(Mutant::UnseenRefusal, &[promise::REFUSAL_STAYS_ITS_OWN], unadmitted),
    bug(Mutant::SharedRefusal, &[promise::REFUSAL_STAYS_ITS_OWN], unadmitted),
    bug(Mutant::LostMemory, &[promise::REFUSAL_STAYS_ITS_OWN], unadmitted),
];

/// One controller and one request, without faults.
fn calm() -> Setup {
    Setup {
        script: vec![CreateApproved(0)],
        reduced: true,
        ..Setup::new(vec![RequestFixture::good(Team)], &invariants::ALL)
    }
}

fn foreign() -> Setup {
    let request = RequestFixture {
        flaw: Flaw::Foreign,
        ..RequestFixture::good(Team)
    };
    Setup {
        script: vec![CreateApproved(0)],
        ..Setup::new(vec![request], &invariants::ALL)
    }
}

fn stranger() -> Setup {
    let request = RequestFixture {
        kind: RequestKind::CertificateSigningRequest,
        flaw: Flaw::Stranger,
        ..RequestFixture::good(Team)
    };
    Setup {
        requests: vec![request],
        ..calm()
    }
}

/// A namespace loses its labels, and has them again later, while its request is open.
fn unlabeled() -> Setup {
    Setup {
        issuers: &[Shared],
        requests: vec![RequestFixture::good(Shared)],
        script: vec![CreateApproved(0), UnlabelNamespace(0), LabelNamespace(0)],
        ..calm()
    }
}

fn by_jwt() -> Setup {
    Setup {
        issuers: &[Jwt],
        requests: vec![RequestFixture::good(Jwt)],
        ..calm()
    }
}

fn by_aws() -> Setup {
    Setup {
        issuers: &[Aws],
        requests: vec![RequestFixture::good(Aws)],
        ..calm()
    }
}

/// A secret ID is wrapped, and the write of a status may fail.
fn wrapped() -> Setup {
    Setup {
        issuers: &[Wrapped],
        requests: vec![RequestFixture::good(Wrapped)],
        faults: vec![Refused],
        max_faults: 1,
        ..calm()
    }
}

/// Admission may refuse a status, for good or for now, while another request waits for approval.
fn unadmitted() -> Setup {
    Setup {
        requests: vec![RequestFixture::good(Team); 2],
        script: vec![CreateApproved(0), Create(1)],
        faults: vec![Postponed, Unadmitted],
        max_faults: 1,
        ..calm()
    }
}

fn unapproved() -> Setup {
    Setup {
        script: vec![Create(0)],
        ..calm()
    }
}

fn denied() -> Setup {
    Setup {
        script: vec![CreateApproved(0), Deny(0)],
        ..calm()
    }
}

fn moved() -> Setup {
    Setup {
        script: vec![CreateApproved(0), MoveIssuer(Team)],
        ..calm()
    }
}

/// Certificates have leases, and the issuer moves to the other server when one is issued.
fn leased() -> Setup {
    Setup {
        leases: true,
        ..moved()
    }
}

/// A token that suffices for a hundred requests.
fn limited() -> Setup {
    Setup {
        token_uses: 100,
        ..calm()
    }
}

fn stopped() -> Setup {
    Setup {
        crashes: true,
        max_faults: 1,
        ..calm()
    }
}

fn troubled() -> Setup {
    Setup {
        faults: vec![Refused, Throttled],
        max_faults: 2,
        ..calm()
    }
}

/// The issuer does not exist, so the request waits.
fn orphaned() -> Setup {
    Setup {
        script: vec![DeleteIssuer(Team), CreateApproved(0)],
        ..calm()
    }
}

fn pair() -> Setup {
    Setup {
        processes: &[A, B],
        requests_only: true,
        prologue: vec![Start(A), User(CreateApproved(0))],
        script: Vec::new(),
        ..calm()
    }
}

/// Two requests to an issuer of cert-manager's, of which the built-in controller fails to sign one and
/// signs it later, perhaps while ours restarts.
fn beside() -> Setup {
    Setup {
        disruptions: vec![BuiltInFails(0), BuiltInSigns(0)],
        crashes: true,
        max_faults: 2,
        ..undisturbed("drop-in")
    }
}

/// Two Kubernetes CSRs to an issuer of cert-manager's, of which the built-in controller signs one.
fn csrs_beside() -> Setup {
    Setup {
        disruptions: vec![BuiltInSigns(0)],
        ..undisturbed("drop-in-csr")
    }
}

/// Two requests to an issuer of cert-manager's, of which a user forges one, and no built-in controller.
fn forged() -> Setup {
    Setup {
        disruptions: vec![Forge(0)],
        ..undisturbed("drop-in")
    }
}

/// An issuer of cert-manager's, whose condition Ready cert-manager writes too.
fn overtaken() -> Setup {
    Setup {
        disruptions: vec![WriteReady(DropIn)],
        ..undisturbed("drop-in-auto")
    }
}

/// A scope of the explorer without its faults.
fn undisturbed(scope: &str) -> Setup {
    Setup {
        faults: Vec::new(),
        crashes: false,
        max_faults: 1,
        ..simulator::scope::setup(scope).unwrap_or_else(calm)
    }
}

/// Returns `true` if the check of a promise, and no other, finds a violation.
fn breaks(promise: Promise, setup: Setup) -> bool {
    let setup = Setup {
        invariants: invariants::only(promise),
        ..setup
    };
    let report = explorer::explore(&Arc::new(setup), LIMIT);
    report.violations.contains_key(promise.number)
}

#[test]
fn each_mutant_breaks_its_promises() {
    for SeededBug {
        mutant,
        breaks: promises,
        setup,
    } in BUGS
    {
        for promise in promises {
            let number = promise.number;
            assert!(!breaks(*promise, setup()), "{number} is broken without {mutant:?}");
            let setup = Setup {
                mutant: Some(mutant),
                ..setup()
            };
            assert!(breaks(*promise, setup), "{mutant:?} does not break {number}");
        }
    }
}

/// An answer that appears on a Kubernetes CSR in the first minute may be of an earlier process, so it binds nobody.
#[test]
fn early_answers_to_csrs_bind_nobody() {
    for (ticks, expected) in [(1, false), (2, true)] {
        let start = [Start(A)].into_iter().chain([Tick(A); 2].into_iter().take(ticks));
        let setup = Setup {
            prologue: start.chain([0, 1].map(|number| User(CreateApproved(number)))).collect(),
            max_idle: 0,
            mutant: Some(Mutant::MissedAnswers),
            ..csrs_beside()
        };
        assert_eq!(breaks(promise::NEVER_BESIDE_BUILT_IN, setup), expected, "{ticks}");
    }
}

#[test]
fn slow_clock_outlives_its_token() {
    let setup = |rate| Setup {
        clocks: [Clock {
            rate,
            ..Clock::default()
        }; 2],
        token_ttl: Duration::from_secs(120),
        ..calm()
    };
    assert!(!breaks(promise::NO_EXPIRED_TOKEN, setup(0)));
    assert!(breaks(promise::NO_EXPIRED_TOKEN, setup(-900)));
}

/// A process may see several changes of an issuer at once, long after they were made.
#[test]
fn late_edits_are_counted() {
    let setup = |mutant| Setup {
        script: vec![EditIssuer(Team), EditIssuer(Team), EditIssuer(Team)],
        mutant,
        ..calm()
    };
    assert!(!breaks(promise::ONE_TOKEN, setup(None)));
    assert!(breaks(promise::ONE_TOKEN, setup(Some(Mutant::LeakedToken))));
}

#[test]
fn every_check_has_a_seeded_bug() {
    let found =
        |promise: Promise| promise == promise::NO_EXPIRED_TOKEN || BUGS.iter().any(|bug| bug.breaks.contains(&promise));
    for Invariant { promise, place } in &invariants::ALL {
        if !matches!(place, Place::Elsewhere(_) | Place::LongRun) {
            assert!(found(*promise), "no seeded bug for {}", promise.number);
        }
    }
}
