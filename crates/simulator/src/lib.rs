//! The production controller in a simulated cluster, with every failure at every moment.
//!
//! ```text
//! fake-kube   fake-vault   clock        users and faults
//!      \          |          |                 |
//!       +------ world: performs one transition after the other ------+
//!                 |                                                  |
//!             observations --> invariants: the promises, checked at each
//! ```
//!
//! - [`world`] is a plain value: one or two controllers, a cluster, two Vault servers, and the virtual time. A
//!   [`Transition`](transition::Transition) leads from one state to the next.
//! - [`explorer`] reaches every state of a [`scope`], with all faults up to a number.
//! - [`scenario`] performs long runs with thousands of requests, by random seeds, and runs with promised figures.
//! - [`invariants`] checks the [promises](promise); each [`mutant`] is a seeded bug that a check must find.
//!
//! The world does not know its checks: they are part of its [`Setup`](world::Setup).

mod aws;
mod cache;
pub mod clock;
pub mod digest;
pub mod explorer;
pub mod fixture;
pub mod invariants;
mod log;
pub mod login;
pub mod mutant;
pub mod observation;
pub mod process;
pub mod promise;
pub mod record;
pub mod scenario;
pub mod scope;
pub mod transition;
pub mod vault;
pub mod world;

pub use explorer::replay;

/// The names in a printed trace.
pub mod prelude {
    pub use fake_kube::Kind::{self, ClusterIssuers, Csrs, DropInIssuers, Issuers, Requests};

    pub use crate::fixture::IssuerId::{self, Aws, DropIn, Jwt, Other, Shared, Team, Wrapped};
    pub use crate::transition::ProcessId::{self, A, B};
    pub use crate::transition::StepFault::{self, *};
    pub use crate::transition::Transition::{self, *};
    pub use crate::transition::UserAction::{self, *};
}
