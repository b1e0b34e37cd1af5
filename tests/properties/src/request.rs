//! Properties of the controller for any `CertificateRequest`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake_vault::{AppRoleRole, AuthMethod, Authority, FakeVault, Pki, Policy, Role, TokenParams};
use issuer_api::{AppRole as Login, Auth, CertificateRequest, SecretKeySelector, VaultSpec};
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{Change, Claim, Config, Controller, Key, ObservedIssuer, StatusPatch, Step, WriteError};
use issuer_core::reference::{IssuerKey, IssuerKind, ListScope, RequestKind};
use issuer_core::{Now, Operation, Secret};
use serde_json::Value;
use simulator::world::Setup;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::prelude::FromDer;

use crate::fixture::{NOW, signatures};
use crate::issuer::{issuer, key};
use crate::text::assert_shown;

/// The number of turns after everything else is done.
const ROUNDS: u8 = 12;

/// A `CertificateRequest`, JSON: it is signed at most once, only if it is approved, pending and ours; status writes
/// carry its uid and keep the fields of others.
///
/// The length of the input selects the result of the first status write, and whether requests are claimed.
pub fn certificate_request(data: &[u8]) {
    let (Ok(request), Ok(value)) = (
        serde_json::from_slice::<CertificateRequest>(data),
        serde_json::from_slice(data),
    ) else {
        return;
    };
    if !is_from_api_server(&value) {
        return;
    }
    let mut scene = READY[data.len() % 2].clone();
    scene.refusal = [
        None,
        Some(WriteError::Conflict),
        Some(WriteError::Unavailable),
        Some(WriteError::NotFound),
    ][data.len() / 2 % 4];
    scene.object = Some(value);
    scene.controller.observe(NOW, Change::Request(request.into()));
    let mut now = NOW;
    for _ in 0..ROUNDS {
        scene.run(now);
        match scene.controller.next_due() {
            Some(due) => now.monotonic = now.monotonic.max(due),
            None => break,
        }
    }
    assert!(
        scene.vault.counts().signs <= 1,
        "signed {} times",
        scene.vault.counts().signs
    );
}

