//! Logins of more than one step: what a lost part of one costs.

use std::sync::Arc;

use simulator::fixture::RequestFixture;
use simulator::invariants;
use simulator::prelude::*;
use simulator::world::{Setup, World};

/// Returns a world with one issuer, a request to it, and a running controller.
fn begun(issuers: &'static [IssuerId]) -> World {
    let requests = issuers.iter().map(|issuer| RequestFixture::good(*issuer)).collect();
    World::new(Arc::new(Setup {
        issuers,
        prologue: vec![Start(A), User(CreateApproved(0))],
        ..Setup::new(requests, &invariants::ALL)
    }))
}

/// Runs the world until a step is about to be answered, and loses the answer.
fn lose(world: &mut World, step: &str) {
    while let Some(next) = world.undisturbed() {
        if let (Answer(id, at), true) = (next, world.describe(next).ends_with(step)) {
            return assert!(world.step(Fail(id, at, Lost)).is_ok());
        }
        assert!(world.step(next).is_ok());
    }
    unreachable!("{step} is never answered")
}

/// Returns how many wrapping tokens the operator has made, and how many of them were used.
fn wrapping_tokens(world: &World) -> (usize, usize) {
    let made = world.record().wrapping.values();
    (made.len(), made.filter(|token| !token.unwrapped.is_empty()).count())
}

#[test]
fn one_wrapping_token_serves_changes() {
    let mut world = begun(&[Wrapped]);
    world.converge().unwrap();
    for change in [EditIssuer(Wrapped), MoveIssuer(Wrapped), TouchIssuer(Wrapped)] {
        world.step(User(change)).unwrap();
        world.converge().unwrap();
    }
    assert_eq!(wrapping_tokens(&world), (1, 1));
}

#[test]
fn restart_needs_another_wrapping_token() {
    let mut world = begun(&[Wrapped]);
    world.converge().unwrap();
    world.step(Crash(A)).unwrap();
    world.converge().unwrap();
    assert_eq!(wrapping_tokens(&world), (2, 2));
}

#[test]
fn lost_unwrap_needs_another_wrapping_token() {
    let mut world = begun(&[Wrapped]);
    lose(&mut world, "unwrap its secret ID");
    world.converge().unwrap();
    assert_eq!(wrapping_tokens(&world), (2, 2));
}

#[test]
fn lost_lookup_costs_no_wrapping_token() {
    let mut world = begun(&[Wrapped]);
    lose(&mut world, "look up its wrapping token");
    world.converge().unwrap();
    assert_eq!(wrapping_tokens(&world), (1, 1));
}

#[test]
fn lost_keys_of_aws_are_asked_for_again() {
    let mut world = begun(&[Aws]);
    lose(&mut world, "ask AWS for keys");
    assert_eq!(world.vault(0).logins(), 0);
    world.converge().unwrap();
    assert_eq!((world.vault(0).logins(), world.record().signs), (1, 1));
}
