//! Credentials go to the origin that they are for, and nowhere else.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use fake_vault::{Fault, Redirect};
use issuer_core::reconcile::Key;
use issuer_core::{Operation, Request};

use crate::drivers::Either;
use crate::world::{Login, Vault, World};

/// Listens, and keeps every byte that comes.
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

    /// Connects itself, which shows that it works; nothing may have come before.
    fn assert_empty(&self, context: &str) {
        drop(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap());
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
            Redirect::Port { tls: false, port: trap.port },
            Redirect::Port { tls: true, port: trap.port },
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
                away.map(|to| vault.fake().faults_mut().script(operation, Fault::Redirected(to)));
                world.request("web");
                world.run(&mut call, World::is_finished);
                if operation == Operation::Renew {
                    (0..4).for_each(|_| {
                        world.pass(std::time::Duration::MAX);
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

/// An issuer is pointed from one Vault to another and back, at every moment of its work: what one has handed out or
/// was told never comes to the other.
#[test]
fn no_token_goes_to_another_vault() {
    for driver in Either::both() {
        for login in Login::ALL {
            for moment in 0..8 {
                let vaults = [Vault::start(11), Vault::start(22)];
                let mut world = World::new(&vaults[0], login);
                world.request("web");
                let mut tokens: Vec<(String, String)> = Vec::new();
                let mut requests = 0;
                while !world.is_finished() {
                    let Some(mut open) = world.next() else {
                        world.pass(std::time::Duration::MAX);
                        continue;
                    };
                    loop {
                        if requests == moment {
                            world.edit(&vaults[1].spec(login));
                        }
                        requests += 1;
                        let origin = open.request.connect.origin.to_string();
                        let token = open.request.http.headers().get("x-vault-token");
                        let token = token.map(|token| token.to_str().unwrap().to_owned());
                        if let Some(token) = token {
                            let known = tokens.iter().find(|(known, _)| *known == token);
                            assert!(
                                login == Login::Token || known.is_some_and(|(_, from)| *from == origin),
                                "{login:?} {moment}, {}",
                                driver.name()
                            );
                        }
                        let reply = driver.call(open.request.clone());
                        tokens.extend(vaults.iter().flat_map(|vault| {
                            let from = vault.server.url();
                            let live = vault.fake().live_tokens(vault.server.now());
                            live.into_iter().map(move |token| (token, from.clone()))
                        }));
                        let Some(next) = world.take(open, reply) else { break };
                        open = next;
                    }
                }
                assert!(requests > moment, "{login:?} {moment}");
            }
        }
    }
}
