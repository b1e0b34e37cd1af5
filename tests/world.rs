//! The controller in a small world: a simulated API server, a Vault over TLS, and no time but what is let pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fake_vault::serve::{Options, Server};
use fake_vault::{
    Accepts, AppRole, AuthMethod, Authority, CertRole, Certified, FakeVault, JwtRole, KeyType, Pki, Policy, Role,
    TokenParams, Trusted,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use issuer_api::{
    Auth, CertificateRequest, CertificateRequestSpec, ClientCertificate, IssuerRef, KubernetesAuth, SecretKeySelector,
    ServiceAccountRef, VaultIssuer, VaultSpec,
};
use issuer_core::reconcile::{
    AwaitReply, Change, Config, Controller, Event, Key, Outcome, StatusPatch, Step, WriteError,
};
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey, SecretRef};
use issuer_core::session::{ReadError, SecretData};
use issuer_core::{Now, Operation, Reply, Request, Secret};
use issuer_kube::{Metrics, Transport};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, DistinguishedName, DnType};
use serde_json::json;
use simulator::cluster::{Cluster, Kind, Object, Verb};

pub(crate) const NAMESPACE: &str = "team";
const MINUTE: Duration = Duration::from_secs(60);

/// How long the tokens of logins live.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 60);

/// The time at which every world begins.
pub(crate) const BEGIN: Now = Now { monotonic: Duration::ZERO, unix: Duration::from_secs(1_800_000_000) };

/// The secrets of the user.
pub(crate) const SECRET_ID: &str = "5f2c8d1e-9b47-4a30-8e6d-c1f07b93ad52";
pub(crate) const JWT: &str =
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6dGVhbTpzaWduZXIifQ.Zm9yIG5vYm9keSdzIGV5ZXMgMDkx";

/// How an issuer logs in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Login {
    AppRole,
    Certificate,
    Jwt,
    ServiceAccount,
    Token,
}

impl Login {
    pub(crate) const ALL: [Self; 5] =
        [Self::AppRole, Self::Certificate, Self::Jwt, Self::ServiceAccount, Self::Token];

    fn auth(self) -> Auth {
        let secret = |name: &str| SecretKeySelector { name: name.to_owned(), key: None };
        let kubernetes = |secret_ref, service_account_ref| KubernetesAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref,
            service_account_ref,
        };
        let mut auth = Auth::default();
        match self {
            Self::AppRole => {
                let role_id = "web-id".to_owned();
                auth.app_role =
                    Some(issuer_api::AppRole { path: None, role_id, secret_ref: secret("vault-approle") });
            }
            Self::Certificate => {
                let secret_name = Some("vault-client".to_owned());
                auth.client_certificate =
                    Some(ClientCertificate { secret_name, ..ClientCertificate::default() });
            }
            Self::Jwt => auth.kubernetes = Some(kubernetes(Some(secret("vault-jwt")), None)),
            Self::ServiceAccount => {
                let account = ServiceAccountRef { name: "signer".to_owned(), audiences: Vec::new() };
                auth.kubernetes = Some(kubernetes(None, Some(account)));
            }
            Self::Token => auth.token_secret_ref = Some(secret("vault-token")),
        }
        auth
    }
}

/// A Vault that speaks TLS on loopback, and whose clock stands.
pub(crate) struct Vault {
    fake: Arc<Mutex<FakeVault>>,
    pub(crate) server: Server,
    pub(crate) client: Certified,
    /// The token that is given to an issuer.
    pub(crate) token: String,
}

impl Vault {
    /// Equal seeds make equal tokens.
    pub(crate) fn start(seed: u64) -> Self {
        let clients = Authority::root("Clients");
        let mut fake = FakeVault::new(seed);
        let pki = Pki::new(Authority::root("Root").intermediate("Issuing"));
        let role = Role { allow_subdomains: true, key_type: None, ..Role::domain("example.com") };
        fake.enable_pki("pki", pki.role("web", role));
        fake.set_policy("signer", Policy::update("pki/sign/web"));
        let params = TokenParams::policies(["signer"]).ttl(TOKEN_TTL, Duration::ZERO);
        let role = AppRole::new("web-id", SECRET_ID, params.clone());
        fake.enable_auth("approle", AuthMethod::AppRole([("web".to_owned(), role)].into()));
        let accepts = Accepts::Known([JWT.to_owned()].into());
        let role = JwtRole { accepts, token: params.clone() };
        fake.enable_auth("kubernetes", AuthMethod::Kubernetes([("web".to_owned(), role)].into()));
        let client = clients.client("issuer");
        let (trusted, allowed_common_names) = (Trusted::Ca(clients), Vec::new());
        let role = CertRole { trusted, allowed_common_names, token: params.clone() };
        fake.enable_auth("cert", AuthMethod::Cert([("web".to_owned(), role)].into()));
        let token = fake.create_token(BEGIN, &TokenParams::policies(["signer"]));
        let fake = Arc::new(Mutex::new(fake));
        let options = Options { standing: Some(BEGIN), ..Options::default() };
        let server = Server::start(Arc::clone(&fake), &options).unwrap();
        Self { fake, server, client, token }
    }

