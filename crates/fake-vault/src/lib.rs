//! A pure model of HashiCorp Vault, as far as an issuer of certificates meets it.
//!
//! [`FakeVault::handle`] takes a request and the time and returns the reply: no sockets, no clock, no randomness. So
//! a test asks it directly, a simulator clones it at every branch, and with the feature `serve` the same value
//! answers over TLS on a loopback port.
//!
//! | module        | models                                                                                        |
//! |---------------|-----------------------------------------------------------------------------------------------|
//! | `sys`         | `sys/health`, `sys/seal-status`, `sys/seal`, `sys/unseal`, `sys/capabilities-self`            |
//! | `auth`        | `auth/<mount>/login` of AppRole, Kubernetes, JWT and TLS certificates                         |
//! | `token`       | `auth/token/{lookup,renew,revoke}-self`; TTLs, periods, uses, batch tokens                    |
//! | `policy`      | which token may do what                                                                       |
//! | `pki`, `sign` | `<mount>/{sign,issue,sign-verbatim}`, `root/sign-intermediate`, the same below `issuer/:ref`  |
//! | `role`, `csr` | what a role allows; what a CSR asks                                                           |
//! | `ca`          | CAs with fixed keys, in every shape of chain                                                  |
//! | `fault`       | a hostile Vault: replies that are late, cut, lost, wrong or lies                              |
//! | `conformance` | one table of requests that a real Vault must answer alike                                     |
//!
//! Replies are those of Vault 1.21: status, envelope, `errors` and their texts. Not modelled are entities and their
//! policies, leases beyond an ID, response wrapping, quotas, CRLs, and everything that writes configuration: that is
//! done by methods.

mod answer;
mod auth;
mod ca;
mod call;
pub mod conformance;
mod counts;
mod csr;
mod dice;
mod fault;
mod fields;
mod format;
mod handles;
mod pki;
mod policy;
mod role;
#[cfg(feature = "serve")]
pub mod serve;
mod sign;
mod sys;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderValue, Request, Response, StatusCode};
use issuer_core::{Body, Now};

use crate::answer::{Answer, Refusal};
use crate::call::{Action, Call};
use crate::fault::Twist;
use crate::sys::Node;
use crate::token::{Token, Tokens};

pub use auth::{Accepts, AppRole, AuthMethod, CertRole, JwtRole, SecretId, Trusted};
pub use ca::{Authority, Certificate, Certified, KeyType, key};
pub use counts::Counts;
pub use dice::Dice;
pub use fault::{Fault, Faults, Handled, Redirect, RetryAfter};
pub use pki::{Issued, LeafNotAfter, Pki};
pub use policy::{Capability, Policy};
pub use role::Role;
pub use sys::Health;
pub use token::{TokenParams, TokenType};

/// The DER certificate that the client of a connection presented: an extension of [`http::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// A Vault server: its configuration, its tokens, and what it has done so far.
///
/// A clone shares the configuration until either of the two changes it.
#[derive(Clone)]
pub struct FakeVault {
    auth: Arc<BTreeMap<String, AuthMethod>>,
    secrets: Arc<BTreeMap<String, Arc<Pki>>>,
    policies: Arc<BTreeMap<String, Policy>>,
    namespace: Option<Arc<str>>,
    node: Node,
    tokens: Tokens,
    dice: Dice,
    faults: Faults,
    counts: Counts,
    issued: Vec<Arc<Issued>>,
    namespaces: BTreeSet<String>,
}

impl fmt::Debug for FakeVault {
    /// Shows no token and no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeVault")
            .field("node", &self.node)
            .field("tokens", &self.tokens.ids().count())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Default for FakeVault {
    fn default() -> Self {
        Self::new(0)
    }
}

impl FakeVault {
    /// The root token: it never ends and may do everything.
    pub const ROOT_TOKEN: &str = "root";

    /// The one key that unseals.
    pub const UNSEAL_KEY: &str = "9b2d6c0f4f1b4a0f8a5a6f7e3c1d2b4e9b2d6c0f4f1b4a0f8a5a6f7e3c1d2b4e";

    /// Returns an active, unsealed server with nothing mounted. Equal seeds make equal tokens and serial numbers.
    pub fn new(seed: u64) -> Self {
        let policies = BTreeMap::from([("default".to_owned(), Policy::built_in())]);
        Self {
            auth: Arc::default(),
            secrets: Arc::default(),
            policies: Arc::new(policies),
            namespace: None,
            node: Node::default(),
            tokens: Tokens::default(),
            dice: Dice::new(seed),
            faults: Faults::default(),
            counts: Counts::default(),
            issued: Vec::new(),
            namespaces: BTreeSet::new(),
        }
    }

    /// Answers a request as an honest Vault does. The URI may be absolute or only a path.
    pub fn handle(&mut self, now: Now, request: Request<Body>) -> Response<Body> {
        self.answer(now, &request, None)
    }

