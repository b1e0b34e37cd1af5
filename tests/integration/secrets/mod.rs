//! No secret is printed, logged, counted or stored, whatever fault occurs.
//!
//! A panic prints the `Debug` or `Display` of values that are checked here. That `Secret` has neither is a compile-fail
//! test of `issuer_core::Secret`.

pub(crate) mod api;
mod canaries;
pub(crate) mod capture;

use std::fmt::Write as _;
use std::time::Duration;

use fake_vault::Fault;
use issuer_core::reconcile::Key;
use issuer_core::target::AllowedServers;
use issuer_core::{Connect, Identity, Limits, Operation, Request, Roots, Secret};
use issuer_kube::TextFormat;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use self::canaries::Canaries;
use self::capture::capture;
use crate::drivers::Either;
use crate::traces::Collector;
use crate::world::{AWS_SECRET, AWS_SESSION, JWT, Login, SECRET_ID, Vault, World};

/// The statuses with which a Vault may quote the request.
const STATUSES: [u16; 12] = [200, 202, 307, 400, 403, 404, 405, 412, 413, 429, 500, 503];

/// Returns all faults, or those that reveal the most about a login.
fn faults(login: Login) -> impl Iterator<Item = Fault> {
    let quoting = STATUSES.map(Fault::Reflected);
    // A reply that never comes tells nothing that a lost one does not.
    let others = Fault::ALL
        .into_iter()
        .filter(move |fault| login == Login::AppRole && *fault != Fault::Silent);
    others.chain(quoting)
}

/// Returns the secrets of a Vault and its issuers.
fn canaries(vault: &Vault) -> Canaries {
    let mut canaries = Canaries::default();
    add_secrets(&mut canaries, vault);
    canaries
}

fn add_secrets(canaries: &mut Canaries, vault: &Vault) {
    let key = PrivateKeyDer::from_pem_slice(vault.client.key_pem.as_bytes()).unwrap();
    // An EC key ends in its secret number, after the head of an OCTET STRING.
    let (head, number) = key.secret_der().split_last_chunk::<32>().unwrap();
    assert!(head.ends_with(&[0x04, 0x20]));
    canaries.add("private key", number);
    canaries.add("secret ID", SECRET_ID.as_bytes());
    canaries.add("JWT", JWT.as_bytes());
    canaries.add("AWS key", AWS_SECRET.as_bytes());
    canaries.add("AWS session token", AWS_SESSION.as_bytes());
    canaries.add("given token", vault.token.as_bytes());
}

/// Returns the state of a world as text.
fn printed(world: &World<'_>) -> String {
    let mut text = world.transcript.clone().unwrap_or_default();
    for patch in &world.patches {
        write!(text, "{patch:?}\n{}\n", patch.body).unwrap();
    }
    for outcome in &world.outcomes {
        write!(text, "{outcome:?}\n{}\n", outcome.1.as_str()).unwrap();
    }
    write!(text, "{:?}\n{:?}\n", world.events, world.cluster).unwrap();
    text + &world.metrics.encode(TextFormat::OpenMetrics)
}

/// Injects a fault into requests of a kind while an issuer becomes ready, signs, renews and is deleted. Returns whether
/// the fault occurred, and whether something was redacted.
fn one_fault(
    driver: &Either,
    vault: &Vault,
    canaries: &mut Canaries,
    login: Login,
    spoilt: (Operation, Fault),
) -> (bool, bool) {
    let (operation, fault) = spoilt;
    let mut tokens = Vec::new();
    let (text, logged) = capture(|| {
        let mut world = World::new(vault, login);
        // What is printed of the core does not depend on the driver.
        world.transcript = matches!(driver, Either::Blocking(_)).then(String::new);
        let mut call = |_: &Key, request: Request| {
            let reply = driver.call(request);
            tokens.extend(vault.fake().live_tokens(vault.server.now()));
            reply
        };
        vault.fake().faults_mut().script(operation, fault);
        world.request("web");
        world.run(&mut call, |world| world.is_finished() && world.is_ready());
        if login != Login::Token {
            world.pass(Duration::MAX);
            world.work(&mut call);
        }
        world.stop(&mut call);
        printed(&world)
    });
    let came_about = vault.fake().faults_mut().scripted() == 0;
    vault.fake().faults_mut().clear();
    tokens.iter().for_each(|token| canaries.add("token", token.as_bytes()));
    let context = format!("{login:?}, {fault:?} on {}, {}", operation.as_str(), driver.name());
    canaries.assert_none(&text, &format!("{context}: what it prints"));
    canaries.assert_none(&logged, &format!("{context}: what it logs"));
    (came_about, text.contains("[redacted]"))
}

