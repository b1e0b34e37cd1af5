//! The production state machines in a simulated cluster, with every failure that can be thought of.

pub mod digest;
pub mod event;
pub mod explorer;
pub mod fact;
pub mod fixture;
pub mod invariants;
mod memory;
pub mod mutant;
pub mod process;
pub mod record;
pub mod scenario;
pub mod scope;
pub mod vault;
pub mod world;

use std::sync::Arc;

use event::Event;
use invariants::Violation;
use world::{Setup, World};

/// What a printed trace is made of.
pub mod prelude {
    pub use crate::event::Act::{self, *};
    pub use crate::event::Event::{self, *};
    pub use crate::event::Fault::{self, *};
    pub use crate::event::Who::{self, A, B};
    pub use crate::fixture::IssuerId::{self, Other, Shared, Team};
    pub use fake_kube::Kind::{self, ClusterIssuers, Issuers, Requests};
}

/// Lets a trace happen in a new world, leaves it alone until it is at rest, and watches a day pass.
///
/// Returns the world then, or what is wrong.
pub fn replay(setup: &Setup, trace: &[Event]) -> Result<World, Violation> {
    let mut world = World::new(Arc::new(setup.clone()));
    trace.iter().try_for_each(|event| world.step(*event))?;
    world.come_to_rest()?;
    world.watch_a_day()?;
    Ok(world)
}