    pub(crate) fn fake(&self) -> MutexGuard<'_, FakeVault> {
        self.fake.lock().unwrap()
    }

    pub(crate) fn shared(&self) -> Arc<Mutex<FakeVault>> {
        Arc::clone(&self.fake)
    }

    pub(crate) fn spec(&self, login: Login) -> VaultSpec {
        VaultSpec {
            server: self.server.url(),
            path: "pki/sign/web".to_owned(),
            namespace: None,
            server_name: None,
            ca_bundle: Some(ByteString(self.server.ca_pem().into_bytes())),
            ca_bundle_secret_ref: None,
            client_cert_secret_ref: None,
            client_key_secret_ref: None,
            auth: login.auth(),
        }
    }

    pub(crate) fn secrets(&self) -> BTreeMap<SecretRef, SecretData> {
        let entries = [
            ("vault-approle", "secretId", SECRET_ID),
            ("vault-client", "tls.crt", &self.client.chain_pem),
            ("vault-client", "tls.key", &self.client.key_pem),
            ("vault-jwt", "token", JWT),
            ("vault-token", "token", &self.token),
        ];
        let mut secrets = BTreeMap::new();
        for (name, key, value) in entries {
            let reference = SecretRef { namespace: NAMESPACE.to_owned(), name: name.to_owned() };
            let empty = || SecretData { resource_version: "1".to_owned(), data: BTreeMap::new() };
            let secret: &mut SecretData = secrets.entry(reference).or_insert_with(empty);
            secret.data.insert(key.to_owned(), Secret::from(value));
        }
        secrets
    }
}

/// A request to Vault, and the task that awaits the reply.
pub(crate) struct Open {
    pub(crate) request: Request,
    pub(crate) task: Task,
}

/// A task that awaits a reply of Vault.
pub(crate) struct Task {
    pub(crate) key: Key,
    operation: Operation,
    waits: AwaitReply,
}

/// The controller and all that it meets, Vault's replies excepted.
pub(crate) struct World<'v> {
    vault: &'v Vault,
    pub(crate) cluster: Cluster,
    pub(crate) controller: Controller,
    secrets: BTreeMap<SecretRef, SecretData>,
    cursors: BTreeMap<Kind, u64>,
    requests: Vec<RequestKey>,
    pub(crate) events: Vec<Event>,
    pub(crate) patches: Vec<StatusPatch>,
    pub(crate) outcomes: Vec<(Key, Outcome)>,
    pub(crate) metrics: Metrics,
    /// What the controller and its questions print as, where it is wanted.
    pub(crate) transcript: Option<String>,
}

impl<'v> World<'v> {
    /// A controller, and the issuer `team/vault`.
    pub(crate) fn new(vault: &'v Vault, login: Login) -> Self {
        let mut cluster = Cluster::default();
        create_issuer(&mut cluster, vault, login);
        let mut world = Self {
            vault,
            cluster,
            controller: Controller::new(config(), 1),
            secrets: vault.secrets(),
            cursors: BTreeMap::new(),
            requests: Vec::new(),
            events: Vec::new(),
            patches: Vec::new(),
            outcomes: Vec::new(),
            metrics: Metrics::new(),
            transcript: None,
        };
        let lists = [
            Change::Issuers(IssuerKind::Cluster, BTreeSet::new()),
            Change::Issuers(IssuerKind::Namespaced, BTreeSet::new()),
            Change::Requests(BTreeSet::new()),
        ];
        lists.into_iter().for_each(|list| world.controller.observe(BEGIN, list));
        world
    }

    /// Points the issuer to another Vault, or to another way to log in.
    pub(crate) fn edit(&mut self, spec: &VaultSpec) {
        self.cluster.patch(&issuer(), &json!({ "spec": spec })).unwrap();
    }

    /// Has an approved request come in; it is for `<name>.example.com`.
    pub(crate) fn request(&mut self, name: &str) -> RequestKey {
        let key = create_request(&mut self.cluster, name);
        self.requests.push(key.clone());
        key
    }

    /// Returns the reason and message of a request's condition `Ready`.
    pub(crate) fn ready(&self, key: &RequestKey) -> (String, String) {
        ready(&self.cluster, key)
    }

