//! The Vault servers: `fake-vault`, with what the checks want to know about it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fake_vault::{FakeVault, Fault, Handled};
use issuer_core::{Now, Operation, Reply, Request};
use serde_json::Value;

use crate::digest::{Digest, EPOCH};
use crate::fixture::{self, IssuerId};
use crate::memory::Memory;

static ANSWERS: Memory<(Arc<Vault>, Arc<Exchanged>)> = Memory::new();

/// A token that a login has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// A number that no other token has which anybody may still hold.
    pub number: u32,
    /// The token.
    pub token: Arc<str>,
    /// When it was made or renewed, by the world's clock.
    pub at: Duration,
}

/// A Vault server.
#[derive(Clone, Debug)]
pub struct Vault {
    fake: FakeVault,
    host: usize,
    sealed: bool,
    /// How often each CSR was signed, by its number.
    signs: BTreeMap<u32, u32>,
    /// The CSRs of the certificates that were signed, by serial number.
    minted: BTreeMap<String, u32>,
    /// The tokens that are alive.
    grants: Vec<Grant>,
    /// The secret IDs that were rotated, last ones last.
    rotated: Vec<Arc<str>>,
    /// How often tokens were made, ever.
    logins: u32,
}

/// What a server made of a request.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// What the driver gets.
    pub reply: Reply,
    /// How much later, if it is late.
    pub late: Option<Duration>,
    /// The CSR that was signed.
    pub signed: Option<u32>,
    /// The token that was made.
    pub granted: Option<Grant>,
}

impl Vault {
    /// Sets up the server of a number.
    pub fn new(host: usize, token_ttl: Duration) -> Self {
        Self {
            fake: fixture::vault(host, token_ttl),
            sealed: false,
            signs: BTreeMap::new(),
            minted: BTreeMap::new(),
            grants: Vec::new(),
            rotated: Vec::new(),
            host,
            logins: 0,
        }
    }

    /// Answers a request as [`exchange`](Self::exchange) does. What it comes to is remembered: equal servers answer equal
    /// requests alike.
    pub fn exchange_again(
        self: &mut Arc<Self>,
        now: Duration,
        request: &Request,
        fault: Option<Fault>,
        held: &BTreeSet<u32>,
    ) -> Exchanged {
        let key = self.key(now, request, fault, held);
        if let Some((after, done)) = ANSWERS.recall(key) {
            *self = after;
            return Exchanged::clone(&done);
        }
        let done = Arc::make_mut(self).exchange(now, request, fault, held);
        ANSWERS.keep(key, (Arc::clone(self), Arc::new(done.clone())));
        done
    }

    /// Returns a digest of everything that an answer depends on.
    fn key(&self, now: Duration, request: &Request, fault: Option<Fault>, held: &BTreeSet<u32>) -> u128 {
        let http = &request.http;
        let token = http.headers().get("x-vault-token");
        let what = (request.operation, http.uri(), token, http.body().as_bytes());
        let fault = fault.map(|fault| format!("{fault:?}"));
        Digest::of(&(self.host, self.state(), now, what, fault, held))
    }

    /// Returns everything about the server that changes.
    fn state(&self) -> impl Hash {
        let grants: Vec<_> = self
            .grants
            .iter()
            .map(|grant| (grant.number, &grant.token, grant.at))
            .collect();
        (self.sealed, &self.rotated, &self.signs, grants, self.logins)
    }

    /// Answers a request, or does to it what the fault says. `held` are the numbers of tokens that somebody may still
    /// hold.
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
        // Equal logins make equal tokens and equal signatures equal serial numbers, whatever came before.
        self.fake.reseed(match (request.operation, csr) {
            (Operation::Login, _) => 1 + u64::from(number),
            (_, Some(csr)) => u64::from(csr) << 32 | u64::from(self.signs_of(csr)),
            _ => 0,
        });
        if let Some(fault) = fault {
            self.fake.faults_mut().script(None, fault);
        }
        let before = self.fake.counts();
        let handled = self.fake.exchange(clock, request.http.clone());
        let after = self.fake.counts();
        let signed = csr.filter(|_| after.signs > before.signs);
        if let Some(csr) = signed {
            *self.signs.entry(csr).or_default() += 1;
            let serial = self.fake.issued().last().map(|issued| issued.serial.clone());
            self.minted.insert(serial.unwrap_or_default(), csr);
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
        }
    }

    /// Notes the token that has come to the others.
    fn granted(&mut self, now: Duration, clock: Now, number: u32) -> Option<Grant> {
        self.logins += 1;
        let live = self.fake.live_tokens(clock);
        let known: HashSet<&str> = self.grants.iter().map(|grant| &*grant.token).collect();
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
    }

    fn free_number(&self, held: &BTreeSet<u32>) -> u32 {
        let taken = |number: &u32| held.contains(number) || self.grants.iter().any(|grant| grant.number == *number);
        (0..).find(|number| !taken(number)).unwrap_or_default()
    }

    /// Returns how often a CSR was signed.
    pub fn signs_of(&self, csr: u32) -> u32 {
        self.signs.get(&csr).copied().unwrap_or_default()
    }

    /// Returns the CSR that the certificate of a serial number was made for.
    pub fn csr_of(&self, serial: &str) -> Option<u32> {
        self.minted.get(serial).copied()
    }

    /// Returns the tokens that are alive.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Returns how often tokens were made.
    pub fn logins(&self) -> u32 {
        self.logins
    }

    /// Tells whether the server is sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Seals or unseals the server.
    pub fn set_sealed(&mut self, sealed: bool) {
        self.sealed = sealed;
        if sealed { self.fake.seal() } else { self.fake.unseal() }
    }

    /// Revokes every token behind its holder's back.
    pub fn revoke_all(&mut self) {
        self.fake.revoke_all();
        self.grants.clear();
    }

    /// Gives an issuer's AppRole another secret ID.
    pub fn rotate(&mut self, issuer: IssuerId, secret_id: &str) {
        self.rotated.push(secret_id.into());
        self.fake.rotate_secret_id("approle", issuer.namespace(), secret_id);
    }

    /// Lets faults meet requests by chance.
    pub fn randomize(&mut self, seed: u64, rates: impl IntoIterator<Item = (Fault, u16)>) {
        self.fake.faults_mut().randomize(seed, rates);
    }

    /// Goes back to honesty.
    pub fn clear_faults(&mut self) {
        self.fake.faults_mut().clear();
    }

    /// Writes the state into a digest whose now is the world's, counted from [`EPOCH`].
    pub(crate) fn digest(&self, digest: &mut Digest<'_>) {
        (self.sealed, self.rotated.len()).hash(digest);
        for grant in &self.grants {
            (grant.number, EPOCH + grant.at).hash(digest);
        }
    }
}

impl Hash for Grant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// The servers' clock.
fn clock(now: Duration) -> Now {
    Now {
        monotonic: now,
        unix: UNIX + now,
    }
}

/// The time since the Unix epoch at which the world begins.
pub const UNIX: Duration = Duration::from_secs(1_800_000_000);

/// Returns the token that a request carries.
pub fn token(request: &Request) -> Option<String> {
    let value = request.http.headers().get("x-vault-token")?;
    value.to_str().ok().map(str::to_owned)
}

/// Returns the number of the CSR that a request asks to sign.
pub fn signed_csr(request: &Request) -> Option<u32> {
    if request.operation != Operation::Sign {
        return None;
    }
    let body: Value = serde_json::from_slice(request.http.body().as_bytes()).ok()?;
    fixture::order_of(body.get("csr")?.as_str()?)
}
