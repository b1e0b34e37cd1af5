//! The Vault servers: `fake-vault`, with the bookkeeping that the checks need.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use fake_vault::{FakeVault, Fault, Handled};
use issuer_core::{Now, Operation, Reply, Request};
use serde_json::Value;

use crate::cache::Cache;
use crate::clock::UNIX;
use crate::digest::{Digest, EPOCH};
use crate::fixture::{self, IssuerId, VaultSettings};
use crate::login::LoginRequest;

/// Exchanges by server state and request: the state afterwards and the answer. Bounded, because there are many states.
static EXCHANGES: Cache<(Arc<VaultServer>, Arc<Exchanged>)> = Cache::new(10_000);

/// A token that a login created.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// A number that no other token has that is alive or that a process may still hold.
    pub number: u32,
    /// The token.
    pub token: Arc<str>,
    /// When it was created or renewed, by the clock of the world.
    pub at: Duration,
}

/// A simulated Vault server.
#[derive(Clone, Debug)]
pub struct VaultServer {
    fake: FakeVault,
    host: usize,
    sealed: bool,
    /// Whether it fails to sign, though it answers all else.
    fails_to_sign: bool,
    /// The number of signatures by CSR number.
    signs: BTreeMap<u32, u32>,
    /// The CSR numbers of the signed certificates, by serial number.
    issued: BTreeMap<String, u32>,
    /// The tokens that are alive.
    grants: Vec<Grant>,
    /// The secret IDs of all rotations, oldest first.
    rotated: Vec<Arc<str>>,
    /// The wrapping tokens that can be exchanged for a secret ID.
    wrapping: Vec<Arc<str>>,
    /// The number of logins so far.
    logins: u32,
    settings: VaultSettings,
}

/// The outcome of a request to a server.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The reply as the driver sees it.
    pub reply: Reply,
    /// The delay, if the reply is late.
    pub late: Option<Duration>,
    /// The number of the CSR that was signed.
    pub signed: Option<u32>,
    /// The token that was created.
    pub granted: Option<Grant>,
    /// The wrapping token that was exchanged for a secret ID.
    pub unwrapped: Option<Arc<str>>,
}

/// The lifetime of wrapping tokens: more than any run lasts.
const WRAP_TTL: Duration = Duration::from_secs(20 * 24 * 3600);

impl VaultServer {
    /// Returns a server in its initial state.
    pub fn new(host: usize, settings: VaultSettings) -> Self {
        Self {
            fake: fixture::vault(host, settings),
            sealed: false,
            fails_to_sign: false,
            signs: BTreeMap::new(),
            issued: BTreeMap::new(),
            grants: Vec::new(),
            rotated: Vec::new(),
            wrapping: Vec::new(),
            host,
            logins: 0,
            settings,
        }
    }

    /// Answers a request like [`exchange`](Self::exchange), through a cache: servers that are equal, with equal settings,
    /// give equal answers to equal requests.
    pub fn exchange_cached(
        self: &mut Arc<Self>,
        now: Duration,
        request: &Request,
        fault: Option<Fault>,
        held: &BTreeSet<u32>,
    ) -> Exchanged {
        let key = self.key(now, request, fault, held);
        if let Some((after, done)) = EXCHANGES.get(key) {
            *self = after;
            return Exchanged::clone(&done);
        }
        let done = Arc::make_mut(self).exchange(now, request, fault, held);
        EXCHANGES.insert(key, (Arc::clone(self), Arc::new(done.clone())));
        done
    }

    /// Returns a digest of everything that the answer depends on.
    fn key(&self, now: Duration, request: &Request, fault: Option<Fault>, held: &BTreeSet<u32>) -> u128 {
        let http = &request.http;
        let token = http.headers().get("x-vault-token");
        let what = (request.operation, http.uri(), token, http.body().as_bytes());
        let fault = fault.map(|fault| format!("{fault:?}"));
        Digest::of(&(self.host, self.settings, self.state(), now, what, fault, held))
    }

