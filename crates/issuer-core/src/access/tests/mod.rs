//! Checks of one issuer, each a script of answers and what follows from it.

mod check;
mod credentials;
mod limits;
mod login;
mod refused;
mod resolve;
mod token;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use http::Response;
use issuer_api::{
    AppRole, Auth, ClientCertificate, JwtAuth, JwtServiceAccountRef, KubernetesAuth, ServiceAccountRef, VaultSpec,
};

use super::*;
use crate::fixture::{at, selector};
use crate::reference::{IssuerKey, IssuerKind, TokenSpec};
use crate::target::IssuerPolicy;
use crate::{Body, Operation, TransportError};

fn app_role() -> Auth {
    Auth {
        app_role: Some(AppRole {
            role_id: Some("r".to_owned()),
            secret_ref: Some(selector("approle")),
            ..AppRole::default()
        }),
        ..Auth::default()
    }
}

/// An AppRole whose role ID is in a Secret, and which needs no secret ID.
fn app_role_in_secret() -> Auth {
    Auth {
        app_role: Some(AppRole {
            role_id_secret_ref: Some(selector("role")),
            ..AppRole::default()
        }),
        ..Auth::default()
    }
}

fn given_token() -> Auth {
    Auth {
        token_secret_ref: Some(selector("token")),
        ..Auth::default()
    }
}

fn kubernetes(secret: Option<&str>) -> Auth {
    let account = ServiceAccountRef {
        name: "signer".to_owned(),
        audiences: Vec::new(),
    };
    Auth {
        kubernetes: Some(KubernetesAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref: secret.map(selector),
            service_account_ref: secret.is_none().then_some(account),
        }),
        ..Auth::default()
    }
}

fn jwt(secret: Option<&str>) -> Auth {
    let account = JwtServiceAccountRef {
        name: "signer".to_owned(),
        audiences: vec!["vault://own".to_owned()],
        expiration_seconds: Some(900),
    };
    Auth {
        jwt: Some(JwtAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref: secret.map(selector),
            service_account_ref: secret.is_none().then_some(account),
        }),
        ..Auth::default()
    }
}

fn certificate(secret: Option<&str>) -> Auth {
    Auth {
        client_certificate: Some(ClientCertificate {
            secret_name: secret.map(str::to_owned),
            ..ClientCertificate::default()
        }),
        ..Auth::default()
    }
}

fn reply(status: u16, body: &str) -> Reply {
    let body = Body::from(body.as_bytes().to_vec());
    Ok(Response::builder().status(status).body(body).unwrap())
}

fn refusal(status: u16, reason: &str) -> Reply {
    reply(status, &serde_json::json!({ "errors": [reason] }).to_string())
}

/// Returns a login's reply.
fn granted(token: &str, seconds: u64, renewable: bool) -> Reply {
    let auth = serde_json::json!({ "client_token": token, "lease_duration": seconds, "renewable": renewable });
    reply(200, &serde_json::json!({ "auth": auth }).to_string())
}

/// A check whose questions are answered well, except for the answers that a test gives.
struct Scenario {
    spec: VaultSpec,
    policy: IssuerPolicy,
    held: Held,
    now: Now,
    secrets: BTreeMap<&'static str, Result<SecretData, ReadError>>,
    config_maps: BTreeMap<&'static str, Result<SecretData, ReadError>>,
    token: Result<Secret, ReadError>,
    replies: BTreeMap<Operation, VecDeque<Reply>>,
    /// When the replies of an operation arrive.
    arrivals: BTreeMap<Operation, Now>,
}

/// The questions of a check, and its result.
struct Checked {
    asked: Vec<String>,
    requests: Vec<Request>,
    tokens: Vec<TokenSpec>,
    outcome: CheckOutcome,
}

impl Checked {
    fn ready(self) -> Access {
        assert_eq!(self.outcome.verdict, Ok(()));
        self.outcome.access.unwrap()
    }

    fn count(&self, question: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == question).count()
    }

    /// Returns the reason why the issuer is not ready, and the message.
    fn not_ready(&self) -> (&'static str, String) {
        let error = self.outcome.verdict.as_ref().unwrap_err();
        (error.reason(), error.to_string())
    }
}

fn of_version(version: &str, data: &[(&str, &str)]) -> SecretData {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Secret::from(*value)));
    SecretData {
        resource_version: version.to_owned(),
        data: data.collect(),
        servers: None,
    }
}

/// Begins a scenario: an issuer `https://a` that signs at `pki/sign/web`.
fn issuer(auth: Auth) -> Scenario {
    Scenario {
        spec: VaultSpec {
            server: "https://a".to_owned(),
            path: "pki/sign/web".to_owned(),
            auth,
            ..VaultSpec::default()
        },
        policy: IssuerPolicy::default(),
        held: Held::default(),
        now: at(0),
        secrets: BTreeMap::new(),
        config_maps: BTreeMap::new(),
        token: Ok(Secret::from("jwt")),
        replies: BTreeMap::new(),
        arrivals: BTreeMap::new(),
    }
    .secret("approle", "1", &[("secretId", "x")])
    .secret("token", "1", &[("token", "hvs.given")])
}