    /// Answers a request as [`handle`](Self::handle) does, unless a fault is due.
    pub fn exchange(&mut self, now: Now, request: Request<Body>) -> Handled {
        if self.faults.are_none() {
            return Handled::Reply(self.answer(now, &request, None));
        }
        let operation = Call::parse(&request).ok().and_then(|call| call.operation());
        match self.faults.draw(operation) {
            Some(fault) => fault.act(self, now, &request),
            None => Handled::Reply(self.answer(now, &request, None)),
        }
    }

    fn answer(&mut self, now: Now, request: &Request<Body>, twist: Option<Twist>) -> Response<Body> {
        let arrived = self.arrive(request);
        let answered = arrived.and_then(|call| self.dispatch(now, &call, twist));
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        let header = HeaderName::from_static("x-vault-namespace");
        if let Some(value) = request.headers().get(&header) {
            response.headers_mut().insert(header, value.clone());
        }
        response
    }

    /// Reads and counts a request.
    fn arrive(&mut self, request: &Request<Body>) -> Result<Call, Refusal> {
        self.counts.requests += 1;
        let call = Call::parse(request)?;
        if let Some(operation) = call.operation() {
            self.counts.ask(operation);
        }
        self.namespaces.extend(call.namespace.clone());
        Ok(call)
    }

    fn dispatch(&mut self, now: Now, call: &Call, twist: Option<Twist>) -> Result<Response<Body>, Refusal> {
        self.tokens.expire(now);
        if self.namespace.is_some() && call.namespace.is_some() && call.path.starts_with("sys/") {
            let restricted = ["sys/health", "sys/seal", "sys/seal-status", "sys/unseal"];
            if restricted.contains(&call.path.as_str()) {
                return Err(Refusal::bad_request("operation unavailable in namespaces"));
            }
        }
        match call.path.as_str() {
            "sys/health" => return Ok(self.node.health(now, call)),
            "sys/seal-status" => return Ok(self.node.seal_status()),
            "sys/unseal" => return self.node.unseal(call, Self::UNSEAL_KEY),
            "sys/seal" => return self.seal_request(call),
            _ => {}
        }
        if self.node.is_sealed() {
            return Err(Refusal::sealed());
        }
        if self.node.health == Health::DrSecondary {
            return Err(Refusal::bad_request("path disabled in replication DR secondary mode"));
        }
        let (path, inside) = self.relative(call);
        if call.action == Action::Update && path.ends_with('/') {
            return Err(Refusal::bad_request("cannot write to a path ending in '/'"));
        }
        let answer = match self.login_mount(&path, inside) {
            Some(mount) => self.login(now, &mount, call)?,
            None => self.authenticated(now, call, &path, inside, twist)?,
        };
        Ok(answer.into_response(self.dice.uuid()))
    }

    /// Returns the path below the namespace that the model has, and whether the request is inside it at all.
    fn relative(&self, call: &Call) -> (String, bool) {
        let Some(namespace) = &self.namespace else {
            return (call.path.clone(), true);
        };
        let full = match &call.namespace {
            Some(prefix) => format!("{prefix}/{}", call.path),
            None => call.path.clone(),
        };
        let below = full
            .strip_prefix(namespace.as_ref())
            .and_then(|rest| rest.strip_prefix('/'));
        match below {
            Some(path) => (path.to_owned(), true),
            None => (full, false),
        }
    }

    /// Returns the mount whose login this is.
    fn login_mount(&self, path: &str, inside: bool) -> Option<String> {
        let mount = path.strip_prefix("auth/")?.strip_suffix("/login")?;
        (inside && self.auth.contains_key(mount)).then(|| mount.to_owned())
    }

    fn login(&mut self, now: Now, mount: &str, call: &Call) -> Result<Answer, Refusal> {
        let method = Arc::make_mut(&mut self.auth).get_mut(mount);
        let method = method.ok_or_else(Refusal::no_token)?;
        let login = method.login(now, mount, call)?;
        let (_, auth, warnings) = self.tokens.issue(now, &mut self.dice, &login.params, login.origin);
        self.counts.logins += 1;
        Ok(Answer::auth("", auth, warnings))
    }

    /// Answers a request that a token must allow.
    fn authenticated(
        &mut self,
        now: Now,
        call: &Call,
        path: &str,
        inside: bool,
        twist: Option<Twist>,
    ) -> Result<Answer, Refusal> {
        let id = call.token.clone().ok_or_else(Refusal::no_token)?;
        let granted = self.words(&id, path)?;
        let is_self = path.starts_with("auth/token/") && path.ends_with("-self");
        let last_use = self.tokens.spend(&id);
        let word = call.action.capability().as_str();
        let allowed = granted.contains(&"root") || granted.contains(&word);
        let answer = if !(allowed && (inside || is_self || id == Self::ROOT_TOKEN)) {
            Err(Refusal::permission_denied())
        } else if !(inside || is_self) {
            Err(Refusal::no_handler(path))
        } else {
            self.route(now, call, path, &id, twist)
        };
        if last_use {
            self.tokens.revoke(&id);
        }
        answer
    }