    /// Returns the mutable state of the server.
    fn state(&self) -> impl Hash {
        let grants: Vec<_> = self
            .grants
            .iter()
            .map(|grant| (grant.number, &grant.token, grant.at))
            .collect();
        (
            (self.sealed, self.fails_to_sign),
            (&self.rotated, &self.wrapping),
            &self.signs,
            grants,
            self.logins,
        )
    }

    /// Answers a request, with a fault if one is given. `held` are the numbers of the tokens that a process may still hold.
    pub fn exchange(
        &mut self,
        now: Duration,
        request: &Request,
        fault: Option<Fault>,
        held: &BTreeSet<u32>,
    ) -> Exchanged {
        let clock = clock(now);
        self.prune(clock);
        let csr = signed_csr(request);
        let number = self.free_number(held);
        // Equal logins create equal tokens, and equal signatures equal serial numbers, independent of the history: otherwise
        // no two paths would lead to the same state.
        self.fake.reseed(match (request.operation, csr) {
            (Operation::Login, _) => 1 + u64::from(number),
            (_, Some(csr)) => u64::from(csr) << 32 | u64::from(self.signs_of(csr)),
            _ => 0,
        });
        let broken = self.fails_to_sign && request.operation == Operation::Sign;
        if let Some(fault) = fault.or_else(|| broken.then_some(Fault::InternalError)) {
            self.fake.faults_mut().script(None, fault);
        }
        let used = wrapping_token(request);
        let mut live = self.wrapping.iter();
        let wrapping = live.find(|live| Some(&***live) == used.as_deref()).cloned();
        let before = self.fake.counts();
        let handled = self.fake.exchange(clock, request.http.clone());
        let after = self.fake.counts();
        let signed = csr.filter(|_| after.signs > before.signs);
        if let Some(csr) = signed {
            *self.signs.entry(csr).or_default() += 1;
            let serial = self.fake.issued().last().map(|issued| issued.serial.clone());
            self.issued.insert(serial.unwrap_or_default(), csr);
        }
        let granted = (after.logins > before.logins)
            .then(|| self.granted(now, clock, number))
            .flatten();
        if after.renewals > before.renewals {
            let token = token(request);
            let grant = self
                .grants
                .iter_mut()
                .find(|grant| Some(&*grant.token) == token.as_deref());
            grant.into_iter().for_each(|grant| grant.at = now);
        }
        self.prune(clock);
        let late = if let Handled::Late(late, _) = &handled {
            Some(*late)
        } else {
            None
        };
        Exchanged {
            reply: handled.reply(request.connect.limits),
            late,
            signed,
            granted,
            unwrapped: wrapping.filter(|token| !self.wrapping.contains(token)),
        }
    }

    /// Records the new token.
    fn granted(&mut self, now: Duration, clock: Now, number: u32) -> Option<Grant> {
        self.logins += 1;
        let live = self.fake.live_tokens(clock);
        let grants = self.grants.iter().map(|grant| &*grant.token);
        let known: HashSet<&str> = grants.chain(self.wrapping.iter().map(|token| &**token)).collect();
        let token = live.into_iter().find(|token| !known.contains(token.as_str()))?;
        let grant = Grant {
            number,
            token: token.into(),
            at: now,
        };
        self.grants.push(grant.clone());
        Some(grant)
    }

    fn prune(&mut self, clock: Now) {
        let live: HashSet<String> = self.fake.live_tokens(clock).into_iter().collect();
        self.grants.retain(|grant| live.contains(&*grant.token));
        self.wrapping.retain(|token| live.contains(&**token));
    }

    fn free_number(&self, held: &BTreeSet<u32>) -> u32 {
        let taken = |number: &u32| held.contains(number) || self.grants.iter().any(|grant| grant.number == *number);
        (0..).find(|number| !taken(number)).unwrap_or_default()
    }

    /// Returns the number of signatures for a CSR.
    pub fn signs_of(&self, csr: u32) -> u32 {
        self.signs.get(&csr).copied().unwrap_or_default()
    }

    /// Returns the number of the CSR of a certificate, by serial number.
    pub fn csr_of(&self, serial: &str) -> Option<u32> {
        self.issued.get(serial).copied()
    }

