//! Credentials are sent to their own origin only.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fake_vault::{Fault, Redirect};
use issuer_core::reconcile::Key;
use issuer_core::{Operation, Reply, Request};

use crate::drivers::Either;
use crate::world::{Login, Vault, World};

/// Listens and records every byte.
struct Trap {
    port: u16,
    caught: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let caught = Arc::<Mutex<Vec<_>>>::default();
        let all = Arc::clone(&caught);
        thread::spawn(move || {
            for stream in listener.incoming() {
                all.lock().unwrap().push(Vec::new());
                let mut bytes = Vec::new();
                // Whatever came before the connection broke was caught.
                let _ = stream.unwrap().read_to_end(&mut bytes);
                *all.lock().unwrap().last_mut().unwrap() = bytes;
            }
        });
        Self { port, caught }
    }

    /// Connects to itself, which shows that it works; nothing may have arrived before.
    fn assert_empty(&self, context: &str) {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap());
        while self.caught.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        assert_eq!(*self.caught.lock().unwrap(), [b""], "{context}");
    }
}

#[test]
fn no_credential_follows_a_redirect() {
    for driver in Either::both() {
        let trap = Trap::set();
        let vault = Vault::start(1);
        let away = [
            Redirect::Port {
                tls: false,
                port: trap.port,
            },
            Redirect::Port {
                tls: true,
                port: trap.port,
            },
            Redirect::Elsewhere,
        ];
        for login in Login::ALL {
            for operation in Operation::ALL {
                let mut world = World::new(&vault, login);
                let mut call = |_: &Key, request: Request| {
                    if request.operation == operation && vault.fake().faults_mut().scripted() > 0 {
                        let reply = driver.call(request).unwrap();
                        assert_eq!(reply.status(), 307);
                        return Ok(reply);
                    }
                    driver.call(request)
                };
                for to in away {
                    vault.fake().faults_mut().script(operation, Fault::Redirected(to));
                }
                world.request("web");
                world.run(&mut call, World::is_finished);
                if operation == Operation::Renew {
                    (0..4).for_each(|_| {
                        world.pass(Duration::MAX);
                        world.work(&mut call);
                    });
                }
                world.stop(&mut call);
                vault.fake().faults_mut().clear();
            }
        }
        trap.assert_empty(driver.name());
    }
}

/// Sends a request if its token was issued by its Vault.
fn guarded(driver: &Either, vaults: &[Vault; 2], tokens: &mut BTreeMap<String, String>, request: Request) -> Reply {
    let origin = request.connect.origin.to_string();
    if let Some(token) = request.http.headers().get("x-vault-token") {
        let token = token.to_str().unwrap();
        assert_eq!(
            tokens.get(token),
            Some(&origin),
            "{}, {}",
            request.operation.as_str(),
            driver.name()
        );
    }
    let reply = driver.call(request);
    for vault in vaults {
        let live = vault.fake().live_tokens(vault.server.now());
        tokens.extend(live.into_iter().map(|token| (token, vault.server.url())));
    }
    reply
}

/// An issuer's server is changed to another Vault, which may be down at first, at every step of its work: no token of one
/// Vault is sent to the other.
#[test]
fn tokens_stay_with_their_vault() {
    for driver in Either::both() {
        for login in Login::ALL.into_iter().filter(|login| *login != Login::Token) {
            for (moment, down) in (0..5).flat_map(|moment| [0, 2].map(|down| (moment, down))) {
                let vaults = [Vault::start(11), Vault::start(22)];
                for operation in [Operation::Health, Operation::Login].repeat(down) {
                    vaults[1].fake().faults_mut().script(operation, Fault::Unavailable);
                }
                let mut world = World::new(&vaults[0], login);
                world.request("web");
                let mut tokens = BTreeMap::new();
                let mut requests = 0;
                while !world.is_finished() {
                    let Some(mut open) = world.next() else {
                        world.pass(Duration::MAX);
                        continue;
                    };
                    loop {
                        requests += 1;
                        let reply = guarded(&driver, &vaults, &mut tokens, open.request);
                        if requests == moment {
                            world.edit(&vaults[1].spec(login));
                        }
                        let Some(next) = world.reply(open.task, reply) else {
                            break;
                        };
                        open = next;
                    }
                }
                let mut guarded = |_: &Key, request| guarded(&driver, &vaults, &mut tokens, request);
                let moved = |_: &World<'_>| vaults[1].fake().counts().logins > 0;
                world.run(&mut guarded, |world| moment == 0 || moved(world));
                world.stop(&mut guarded);
                for (vault, used) in vaults.iter().zip([true, moment > 0]) {
                    assert_eq!(vault.fake().counts().logins > 0, used, "{login:?} {moment}");
                    // Nothing is left but the token that no login made.
                    assert_eq!(
                        vault.fake().live_tokens(vault.server.now()).len(),
                        1,
                        "{login:?} {moment}"
                    );
                }
            }
        }
    }
}