fn every_fault(driver: &Either) {
    let vault = Vault::start(5);
    let mut canaries = canaries(&vault);
    let mut blanked = 0;
    for login in Login::ALL {
        let operations = match login {
            Login::AppRole => &Operation::ALL[..],
            Login::Token => &[Operation::Lookup, Operation::Sign],
            _ => &[Operation::Login, Operation::Renew],
        };
        for operation in operations {
            for fault in faults(login) {
                let (came_about, blanks) = one_fault(driver, &vault, &mut canaries, login, (*operation, fault));
                let expected = !(login == Login::AppRole && *operation == Operation::Lookup);
                assert_eq!(came_about, expected, "{login:?}, {fault:?} on {}", operation.as_str());
                blanked += usize::from(blanks);
            }
        }
    }
    assert!(blanked > 5, "the Vault quoted nothing: {blanked}");
}

#[test]
fn no_output_contains_a_secret_async() {
    every_fault(&Either::asynchronous());
}

#[test]
fn no_output_contains_a_secret_blocking() {
    every_fault(&Either::blocking());
}

/// The controller with kube's client, and two faults: the first answer with a secret is cut off, and Vault quotes the
/// request.
#[test]
fn no_secret_leaks_in_a_cluster() {
    let vaults = [Login::AppRole, Login::ServiceAccount].map(|login| (login, Vault::start(6)));
    let mut canaries = Canaries::default();
    for (_, vault) in &vaults {
        add_secrets(&mut canaries, vault);
        for status in [403, 400] {
            vault
                .fake()
                .faults_mut()
                .script(Operation::Sign, Fault::Reflected(status));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let collector = Collector::start();
    let (ended, logged) = capture(|| {
        let exporter = collector.exporter();
        let runs = vaults
            .iter()
            .map(|(login, vault)| api::run(vault, *login, Some(exporter.traces())));
        runtime.block_on(futures::future::join_all(runs))
    });
    for run in &ended {
        run.tokens
            .iter()
            .for_each(|token| canaries.add("token", token.as_bytes()));
    }
    canaries.assert_none(&logged, "what it logs");
    let spans = collector.spans();
    assert!(spans.len() > 8, "{spans:?}");
    canaries.assert_none(&format!("{spans:?}"), "what it exports");
    for run in &ended {
        canaries.assert_none(&run.text, "what it stores and counts");
        assert!(run.text.contains("[redacted]"), "{}", run.text);
        assert_eq!(run.tokens.len(), 2, "one is given, one was made");
    }
    for part in [
        "failed to read an object",
        "Not signed yet, it is tried again",
        "operation=\"sign\" status=403",
    ] {
        assert!(logged.contains(part), "{part}: {logged}");
    }
}

/// Every printable type that holds a secret.
#[test]
fn holders_of_secrets_print_none() {
    let vault = Vault::start(7);
    let canaries = canaries(&vault);
    let identity = Identity {
        certificate: vault.client.chain_pem.clone().into_bytes(),
        key: Secret::from(vault.client.key_pem.as_str()),
    };
    let connect = Connect {
        origin: issuer_core::Origin::parse(&vault.server.url()).unwrap(),
        allowed_servers: AllowedServers::All,
        proxy: None,
        server_name: None,
        roots: Roots::bundle(vault.server.ca_pem().into_bytes()),
        identity: Some(identity),
        limits: Limits::default(),
    };
    let mut token = http::HeaderValue::from_str(&vault.token).unwrap();
    token.set_sensitive(true);
    let body = issuer_core::Body::from(SECRET_ID.as_bytes().to_vec());
    let mut http = http::Request::new(body);
    http.headers_mut().insert("x-vault-token", token);
    let request = Request {
        connect: connect.into(),
        operation: Operation::Login,
        timeout: Limits::default().exchange,
        http,
    };
    let credentials = issuer_core::vault::Credentials::Token(Secret::from(vault.token.as_str()));
    let secret = issuer_core::access::SecretData {
        resource_version: "1".to_owned(),
        data: [("token".to_owned(), Secret::from(JWT))].into(),
        servers: None,
    };
    let printed = format!("{request:?} {request:#?} {credentials:?} {secret:?}");
    canaries.assert_none(&printed, "what is printed");
    for driver in Either::both() {
        let reply = driver.call(request.clone());
        let driver = match &driver {
            Either::Async(_, transport) => format!("{transport:?}"),
            Either::Blocking(driver) => format!("{driver:?}"),
        };
        canaries.assert_none(&format!("{driver} {reply:?}"), "what is printed of a driver");
    }
}