    fn route(&mut self, now: Now, call: &Call, path: &str, id: &str, twist: Option<Twist>) -> Result<Answer, Refusal> {
        match (path, call.action) {
            ("auth/token/lookup-self", Action::Read | Action::Update) => {
                let answer = self.lookup(now, id)?;
                self.counts.lookups += 1;
                Ok(answer)
            }
            ("auth/token/renew-self", Action::Update) => {
                let answer = self.renew(now, id, call)?;
                self.counts.renewals += 1;
                Ok(answer)
            }
            ("auth/token/revoke-self", Action::Update) => {
                if self.tokens.get(id).is_some_and(Token::is_batch) {
                    return Err(Refusal::bad_request("batch tokens cannot be revoked"));
                }
                self.tokens.revoke(id);
                self.counts.revocations += 1;
                Ok(Answer::default())
            }
            ("sys/capabilities-self", Action::Update) => self.capabilities_self(id, call),
            ("auth/token/lookup-self" | "auth/token/renew-self" | "auth/token/revoke-self", _)
            | ("sys/capabilities-self", _) => Err(Refusal::unsupported_operation()),
            _ if path.starts_with("sys/") || path.starts_with("auth/token/") => Err(Refusal::unsupported_path()),
            _ => self.secret(now, call, path, twist),
        }
    }

    fn secret(&mut self, now: Now, call: &Call, path: &str, twist: Option<Twist>) -> Result<Answer, Refusal> {
        let mounted = self.secrets.iter().rev().find_map(|(mount, pki)| {
            let rest = path.strip_prefix(mount.as_str())?;
            let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
            Some((Arc::clone(pki), rest))
        });
        let (pki, rest) = mounted.ok_or_else(|| Refusal::no_handler(path))?;
        let (answer, issued) = pki.handle(now, &mut self.dice, call, rest, twist)?;
        self.counts.signs += 1;
        self.issued.push(Arc::new(issued));
        Ok(answer)
    }

    fn lookup(&self, now: Now, id: &str) -> Result<Answer, Refusal> {
        if id == Self::ROOT_TOKEN {
            return Ok(Answer::data("token", token::root_lookup(id)));
        }
        self.tokens.lookup(now, id)
    }

    fn renew(&mut self, now: Now, id: &str, call: &Call) -> Result<Answer, Refusal> {
        if id == Self::ROOT_TOKEN {
            return Err(Refusal::bad_request("lease is not renewable"));
        }
        let origin = self.tokens.get(id).and_then(|token| token.origin.role.clone());
        if let Some((mount, role)) = origin {
            let method = self.auth.get(&mount).ok_or_else(Refusal::invalid_token)?;
            method.renew(now, &role, call)?;
        }
        self.tokens.renew(now, id, &call.fields)
    }

    fn capabilities_self(&self, id: &str, call: &Call) -> Result<Answer, Refusal> {
        let mut paths = call.fields.list("paths");
        paths.extend(call.fields.list("path"));
        if paths.is_empty() {
            return Err(Refusal::bad_request("paths must be supplied"));
        }
        let words = paths.into_iter().map(|path| {
            let words = self.words(id, &path)?;
            Ok((path, if words.is_empty() { vec!["deny"] } else { words }))
        });
        let words = words.collect::<Result<Vec<_>, Refusal>>()?;
        Ok(Answer {
            injected: true,
            ..Answer::data("system", sys::capabilities(&words))
        })
    }

    /// Returns what a token may do at a path, in Vault's words.
    fn words(&self, id: &str, path: &str) -> Result<Vec<&'static str>, Refusal> {
        if id == Self::ROOT_TOKEN {
            return Ok(vec!["root"]);
        }
        let token = self.tokens.get(id).ok_or_else(Refusal::invalid_token)?;
        let names = token.policies();
        if names.iter().any(|name| name == "root") {
            return Ok(vec!["root"]);
        }
        let policies = names.iter().filter_map(|name| self.policies.get(name));
        let granted = policy::capabilities(policies, path);
        Ok(granted.into_iter().map(Capability::as_str).collect())
    }

    fn seal_request(&mut self, call: &Call) -> Result<Response<Body>, Refusal> {
        if call.action != Action::Update {
            return Err(Refusal::bare(StatusCode::METHOD_NOT_ALLOWED));
        }
        if !self.node.is_sealed() {
            let token = call.token.as_deref().ok_or_else(Refusal::no_token)?;
            let words = self.words(token, "sys/seal")?;
            if !words.contains(&"root") && !words.contains(&"sudo") {
                return Err(Refusal::permission_denied());
            }
        }
        self.seal();
        Ok(Answer::default().into_response(String::new()))
    }
}

/// Returns the origin that a request was sent to, as `https://host:port`.
fn origin_of(request: &Request<Body>) -> String {
    let host = request.headers().get(http::header::HOST).map(HeaderValue::to_str);
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = authority.or_else(|| host.and_then(Result::ok)).unwrap_or("localhost");
    format!("{}://{authority}", request.uri().scheme_str().unwrap_or("https"))
}