    /// Tells whether every request is issued or has failed.
    pub(crate) fn is_finished(&self) -> bool {
        self.requests.iter().all(|key| matches!(self.ready(key).0.as_str(), "Issued" | "Failed"))
    }

    /// Tells whether the issuer is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.controller.standings().any(|(_, ready)| ready)
    }

    pub(crate) fn now(&self) -> Now {
        self.vault.server.now()
    }

    /// Goes on to the next request to Vault; `None` if nothing is due.
    pub(crate) fn next(&mut self) -> Option<Open> {
        loop {
            self.deliver();
            let (key, step) = self.controller.poll(self.now())?;
            let open = self.answer(key, step);
            if open.is_some() {
                return open;
            }
        }
    }

    /// Takes the reply to a request; returns the next one of the same task.
    pub(crate) fn reply(&mut self, task: Task, reply: Reply) -> Option<Open> {
        self.metrics.exchanged(task.operation, &reply, Duration::from_millis(1));
        let now = self.now();
        let step = task.waits.resume(&mut self.controller, now, reply);
        self.answer(task.key, step)
    }

    /// Does all that is due.
    pub(crate) fn work(&mut self, exchange: &mut impl FnMut(&Key, Request) -> Reply) {
        while let Some(mut open) = self.next() {
            loop {
                let reply = exchange(&open.task.key, open.request);
                let Some(next) = self.reply(open.task, reply) else {
                    break;
                };
                open = next;
            }
        }
    }

    /// Does what is due and lets time pass, until something holds.
    pub(crate) fn run(&mut self, exchange: &mut impl FnMut(&Key, Request) -> Reply, holds: impl Fn(&Self) -> bool) {
        let limit = self.now().monotonic + 24 * 60 * MINUTE;
        loop {
            self.work(exchange);
            if holds(self) {
                return;
            }
            self.pass(limit);
        }
    }

    /// Does the same with several requests to Vault under way at once. Returns the replies that a certificate may
    /// have been lost with.
    pub(crate) async fn run_at_once(&mut self, transport: &Transport) -> u64 {
        let limit = self.now().monotonic + 24 * 60 * MINUTE;
        let mut open = FuturesUnordered::new();
        let mut lost = 0;
        loop {
            while let Some(next) = self.next() {
                open.push(send(transport.clone(), next));
            }
            match open.next().await {
                Some((task, reply)) => {
                    let signs = task.operation == Operation::Sign;
                    let unknown = reply.as_ref().is_err_and(|error| error.may_have_been_handled());
                    lost += u64::from(signs && unknown);
                    let next = self.reply(task, reply);
                    open.extend(next.map(|next| send(transport.clone(), next)));
                }
                None if self.is_finished() => return lost,
                None => self.pass(limit),
            }
        }
    }

    /// Has the controller end, so that it revokes its tokens.
    pub(crate) fn stop(&mut self, exchange: &mut impl FnMut(&Key, Request) -> Reply) {
        self.controller.stop(self.now());
        self.work(exchange);
        self.controller.retire_all();
        self.work(exchange);
        assert!(self.controller.is_drained() && self.controller.is_retired());
    }

    /// Lets time pass until something is due.
    pub(crate) fn pass(&mut self, limit: Duration) {
        let due = self.controller.next_due().expect("something is to come");
        assert!(due < limit, "no end is in sight: {:?}", self.outcomes);
        let wait = due.saturating_sub(self.now().monotonic);
        // Never too short: the clock counts milliseconds.
        self.vault.server.advance(wait + Duration::from_millis(1));
    }

    /// Lets the watches tell what is new.
    fn deliver(&mut self) {
        for kind in Kind::ALL {
            let cursor = self.cursors.get(&kind).copied().unwrap_or_default();
            let news: Vec<_> = self.cluster.watch(kind, cursor).unwrap().cloned().collect();
            for event in news {
                self.cursors.insert(kind, event.revision);
                let change = match (&*event.object, event.change) {
                    (Object::Request(request), Verb::Added | Verb::Modified) => Change::Request(request.clone()),
                    (Object::Issuer(issuer), Verb::Added | Verb::Modified) => {
                        Change::Issuer(issuer_key(), issuer.clone().into())
                    }
                    other => panic!("{other:?}"),
                };
                self.controller.observe(self.now(), change);
            }
        }
    }

    /// Answers a task's questions up to the next one to Vault.
    fn answer(&mut self, key: Key, mut step: Step) -> Option<Open> {
        loop {
            self.write_down(&step);
            let now = self.now();
            let controller = &mut self.controller;
            step = match step {
                Step::Exchange(request, waits) => {
                    let url = request.http.uri().to_string();
                    assert!(url.starts_with(&format!("{}/v1/", request.connect.origin)), "{url}");
                    let operation = request.operation;
                    return Some(Open { request, task: Task { key, operation, waits } });
                }
                Step::MintToken(spec, waits) => {
                    assert_eq!((spec.namespace.as_str(), spec.service_account.as_str()), (NAMESPACE, "signer"));
                    waits.resume(controller, now, Ok(Secret::from(JWT)))
                }
                Step::Publish(event, waits) => {
                    self.events.push(event);
                    waits.resume(controller)
                }
                Step::ReadRequest(request, waits) => {
                    let live = self.cluster.request(&request).cloned();
                    waits.resume(controller, now, live.ok_or(ReadError::NotFound))
                }
                Step::ReadSecret(secret, waits) => {
                    let found = self.secrets.get(&secret).cloned();
                    waits.resume(controller, now, found.ok_or(ReadError::NotFound))
                }
                Step::WriteStatus(patch, waits) => {
                    let written = self.cluster.patch_status(&patch.of, &patch.body);
                    self.patches.push(patch);
                    let written = written.map(drop).map_err(|refusal| match refusal.status() {
                        404 => WriteError::NotFound,
                        409 => WriteError::Conflict,
                        _ => WriteError::Unavailable,
                    });
                    waits.resume(controller, now, written)
                }
                Step::Done(outcome) => {
                    self.metrics.finished(&key, outcome);
                    self.metrics.observe(controller);
                    self.outcomes.push((key, outcome));
                    return None;
                }
            }
        }
    }

    fn write_down(&mut self, step: &Step) {
        if let Some(transcript) = &mut self.transcript {
            writeln!(transcript, "{step:?}").unwrap();
            if matches!(step, Step::Exchange(..) | Step::Done(_)) {
                writeln!(transcript, "{:?}", self.controller).unwrap();
            }
        }
    }
}

