//! Hostile and unusual servers: fake-vault over TLS, after it has been compared with the real Vault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake_vault::serve::{Options, Server};
use fake_vault::{
    AppRoleRole, AuthMethod, Authority, CaDefect, FakeVault, Fault, Pki, Policy, RetryAfter, Role, TokenParams,
    conformance,
};
use http::{Request, Response};
use issuer_core::{Body, Now, Operation};
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::vault::{self, Admin, text};
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// fake-vault gives the same answers as the real Vault.
pub(super) async fn conformance(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let (dir, binary) = {
        let local = test.env.local_servers().await?;
        (local.dir.join("conformance"), local.vault.binary().to_owned())
    };
    std::fs::create_dir_all(&dir)?;
    let fresh = vault::launch(&dir, binary).await?;
    for call in conformance::set_up() {
        fresh.admin.write(&call.path, call.body).await?;
    }
    // The model's root token is one that was made, as that of a server in dev mode is.
    let root = json!({ "policies": ["root"], "no_parent": true, "no_default_policy": true, "display_name": "token" });
    let root = fresh.admin.write("auth/token/create", root).await?;
    let admin = fresh.admin.with_token(&text(&root["auth"]["client_token"])?);
    let answers = tokio::task::spawn_blocking(move || {
        let mut failed = None;
        let shapes = conformance::run(admin.token(), &mut |request| {
            exchange(&admin, request).unwrap_or_else(|error| {
                failed = Some(error);
                Response::default()
            })
        });
        failed.map_or(Ok(shapes), Err)
    })
    .await??;
    let unix = Duration::from_secs(u64::try_from(jiff::Timestamp::now().as_second())?);
    let model = conformance::expected(Now { unix, ..Now::default() });
    ensure!(
        answers.len() == model.len(),
        "{} answers, {} in the model",
        answers.len(),
        model.len()
    );
    let differ = |((name, real), (_, model)): ((&str, conformance::Shape), (&str, conformance::Shape))| {
        (real != model).then(|| format!("{name}\n    Vault: {real}\n    model: {model}"))
    };
    let differing: Vec<String> = answers.into_iter().zip(model).filter_map(differ).collect();
    ensure!(
        differing.is_empty(),
        "the model differs from Vault:\n  {}",
        differing.join("\n  ")
    );
    Ok(())
}

fn exchange(admin: &Admin, request: Request<Body>) -> anyhow::Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("{}{}", admin.base(), parts.uri).parse()?;
    let mut response = admin
        .agent()
        .run(Request::from_parts(parts, body.as_bytes().to_vec()))?;
    let text = response.body_mut().read_to_vec()?;
    let (parts, _) = response.into_parts();
    Ok(Response::from_parts(parts, Body::from(text)))
}

/// Unusable answers to a signature are retried and wrong certificates are refused; either way the condition has the
/// cause.
pub(super) async fn answers(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let (limited, mismatch) = (Fault::RateLimited(RetryAfter::Seconds(1)), Err("CertificateMismatch"));
    let rows = [
        ("not-json", Fault::NotJson, Ok("VaultMisbehaved")),
        ("too-large", Fault::Huge, Ok("VaultUnreachable")),
        ("truncated", Fault::Cut(40), Ok("VaultUnreachable")),
        ("wrong-types", Fault::WrongTypes, Ok("VaultMisbehaved")),
        ("no-data", Fault::EmptyData, Ok("VaultMisbehaved")),
        ("deep-json", Fault::DeepJson, Ok("VaultMisbehaved")),
        ("no-content", Fault::NoContent, Ok("VaultMisbehaved")),
        ("proxy-page", Fault::Html, Ok("VaultUnavailable")),
        ("internal", Fault::InternalError, Ok("VaultUnavailable")),
        ("throttled", limited, Ok("VaultThrottled")),
        ("no-reply", Fault::Lost, Ok("VaultUnreachable")),
        ("another-key", Fault::Certificate(CaDefect::AnotherKey), mismatch),
        ("another-name", Fault::Certificate(CaDefect::AnotherName), mismatch),
        ("another-issuer", Fault::Certificate(CaDefect::AnotherIssuer), mismatch),
        ("a-ca", Fault::Certificate(CaDefect::CaCertificate), mismatch),
    ];
    test.secret("approle", &[("secretId", SECRET_ID)]).await?;
    let mut fakes = Vec::new();
    for (name, fault, outcome) in rows {
        let fake = Fake::start()?;
        test.issuer(name, fake.spec()).await?;
        fakes.push((name, fault, outcome, fake));
    }
    let csr = Csr::new(&Names {
        common_name: "www.example.com",
        dns: &["www.example.com"],
        ..Names::default()
    })?;
    for (name, fault, _, fake) in &fakes {
        test.ready(name, SOON).await?;
        fake.lock().faults_mut().script(Operation::Sign, *fault);
        test.request(
            name,
            &csr.pem,
            Ask {
                issuer: name,
                ..Ask::default()
            },
        )
        .await?;
    }
    for (name, _, outcome, _) in &fakes {
        match outcome {
            Ok(reason) => {
                test.event(name, reason).await?;
                test.issued(name, &csr, LATER).await?;
            }
            Err(reason) => {
                test.failed(name, "Failed").await?;
                test.event(name, reason).await?;
            }
        }
    }
    Ok(())
}

const SECRET_ID: &str = "c0ffee00-secret-id-of-a-fake";

/// A fake Vault that is served over TLS.
struct Fake {
    model: Arc<Mutex<FakeVault>>,
    server: Server,
}

impl Fake {
    fn start() -> anyhow::Result<Self> {
        let hour = Duration::from_secs(3600);
        let mut model = FakeVault::default();
        let pki = Pki::new(Authority::root("e2e fake root").intermediate("e2e fake intermediate"));
        model.enable_pki("pki", pki.role("web", Role::domain("example.com")));
        model.set_policy("web", Policy::update("pki/sign/web"));
        let role = AppRoleRole::new("web", SECRET_ID, TokenParams::policies(["web"]).ttl(hour, hour));
        model.enable_auth(
            "approle",
            AuthMethod::AppRole(BTreeMap::from([("web".to_owned(), role)])),
        );
        let model = Arc::new(Mutex::new(model));
        let server = Server::start(Arc::clone(&model), &Options::default()).context("no fake Vault")?;
        Ok(Self { model, server })
    }

    fn lock(&self) -> MutexGuard<'_, FakeVault> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec(&self) -> Value {
        json!({
            "server": self.server.url(),
            "caBundle": STANDARD.encode(self.server.ca_pem()),
            "path": "pki/sign/web",
            "auth": { "appRole": { "roleId": "web", "secretRef": { "name": "approle" } } },
        })
    }
}