/// Returns `true` if the API server could have stored the object.
fn is_from_api_server(request: &Value) -> bool {
    ["name", "namespace", "uid", "resourceVersion"].iter().all(|field| {
        let text = request["metadata"][field].as_str().unwrap_or_default();
        text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// A controller with ready issuers, and its environment.
#[derive(Clone)]
struct Scene {
    controller: Controller,
    vault: FakeVault,
    /// The only request.
    object: Option<Value>,
    /// The result of the next status write.
    refusal: Option<WriteError>,
}

static READY: LazyLock<[Scene; 2]> = LazyLock::new(|| {
    let identity = "a".to_owned();
    [None, Some(Claim { identity })].map(|claim| {
        let config = Config {
            claim,
            verify: signatures().into(),
            ..Setup::new(Vec::new(), &[]).config
        };
        let mut scene = Scene {
            controller: Controller::new(config, 0),
            vault: vault(),
            object: None,
            refusal: None,
        };
        let authority = IssuerKey {
            kind: IssuerKind::Cluster,
            namespace: "".into(),
            name: "ca".into(),
        };
        for (key, path) in [(key(), "pki/sign/any"), (authority, "pki/root/sign-intermediate")] {
            let kind = key.kind;
            scene
                .controller
                .observe(NOW, Change::Issuer(key.clone(), observed(path)));
            scene
                .controller
                .observe(NOW, Change::Issuers(kind, ListScope::Cluster, BTreeSet::from([key])));
        }
        scene.controller.observe(
            NOW,
            Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new()),
        );
        scene.run(NOW);
        assert!(scene.controller.readiness().all(|(_, is_ready)| is_ready));
        scene
    })
});

fn observed(path: &str) -> ObservedIssuer {
    let secret_ref = SecretKeySelector {
        name: "approle".to_owned(),
        key: None,
    };
    let app_role = Some(Login {
        role_id: Some("issuer".to_owned()),
        secret_ref: Some(secret_ref),
        ..Login::default()
    });
    ObservedIssuer {
        uid: path.to_owned(),
        generation: 1,
        resource_version: "1".to_owned(),
        spec: VaultSpec {
            path: path.to_owned(),
            auth: Auth {
                app_role,
                ..Auth::default()
            },
            ..issuer()
        },
        status: issuer_api::IssuerStatus::default(),
        ready_writers: issuer_core::reconcile::ReadyWriters::default(),
    }
}

fn vault() -> FakeVault {
    let mut vault = FakeVault::new(0);
    let pki = Pki::new(Authority::root("Fuzz").intermediate("Fuzz Issuing"));
    vault.enable_pki("pki", pki.role("any", Role::any_name()));
    vault.set_policy("issuer", Policy::update("pki/*"));
    let hour = Duration::from_secs(3600);
    let token = TokenParams::policies(["issuer"]).ttl(hour, Duration::ZERO);
    let roles = BTreeMap::from([("issuer".to_owned(), AppRoleRole::new("issuer", "secret", token))]);
    vault.enable_auth("approle", AuthMethod::AppRole(roles));
    vault
}

impl Scene {
    /// Answers all steps of all tasks that are due.
    fn run(&mut self, now: Now) {
        while let Some((_, mut step)) = self.controller.poll(now) {
            loop {
                let controller = &mut self.controller;
                step = match step {
                    Step::Done(_) => break,
                    Step::Exchange(request, waits) => {
                        if request.operation == Operation::Sign {
                            assert_may_be_signed(self.object.as_ref().expect("a request"));
                        }
                        let reply = self.vault.handle(now, request.http);
                        waits.resume(controller, now, Ok(reply))
                    }
                    Step::MintToken(_, waits) => waits.resume(controller, now, Err(ReadError::NotFound)),
                    Step::Publish(event, waits) => {
                        assert_shown(&event.note);
                        waits.resume(controller)
                    }
                    Step::ReadRequest(_, waits) => {
                        let object = self.object.clone().expect("a request");
                        let request: Result<CertificateRequest, _> = serde_json::from_value(object);
                        let request = request.map(Into::into).map_err(|_| ReadError::Unavailable);
                        waits.resume(controller, now, request)
                    }
                    Step::ReadNamespace(_, waits) => waits.resume(controller, now, Err(ReadError::NotFound)),
                    Step::ReadConfigMap(_, waits) => waits.resume(controller, now, Err(ReadError::NotFound)),
                    Step::ReadSecret(_, waits) => {
                        let data = BTreeMap::from([("secretId".to_owned(), Secret::from("secret"))]);
                        let resource_version = "1".to_owned();
                        let secret = SecretData {
                            resource_version,
                            data,
                            servers: None,
                        };
                        waits.resume(controller, now, Ok(secret))
                    }
                    Step::ReviewReference(review, _) => panic!("no CertificateSigningRequest exists: {review:?}"),
                    Step::WriteStatus(patch, waits) => {
                        let answer = self.written(&patch);
                        waits.resume(&mut self.controller, now, answer)
                    }
                };
            }
        }
    }
}

impl Scene {
    /// Accepts or rejects a status write.
    fn written(&mut self, patch: &StatusPatch) -> Result<(), WriteError> {
        let Key::Request(_) = patch.of else {
            return Ok(());
        };
        let object = self.object.as_mut().expect("a request");
        assert_may_be_written(object, patch);
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        object["status"] = patch.value()["status"].clone();
        Ok(())
    }
}

/// The condition types that the controller writes.
const OURS: [&str; 3] = ["Claimed", "InvalidRequest", "Ready"];

/// Returns the condition of a type.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind)
}

fn is(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

fn is_open(object: &Value) -> bool {
    let reason = condition(object, "Ready").map_or(&Value::Null, |ready| &ready["reason"]);
    let certificate = object["status"]["certificate"].as_str().unwrap_or_default();
    ["Denied", "Failed", "Issued"].iter().all(|end| reason != end) && certificate.is_empty()
}

/// Returns `true` if the request is of this group; one of a kind that does not exist is told so.
fn is_ours(object: &Value) -> bool {
    object["spec"]["issuerRef"]["group"] == issuer_api::GROUP
}

fn assert_may_be_signed(object: &Value) {
    assert!(is(object, "Approved"), "signed without approval");
    assert!(
        !is(object, "Denied") && !is(object, "InvalidRequest"),
        "signed though denied or invalid"
    );
    assert!(
        is_open(object) && is_ours(object),
        "signed though finished or another's"
    );
    let is_ca = object["spec"]["isCA"] == true;
    let kind = if is_ca { "VaultClusterIssuer" } else { "VaultIssuer" };
    assert_eq!(object["spec"]["issuerRef"]["kind"], kind, "a CA or not");
}

fn assert_may_be_written(object: &Value, patch: &StatusPatch) {
    assert!(
        is_open(object) && is_ours(object),
        "written though finished or another's"
    );
    let body = patch.value();
    for field in ["uid", "resourceVersion"] {
        let known = object["metadata"][field].as_str().unwrap_or_default();
        assert_eq!(body["metadata"][field], known);
    }
    let status = &body["status"];
    let before = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let after = status["conditions"].as_array().expect("conditions");
    for condition in after
        .iter()
        .filter(|after| !before.iter().any(|before| is_same(before, after)))
    {
        let kind = condition["type"].as_str().unwrap_or_default();
        assert!(OURS.contains(&kind), "{kind} is not for us to write");
        assert!(
            condition["lastTransitionTime"].is_string(),
            "a condition without a time"
        );
        assert_shown(condition["message"].as_str().unwrap_or_default());
    }
    for before in before {
        let ours = OURS.iter().any(|ours| before["type"] == *ours);
        assert!(
            ours || after.iter().any(|after| is_same(before, after)),
            "{before} is lost"
        );
    }
    if let Some(certificate) = status["certificate"].as_str() {
        assert!(is(object, "Approved") && !is(object, "Denied"));
        assert_key(object, &STANDARD.decode(certificate).expect("base64"));
    }
}

/// Returns `true` if two conditions differ at most in their times.
fn is_same(one: &Value, other: &Value) -> bool {
    ["type", "status", "reason", "message"]
        .iter()
        .all(|field| one[field] == other[field])
}

/// Asserts that a certificate is for the key of the CSR.
fn assert_key(object: &Value, certificate: &[u8]) {
    let request = STANDARD
        .decode(object["spec"]["request"].as_str().expect("a CSR"))
        .expect("base64");
    let csr = Pem::iter_from_buffer(&request).next().expect("a block").expect("PEM");
    let (_, csr) = X509CertificationRequest::from_der(&csr.contents).expect("a CSR");
    let (_, pem) = parse_x509_pem(certificate).expect("PEM");
    let leaf = pem.parse_x509().expect("a certificate");
    assert_eq!(leaf.public_key().raw, csr.certification_request_info.subject_pki.raw);
}
