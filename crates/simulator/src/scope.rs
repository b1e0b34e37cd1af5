//! The scopes of the explorer.

use issuer_core::reconcile::{Config, DropIn, IssuerStatusMode};
use issuer_core::reference::RequestKind;

use crate::fixture::{Flaw, IssuerId, RequestFixture};
use crate::invariants;
use crate::transition::UserAction::{
    BuiltInFails, BuiltInSigns, CreateApproved, Delete, DeleteIssuer, Deny, EditIssuer, Forge, LabelNamespace,
    MoveIssuer, Recreate, Rotate, Touch, TouchIssuer, UnlabelNamespace, WriteReady,
};
use crate::transition::{ProcessId, StepFault, Transition};
use crate::world::Setup;

/// A part of all behavior that is small enough to be explored completely.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// A description of its contents.
    pub about: &'static str,
    /// The number of its states.
    pub states: usize,
    /// The setup of its world.
    pub setup: fn() -> Setup,
}

impl Scope {
    /// Compares the number of states that were reached with all faults of the scope with the expected one.
    ///
    /// # Errors
    ///
    /// Says what to change if they differ.
    pub fn expect(&self, states: usize) -> Result<(), String> {
        let Self {
            name, states: expected, ..
        } = self;
        if states == *expected {
            return Ok(());
        }
        Err(format!(
            "{name} has {states} states, not {expected}: if this is meant, change the number in crates/simulator/src/scope.rs and \
             in the table of crates/simulator/README.md"
        ))
    }
}

/// Every scope.
pub const ALL: [Scope; 17] = [
    Scope {
        name: "start",
        about: "one controller from its start, one request; at most 1 fault, of any kind",
        states: 54_757,
        setup: start,
    },
    Scope {
        name: "check",
        about: "the same; at most 2 faults: a lost, late or refused answer, revoked tokens, a sealed Vault, a crash, a stop, \
                a broken watch",
        states: 669_366,
        setup: check,
    },
    Scope {
        name: "pair",
        about: "one request, two concurrent controllers; at most 3 faults: a crash, a stop, a lost or late answer, a broken \
                watch, a sealed Vault",
        states: 5_470_116,
        setup: pair,
    },
    Scope {
        name: "claimed",
        about: "the same with claims, so an overlap costs no signature; at most 2 faults",
        states: 452_215,
        setup: claimed,
    },
    Scope {
        name: "user-changes",
        about: "one request, two concurrent controllers; at most 2 faults, of eight kinds or by users",
        states: 2_959_366,
        setup: user_changes,
    },
    Scope {
        name: "shared",
        about: "two requests that share an access, one controller; at most 2 faults, of any kind",
        states: 150_836,
        setup: shared,
    },
    Scope {
        name: "poison",
        about: "a good request beside one that Vault cannot sign, one controller; at most 1 fault, of any kind",
        states: 9_160,
        setup: poison,
    },
    Scope {
        name: "unsaved",
        about: "a good request beside one that Vault refuses, one controller from its start; at most 5 faults: statuses that \
                admission refuses, for good or for now",
        states: 48_746,
        setup: unsaved,
    },
    Scope {
        name: "csr",
        about: "two Kubernetes CSRs, of which one is of a requester without permission, one controller; at most 1 fault, of \
                any kind or by users",
        states: 3_681,
        setup: csr,
    },
    Scope {
        name: "namespaces",
        about: "a request to a cluster issuer that selects namespaces by labels, one controller; at most 2 faults, of any kind, \
                or changes of the labels",
        states: 13_555,
        setup: namespaces,
    },
    Scope {
        name: "aws",
        about: "a request to an issuer that logs in with keys that AWS gives to its service account, one controller; at most 1 \
                fault, of any kind or by users",
        states: 50_392,
        setup: aws,
    },
    Scope {
        name: "wrapped",
        about: "a request to an issuer whose secret ID Vault hands out once, one controller; at most 1 fault: a lost, late or \
                refused answer, revoked tokens, a crash, a stop, a rotation, or another path; an operator rotates the secret ID \
                where the condition asks for it",
        states: 34_790,
        setup: wrapped,
    },
    Scope {
        name: "drop-in",
        about: "two requests to an issuer of cert-manager's, one controller; at most 2 faults: a lost, late or refused answer, \
                a crash, an act of the built-in controller, which from the first one on signs what waits, or of a user who forges \
                one",
        states: 35_616,
        setup: drop_in,
    },
    Scope {
        name: "drop-in-csr",
        about: "the same with two Kubernetes CSRs, which mostly have no managed fields",
        states: 23_917,
        setup: drop_in_csr,
    },
    Scope {
        name: "drop-in-auto",
        about: "the condition Ready of an issuer of cert-manager's, which cert-manager may write too; at most 2 faults, of any \
                kind",
        states: 14_233,
        setup: || ready_of(IssuerStatusMode::Auto),
    },
    Scope {
        name: "drop-in-own",
        about: "the same, where the condition is taken over",
        states: 39_628,
        setup: || ready_of(IssuerStatusMode::Own),
    },
    Scope {
        name: "drop-in-leave",
        about: "the same, where the condition is left alone",
        states: 3_392,
        setup: || ready_of(IssuerStatusMode::Leave),
    },
];