pub(crate) fn config() -> Config {
    Config {
        allow_http: false,
        claim: None,
        check_interval: 60 * MINUTE,
        cluster_resource_namespace: "vault-issuer".to_owned(),
        max_concurrent_reconciles: 8,
        signatures: issuer_tls::signatures(),
    }
}

/// Creates the issuer `team/vault`.
pub(crate) fn create_issuer(cluster: &mut Cluster, vault: &Vault, login: Login) {
    let issuer = VaultIssuer { metadata: named("vault"), spec: vault.spec(login), status: None };
    cluster.create(Object::Issuer(issuer)).unwrap();
}

/// Creates an approved request for `<name>.example.com`.
pub(crate) fn create_request(cluster: &mut Cluster, name: &str) -> RequestKey {
    let request = CertificateRequest {
        metadata: named(name),
        spec: CertificateRequestSpec {
            request: ByteString(csr(name).into_bytes()),
            issuer_ref: IssuerRef {
                name: "vault".to_owned(),
                kind: Some("VaultIssuer".to_owned()),
                group: Some(issuer_api::GROUP.to_owned()),
            },
            duration: Some("24h0m0s".to_owned()),
            is_ca: false,
        },
        status: None,
    };
    let key = cluster.create(Object::Request(request)).unwrap().key();
    let approved = json!({ "status": { "conditions": [{ "type": "Approved", "status": "True" }] } });
    cluster.patch_status(&key, &approved).unwrap();
    let Key::Request(key) = key else { panic!("{key:?}") };
    key
}

/// Returns the reason and message of a request's condition `Ready`.
pub(crate) fn ready(cluster: &Cluster, key: &RequestKey) -> (String, String) {
    let ready = cluster.request(key).unwrap().condition("Ready").cloned();
    let parts = ready.map(|ready| (ready.reason.unwrap(), ready.message.unwrap()));
    parts.unwrap_or_default()
}

async fn send(transport: Transport, open: Open) -> (Task, Reply) {
    (open.task, transport.call(open.request).await)
}

/// The name of the one issuer.
pub(crate) fn issuer() -> Key {
    Key::Issuer(issuer_key())
}

pub(crate) fn issuer_key() -> IssuerKey {
    IssuerKey { kind: IssuerKind::Namespaced, namespace: NAMESPACE.to_owned(), name: "vault".to_owned() }
}

fn named(name: &str) -> ObjectMeta {
    let (name, namespace) = (Some(name.to_owned()), Some(NAMESPACE.to_owned()));
    ObjectMeta { name, namespace, ..ObjectMeta::default() }
}

/// Returns a CSR for `<name>.example.com`, by the key of that name.
pub(crate) fn csr(name: &str) -> String {
    let name = format!("{name}.example.com");
    let mut params = CertificateParams::new(vec![name.clone()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, &name);
    let key = fake_vault::key(KeyType::Ed25519, &name);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

/// Numbers that look random: equal seeds make equal runs (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }

    /// Returns one of these.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
