//! The whole controller on both drivers, against a Vault that fails more than half of all requests.

use issuer_core::reconcile::Outcome;

use super::Either;
use crate::world::{Login, Vault, World};

/// The faults, each with its frequency per thousand requests: early 403, 412, 429 in three forms, 500, 503, 307, lost
/// reply, shuffled chain, extra fields.
const EACH: u16 = 50;
const REQUESTS: usize = 200;

#[test]
fn hostile_vault_delays_but_fails_none() {
    for driver in Either::both() {
        let vault = Vault::start(1);
        let mut world = World::new(&vault, Login::AppRole);
        let keys: Vec<_> = (0..REQUESTS)
            .map(|number| world.request(&format!("web-{number}")))
            .collect();
        vault.fake().faults_mut().hostile(7, EACH);
        let lost = match &driver {
            Either::Async(runtime, transport) => runtime.block_on(world.run_at_once(transport)),
            Either::Blocking(driver) => {
                let mut lost = 0;
                let mut call = |_: &_, request: issuer_core::Request| {
                    let signs = request.operation == issuer_core::Operation::Sign;
                    let reply = driver.call(request);
                    lost += u64::from(signs && reply.as_ref().is_err_and(|error| error.may_have_been_handled()));
                    reply
                };
                world.run(&mut call, World::is_finished);
                lost
            }
        };
        for key in &keys {
            assert_eq!(world.ready(key).0, "Issued", "{key}, {}", driver.name());
        }
        let issued = world
            .outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::Issued)
            .count();
        assert_eq!(issued, REQUESTS);
        assert!(lost > 0, "the Vault was not hostile");
        let signs = vault.fake().counts().signs;
        assert_eq!(signs, 200 + lost, "{}", driver.name());
    }
}