    /// Returns the tokens that are alive.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Returns the number of logins.
    pub fn logins(&self) -> u32 {
        self.logins
    }

    /// Returns `true` if the server is sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Seals or unseals the server.
    pub fn set_sealed(&mut self, sealed: bool) {
        self.sealed = sealed;
        if sealed { self.fake.seal() } else { self.fake.unseal() }
    }

    /// Lets the server fail to sign from now on, or not.
    pub fn set_fails_to_sign(&mut self, fails: bool) {
        self.fails_to_sign = fails;
    }

    /// Returns the wrapping tokens that can be exchanged for a secret ID.
    pub fn wrapping(&self) -> &[Arc<str>] {
        &self.wrapping
    }

    /// Revokes all tokens without the knowledge of their holders.
    pub fn revoke_all(&mut self) {
        self.fake.revoke_all();
        self.grants.clear();
        self.wrapping.clear();
    }

    /// Replaces the secret ID of an issuer's AppRole; returns the value for its Secret: the secret ID, or a wrapping token,
    /// which is the same at both servers.
    pub fn rotate(&mut self, now: Duration, issuer: IssuerId, secret_id: &str) -> Arc<str> {
        let role = ("approle", issuer.namespace());
        // Logins and signatures use small seeds.
        self.fake
            .reseed(u64::MAX - u64::try_from(self.rotated.len()).unwrap_or_default());
        self.rotated.push(secret_id.into());
        if issuer != IssuerId::Wrapped {
            self.fake.rotate_secret_id(role.0, role.1, secret_id);
            return secret_id.into();
        }
        let wrapped = self
            .fake
            .rotate_wrapped_secret_id(clock(now), role, secret_id, WRAP_TTL);
        let token: Arc<str> = wrapped.unwrap_or_default().into();
        self.wrapping.push(Arc::clone(&token));
        token
    }

    /// Adds the state to a digest of the world, whose times are counted from [`EPOCH`].
    pub(crate) fn digest(&self, digest: &mut Digest<'_>) {
        (self.sealed, self.fails_to_sign, self.rotated.len()).hash(digest);
        self.wrapping.hash(digest);
        for grant in &self.grants {
            (grant.number, EPOCH + grant.at).hash(digest);
        }
    }
}

/// Returns the reading of the servers' clocks.
fn clock(now: Duration) -> Now {
    Now {
        monotonic: now,
        unix: UNIX + now,
    }
}

/// Returns the token in a request.
pub fn token(request: &Request) -> Option<String> {
    let value = request.http.headers().get("x-vault-token")?;
    value.to_str().ok().map(str::to_owned)
}

/// Returns the wrapping token that a request of a login is about.
pub(crate) fn wrapping_token(request: &Request) -> Option<String> {
    match LoginRequest::of(request)? {
        LoginRequest::Lookup => {
            let body: Value = serde_json::from_slice(request.http.body().as_bytes()).ok()?;
            body.get("token")?.as_str().map(str::to_owned)
        }
        LoginRequest::Unwrap => token(request),
        LoginRequest::AwsKeys | LoginRequest::Token => None,
    }
}

/// Returns `true` if the body of a reply names a lease.
pub fn has_lease(body: &[u8]) -> bool {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let lease = body.as_ref().and_then(|body| body.get("lease_id")?.as_str());
    lease.is_some_and(|lease| !lease.is_empty())
}

/// Returns `true` if the body of a reply holds a secret ID.
pub(crate) fn has_secret_id(body: &[u8]) -> bool {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    body.as_ref()
        .and_then(|body| body.get("data")?.get("secret_id")?.as_str())
        .is_some()
}

/// Returns the number of the CSR in a sign request; `None` for other requests.
pub fn signed_csr(request: &Request) -> Option<u32> {
    if request.operation != Operation::Sign {
        return None;
    }
    let body: Value = serde_json::from_slice(request.http.body().as_bytes()).ok()?;
    fixture::csr_number(body.get("csr")?.as_str()?)
}