/// Returns the setup of a scope.
pub fn setup(name: &str) -> Option<Setup> {
    let scope = ALL.into_iter().find(|scope| scope.name == name)?;
    Some((scope.setup)())
}

fn scope(requests: u16, processes: &'static [ProcessId], max_faults: u8) -> Setup {
    let fixtures = (0..requests).map(|_| RequestFixture::good(IssuerId::Team)).collect();
    Setup {
        processes,
        script: (0..requests).map(CreateApproved).collect(),
        faults: StepFault::ALL.to_vec(),
        crashes: true,
        reduced: true,
        max_faults,
        ..Setup::new(fixtures, &invariants::ALL)
    }
}

/// Returns a setup in which a controller is running, requests are approved, and issuers are not explored.
fn running(requests: u16, processes: &'static [ProcessId], max_faults: u8) -> Setup {
    let created = (0..requests).map(|number| Transition::User(CreateApproved(number)));
    Setup {
        requests_only: true,
        prologue: [Transition::Start(ProcessId::A)].into_iter().chain(created).collect(),
        script: Vec::new(),
        max_lag: 2,
        max_idle: 1,
        ..scope(requests, processes, max_faults)
    }
}

/// Returns a setup in which cert-manager's issuer is served.
fn serving(issuer_status: IssuerStatusMode, setup: Setup) -> Setup {
    let drop_in = DropIn {
        cluster_resource_namespace: "cert-manager".to_owned(),
        issuer_status,
    };
    Setup {
        config: Config {
            drop_in: Some(drop_in),
            ..setup.config
        },
        issuers: &[IssuerId::DropIn],
        requests: vec![RequestFixture::good(IssuerId::DropIn); setup.requests.len()],
        ..setup
    }
}

fn drop_in() -> Setup {
    let running = running(2, &[ProcessId::A], 2);
    // What the built-in controller writes at once may be from before the switch.
    let start = [Transition::Start(ProcessId::A), Transition::Tick(ProcessId::A)];
    let created = (0..2).map(|number| Transition::User(CreateApproved(number)));
    Setup {
        prologue: start.into_iter().chain(created).collect(),
        disruptions: vec![
            BuiltInFails(0),
            BuiltInSigns(0),
            BuiltInSigns(1),
            Forge(0),
            DeleteIssuer(IssuerId::DropIn),
        ],
        faults: vec![
            StepFault::CrashAfter,
            StepFault::Lost,
            StepFault::Refused,
            StepFault::Slow,
        ],
        ..serving(IssuerStatusMode::Auto, running)
    }
}

fn drop_in_csr() -> Setup {
    let request = RequestFixture {
        kind: RequestKind::CertificateSigningRequest,
        ..RequestFixture::good(IssuerId::DropIn)
    };
    let mut setup = drop_in();
    // In the first minute, an answer may be of an earlier process.
    setup.prologue.insert(1, Transition::Tick(ProcessId::A));
    setup.requests = vec![request; 2];
    setup.config.kubernetes_csrs = true;
    setup
}

fn ready_of(mode: IssuerStatusMode) -> Setup {
    Setup {
        disruptions: vec![WriteReady(IssuerId::DropIn), DeleteIssuer(IssuerId::DropIn)],
        ..serving(mode, scope(0, &[ProcessId::A], 2))
    }
}

