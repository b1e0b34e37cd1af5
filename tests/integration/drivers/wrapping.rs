//! A wrapped secret ID on both drivers: it is unwrapped once, and kept while the controller runs.

use issuer_core::Request;
use issuer_core::reconcile::Key;

use super::Either;
use crate::world::{Login, Vault, World, issuer};

/// Returns a world whose issuer has this wrapping token.
fn world<'v>(vault: &'v Vault, token: &str) -> World<'v> {
    let mut world = World::new(vault, Login::WrappedAppRole);
    world.set_secret("vault-wrapped", "secretId", token);
    world
}

#[test]
fn wrapping_token_is_spent_once() {
    for driver in Either::both() {
        let name = driver.name();
        let vault = Vault::start(2);
        let token = vault.wrap_secret_id();
        let mut call = |_: &Key, request: Request| driver.call(request);
        let mut first = world(&vault, &token);
        for request in ["web", "again"] {
            let key = first.request(request);
            first.run(&mut call, World::is_finished);
            assert_eq!(first.ready(&key).0, "Issued", "{name}");
            // The next login uses the secret ID that was unwrapped.
            vault.fake().revoke_all();
        }
        assert_eq!(vault.fake().counts().logins, 2, "{name}");

        // The next controller has a spent token, until it is given another.
        let mut second = world(&vault, &token);
        let key = second.request("later");
        second.work(&mut call);
        let reason = |world: &World<'_>| {
            let issuer = world.cluster.get(&issuer()).unwrap();
            issuer.ready().map(|ready| ready.reason.clone())
        };
        assert_eq!(reason(&second).as_deref(), Some("WrappingTokenSpent"), "{name}");
        second.set_secret("vault-wrapped", "secretId", &vault.wrap_secret_id());
        second.run(&mut call, World::is_finished);
        assert_eq!(second.ready(&key).0, "Issued", "{name}");
    }
}
