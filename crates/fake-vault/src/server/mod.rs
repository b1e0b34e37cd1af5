//! The server: its configuration, its tokens, and the certificates that it has signed.

mod admin;
mod hostile;
mod limit;
mod route;
mod wrapping;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use http::header::HeaderName;
use http::{Request, Response};
use issuer_core::{Body, Now};

use self::limit::Quota;
use crate::answer::Refusal;
use crate::auth::AuthMethod;
use crate::call::Call;
use crate::counts::Counts;
use crate::dice::Dice;
use crate::fault::{CaDefect, Faults};
use crate::pki::{IssuedCertificate, Pki};
use crate::policy::Policy;
use crate::sys::Node;
use crate::token::{self, Tokens};

pub use limit::RateLimit;

/// A Vault server.
///
/// A clone shares the configuration until either of the two changes it.
#[derive(Clone)]
pub struct FakeVault {
    auth: Arc<BTreeMap<String, AuthMethod>>,
    secrets: Arc<BTreeMap<String, Arc<Pki>>>,
    policies: Arc<BTreeMap<String, Policy>>,
    namespace: Option<Arc<str>>,
    /// The namespace of the auth methods, if it is not that of all mounts; empty for the root namespace.
    auth_namespace: Option<Arc<str>>,
    node: Node,
    quotas: Vec<Quota>,
    tokens: Tokens,
    dice: Dice,
    faults: Faults,
    counts: Counts,
    issued: Vec<Arc<IssuedCertificate>>,
    namespaces: BTreeSet<String>,
}

impl fmt::Debug for FakeVault {
    /// Prints no token and no key.
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
    /// The root token, which never expires and may do everything.
    pub const ROOT_TOKEN: &str = "root";

    /// The only unseal key.
    pub const UNSEAL_KEY: &str = "9b2d6c0f4f1b4a0f8a5a6f7e3c1d2b4e9b2d6c0f4f1b4a0f8a5a6f7e3c1d2b4e";

    /// Returns an active, unsealed server with nothing mounted. Equal seeds make equal tokens and serial numbers.
    pub fn new(seed: u64) -> Self {
        let policies = [
            ("default", Policy::built_in()),
            (token::WRAPPING_POLICY, Policy::response_wrapping()),
        ];
        let policies = policies.map(|(name, policy)| (name.to_owned(), policy)).into();
        Self {
            auth: Arc::default(),
            secrets: Arc::default(),
            policies: Arc::new(policies),
            namespace: None,
            auth_namespace: None,
            node: Node::default(),
            quotas: Vec::new(),
            tokens: Tokens::default(),
            dice: Dice::new(seed),
            faults: Faults::default(),
            counts: Counts::default(),
            issued: Vec::new(),
            namespaces: BTreeSet::new(),
        }
    }

    /// Answers a request without any fault. The URI may be absolute or only a path.
    pub fn handle(&mut self, now: Now, request: Request<Body>) -> Response<Body> {
        self.answer(now, &request, None)
    }

    fn answer(&mut self, now: Now, request: &Request<Body>, defect: Option<CaDefect>) -> Response<Body> {
        let received = self.receive(request);
        let answered = received.and_then(|call| self.dispatch(now, &call, defect));
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        // Vault echoes the namespace header in every reply.
        let header = HeaderName::from_static("x-vault-namespace");
        if let Some(value) = request.headers().get(&header) {
            response.headers_mut().insert(header, value.clone());
        }
        response
    }

    /// Parses and counts a request.
    fn receive(&mut self, request: &Request<Body>) -> Result<Call, Refusal> {
        self.counts.requests += 1;
        let call = Call::parse(request)?;
        if let Some(operation) = call.operation() {
            self.counts.count(operation);
        }
        self.namespaces.extend(call.namespace.clone());
        Ok(call)
    }
}