impl Scenario {
    fn with_room(mut self, bytes: usize) -> Self {
        self.held.room = Room(bytes);
        self
    }

    fn server(mut self, server: &str) -> Self {
        server.clone_into(&mut self.spec.server);
        self
    }

    fn holds(mut self, access: &Access) -> Self {
        self.held.access = Some(access.clone());
        self
    }

    fn at(mut self, seconds: u64) -> Self {
        self.now = at(seconds);
        self
    }

    fn secret(mut self, name: &'static str, version: &str, data: &[(&str, &str)]) -> Self {
        self.secrets.insert(name, Ok(of_version(version, data)));
        self
    }

    fn config_map(mut self, name: &'static str, version: &str, data: &[(&str, &str)]) -> Self {
        self.config_maps.insert(name, Ok(of_version(version, data)));
        self
    }

    fn no_secret(mut self, name: &'static str, error: ReadError) -> Self {
        self.secrets.insert(name, Err(error));
        self
    }

    fn no_token(mut self, error: ReadError) -> Self {
        self.token = Err(error);
        self
    }

    /// Adds a reply to the next request of an operation.
    fn replies(mut self, operation: Operation, reply: Reply) -> Self {
        self.replies.entry(operation).or_default().push_back(reply);
        self
    }

    /// Makes this the reply to each request of an operation.
    fn always(mut self, operation: Operation, reply: Reply) -> Self {
        self.replies.insert(operation, vec![reply; 9].into());
        self
    }

    /// Makes the replies of an operation, and all after them, arrive at `seconds`.
    fn arrives(mut self, operation: Operation, seconds: u64) -> Self {
        self.arrivals.insert(operation, at(seconds));
        self
    }

    fn reply(&mut self, request: &Request) -> Reply {
        let scripted = self.replies.get_mut(&request.operation).and_then(VecDeque::pop_front);
        scripted.unwrap_or_else(|| match request.operation {
            Operation::Login => granted(&format!("hvs.of-{}", request.connect.origin.host()), 60, true),
            Operation::Renew => granted("hvs.ignored", 60, true),
            Operation::Lookup => reply(200, r#"{"data":{"ttl":60,"renewable":true}}"#),
            Operation::Probe => refusal(400, "\"csr\" is empty"),
            _ => reply(200, r#"{"initialized":true}"#),
        })
    }

    fn run(mut self) -> Checked {
        let key = IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: "team".into(),
            name: "vault".into(),
        };
        let target = Target::parse(&self.spec, &key, "team", &self.policy).unwrap();
        let (mut asked, mut requests, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        let mut step = begin(target, "team", std::mem::take(&mut self.held), self.now);
        loop {
            step = match step {
                Step::ReadConfigMap(config_map, waits) => {
                    asked.push(format!("ConfigMap {}/{}", config_map.namespace, config_map.name));
                    let answer = self.config_maps.get(&*config_map.name).cloned();
                    waits.resume(self.now, answer.unwrap_or(Err(ReadError::NotFound)))
                }
                Step::ReadSecret(secret, waits) => {
                    asked.push(format!("Secret {}/{}", secret.namespace, secret.name));
                    let answer = self.secrets.get(&*secret.name).cloned();
                    waits.resume(self.now, answer.unwrap_or(Err(ReadError::NotFound)))
                }
                Step::MintToken(source, waits) => {
                    match source {
                        TokenSource::File(path) => asked.push(format!("file {path}")),
                        TokenSource::Requested(spec) => {
                            asked.push(format!("token {}/{}", spec.namespace, spec.service_account));
                            tokens.push(spec);
                        }
                    }
                    waits.resume(self.now, self.token.clone())
                }
                Step::Exchange(request, waits) => {
                    asked.push(request.operation.as_str().to_owned());
                    let reply = self.reply(&request);
                    self.now = *self.arrivals.get(&request.operation).unwrap_or(&self.now);
                    requests.push(request);
                    waits.resume(self.now, reply)
                }
                Step::Done(outcome) => {
                    return Checked {
                        asked,
                        requests,
                        tokens,
                        outcome,
                    };
                }
            };
        }
    }
}

fn denied() -> Reply {
    refusal(403, "permission denied")
}

/// Returns the access of a token that cannot be renewed.
fn not_renewable() -> Access {
    let login = granted("a", 60, false);
    issuer(app_role()).replies(Operation::Login, login).run().ready()
}

/// Returns the access that a first check leaves, whose token lives for 60 s.
fn held(auth: Auth) -> Access {
    issuer(auth).run().ready()
}