fn start() -> Setup {
    Setup {
        disruptions: vec![
            Deny(0),
            Delete(0),
            Recreate(0),
            Touch(0),
            TouchIssuer(IssuerId::Team),
            EditIssuer(IssuerId::Team),
            MoveIssuer(IssuerId::Team),
            Rotate(IssuerId::Team),
            DeleteIssuer(IssuerId::Team),
        ],
        ..scope(1, &[ProcessId::A], 1)
    }
}

fn check() -> Setup {
    Setup {
        faults: vec![
            StepFault::Lost,
            StepFault::Refused,
            StepFault::Revoked,
            StepFault::Sealed,
            StepFault::Slow,
        ],
        ..scope(1, &[ProcessId::A], 2)
    }
}

fn pair() -> Setup {
    Setup {
        faults: vec![
            StepFault::CrashAfter,
            StepFault::Lost,
            StepFault::Sealed,
            StepFault::Slow,
        ],
        ..running(1, &ProcessId::ALL, 3)
    }
}

fn claimed() -> Setup {
    Setup {
        claims: true,
        max_faults: 2,
        ..pair()
    }
}

fn user_changes() -> Setup {
    Setup {
        disruptions: vec![
            Deny(0),
            Recreate(0),
            Touch(0),
            EditIssuer(IssuerId::Team),
            DeleteIssuer(IssuerId::Team),
        ],
        faults: vec![
            StepFault::Broken,
            StepFault::CrashAfter,
            StepFault::Lost,
            StepFault::Refused,
            StepFault::Revoked,
            StepFault::Sealed,
            StepFault::Slow,
            StepFault::WrongKey,
        ],
        // Each of its states has so many faults that more would take over 4 GiB.
        fault_batch: 32,
        ..running(1, &ProcessId::ALL, 2)
    }
}

fn shared() -> Setup {
    running(2, &[ProcessId::A], 2)
}

fn poison() -> Setup {
    let poisoned = RequestFixture {
        flaw: Flaw::Broken,
        ..RequestFixture::good(IssuerId::Team)
    };
    Setup {
        requests: vec![RequestFixture::good(IssuerId::Team), poisoned],
        ..running(2, &[ProcessId::A], 1)
    }
}

/// A certificate is given up at the fourth refusal of its status, and the fifth is that of the failure.
fn unsaved() -> Setup {
    let refused = RequestFixture {
        flaw: Flaw::Refused,
        ..RequestFixture::good(IssuerId::Team)
    };
    Setup {
        requests: vec![RequestFixture::good(IssuerId::Team), refused],
        faults: vec![StepFault::Postponed, StepFault::Unadmitted],
        crashes: false,
        ..scope(2, &[ProcessId::A], 5)
    }
}

fn namespaces() -> Setup {
    Setup {
        issuers: &[IssuerId::Shared],
        requests: vec![RequestFixture::good(IssuerId::Shared)],
        disruptions: vec![
            LabelNamespace(0),
            UnlabelNamespace(0),
            Recreate(0),
            EditIssuer(IssuerId::Shared),
        ],
        ..running(1, &[ProcessId::A], 2)
    }
}

fn aws() -> Setup {
    Setup {
        issuers: &[IssuerId::Aws],
        requests: vec![RequestFixture::good(IssuerId::Aws)],
        disruptions: vec![
            EditIssuer(IssuerId::Aws),
            MoveIssuer(IssuerId::Aws),
            DeleteIssuer(IssuerId::Aws),
        ],
        ..scope(1, &[ProcessId::A], 1)
    }
}

fn wrapped() -> Setup {
    Setup {
        issuers: &[IssuerId::Wrapped],
        requests: vec![RequestFixture::good(IssuerId::Wrapped)],
        disruptions: vec![Rotate(IssuerId::Wrapped), EditIssuer(IssuerId::Wrapped)],
        faults: vec![StepFault::Lost, StepFault::Refused, StepFault::Revoked, StepFault::Slow],
        ..scope(1, &[ProcessId::A], 1)
    }
}

fn csr() -> Setup {
    let request = RequestFixture {
        kind: RequestKind::CertificateSigningRequest,
        ..RequestFixture::good(IssuerId::Team)
    };
    let stranger = RequestFixture {
        flaw: Flaw::Stranger,
        ..request
    };
    let mut setup = Setup {
        requests: vec![request, stranger],
        disruptions: vec![Delete(0), Recreate(0), Touch(0)],
        ..running(2, &[ProcessId::A], 1)
    };
    setup.config.kubernetes_csrs = true;
    setup
}
