//! From a request to the part of the server that answers it.

use std::sync::Arc;

use http::{Response, StatusCode};
use issuer_core::{Body, Now};
use serde_json::{Map, json};

use super::FakeVault;
use crate::answer::{Answer, Refusal};
use crate::call::{Action, Call};
use crate::fault::CaDefect;
use crate::policy::{self, Capability, Grant};
use crate::sys::{self, Health};
use crate::token::{self, Leased, Token};

const LEASE_REVOKED: &str =
    "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.";

impl FakeVault {
    pub(super) fn dispatch(
        &mut self,
        now: Now,
        call: &Call,
        defect: Option<CaDefect>,
    ) -> Result<Response<Body>, Refusal> {
        self.tokens.expire(now);
        if self.namespace.is_some() && call.namespace.is_some() && sys::ROOT_ONLY.contains(&call.path.as_str()) {
            return Err(Refusal::bad_request("operation unavailable in namespaces"));
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
        for quota in &mut self.quotas {
            quota.take(now, &call.path)?;
        }
        let (path, inside) = self.relative(call);
        if call.action == Action::Update && path.ends_with('/') {
            return Err(Refusal::bad_request("cannot write to a path ending in '/'"));
        }
        let answer = match self.login_mount(&path, inside) {
            Some(mount) => self.login(now, &mount, call)?,
            None if path == "sys/wrapping/lookup" => self.lookup_wrapping(call)?,
            None => {
                let answer = self.authenticated(now, call, &path, inside, defect)?;
                match call.wrap_ttl {
                    Some(ttl) => self.tokens.wrap(now, &mut self.dice, answer, (&path, ttl)),
                    None => answer,
                }
            }
        };
        Ok(answer.into_response(self.dice.uuid()))
    }

    /// Returns the path below the namespace of the mount that it leads to, and whether the request is inside that
    /// namespace.
    fn relative(&self, call: &Call) -> (String, bool) {
        let Some(namespace) = &self.namespace else {
            return (call.path.clone(), true);
        };
        let full = match &call.namespace {
            Some(prefix) => format!("{prefix}/{}", call.path),
            None => call.path.clone(),
        };
        let inside = match &self.auth_namespace {
            None => below(namespace, &full),
            Some(auth) => below(auth, &full)
                .filter(|path| path.starts_with("auth/"))
                .or_else(|| below(namespace, &full).filter(|path| !path.starts_with("auth/"))),
        };
        match inside {
            Some(path) => (path.to_owned(), true),
            None => (full, false),
        }
    }

    /// Returns the auth mount if the path is its login endpoint.
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

    /// Answers a request that needs a token with the right policies.
    fn authenticated(
        &mut self,
        now: Now,
        call: &Call,
        path: &str,
        inside: bool,
        defect: Option<CaDefect>,
    ) -> Result<Answer, Refusal> {
        if path == "sys/wrapping/unwrap" {
            self.wrapping_token(call)?;
        }
        let id = call.token.clone().ok_or_else(Refusal::no_token)?;
        let grant = self.grant(&id, path)?;
        let is_self = path.starts_with("auth/token/") && path.ends_with("-self");
        let last_use = self.tokens.spend(&id);
        let allowed = grant.allows(call.action.capability(), &call.fields);
        let answer = if !(allowed && (inside || is_self || id == Self::ROOT_TOKEN)) {
            Err(Refusal::permission_denied())
        } else if !(inside || is_self) {
            Err(Refusal::no_handler(path))
        } else {
            self.route(now, call, path, &id, defect)
        };
        if last_use {
            self.tokens.revoke(&id);
            if answer.as_ref().is_ok_and(|answer| answer.lease.is_some()) {
                return Err(Refusal::bad_request(LEASE_REVOKED));
            }
        }
        answer
    }

    fn route(
        &mut self,
        now: Now,
        call: &Call,
        path: &str,
        id: &str,
        defect: Option<CaDefect>,
    ) -> Result<Answer, Refusal> {
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
            ("sys/wrapping/unwrap", Action::Update) => {
                let token = self.wrapping_token(call)?;
                self.tokens.unwrap(&token)
            }
            ("auth/token/lookup-self" | "auth/token/renew-self" | "auth/token/revoke-self", _)
            | ("sys/capabilities-self" | "sys/wrapping/unwrap", _) => Err(Refusal::unsupported_operation()),
            _ if path.starts_with("sys/") || path.starts_with("auth/token/") => Err(Refusal::unsupported_path()),
            _ => match self.secret_ids_of(path) {
                Some((mount, role)) if call.action == Action::Update => self.make_secret_id(now, mount, role),
                Some(_) => Err(Refusal::unsupported_operation()),
                None => self.secret(now, call, path, id, defect),
            },
        }
    }

    fn secret(
        &mut self,
        now: Now,
        call: &Call,
        path: &str,
        id: &str,
        defect: Option<CaDefect>,
    ) -> Result<Answer, Refusal> {
        // Of two mounts one below the other, the longer one comes later in the map and wins.
        let mounted = self.secrets.iter().rev().find_map(|(mount, pki)| {
            let rest = path.strip_prefix(mount.as_str())?;
            let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
            Some((mount.clone(), Arc::clone(pki), rest))
        });
        let (mount, pki, rest) = mounted.ok_or_else(|| Refusal::no_handler(path))?;
        if (rest, call.action) == ("certs/revoked/", Action::List) {
            return self.revoked_certificates(&mount);
        }
        let (mut answer, issued) = pki.handle(now, &mut self.dice, call, rest, defect)?;
        if let Some(lease) = &mut answer.lease {
            let certificate = Leased {
                mount: mount.into(),
                serial: issued.serial.as_str().into(),
            };
            let limit = self.tokens.lease(now, id, certificate);
            lease.seconds = limit.map_or(lease.seconds, |limit| lease.seconds.min(limit.as_secs()));
        }
        self.counts.signs += 1;
        self.issued.push(Arc::new(issued));
        Ok(answer)
    }

    /// Answers `LIST <mount>/certs/revoked`. Vault answers an empty list with 404.
    fn revoked_certificates(&self, mount: &str) -> Result<Answer, Refusal> {
        let revoked = self.tokens.revoked().filter(|leased| *leased.mount == *mount);
        let keys: Vec<&str> = revoked.map(|leased| &*leased.serial).collect();
        if keys.is_empty() {
            return Err(Refusal::bare(StatusCode::NOT_FOUND));
        }
        let data = Map::from_iter([("keys".to_owned(), json!(keys))]);
        Ok(Answer::data("pki", data))
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
        let granted = paths.into_iter().map(|path| {
            let names = self.grant(id, &path)?.names();
            Ok((path, names))
        });
        let granted = granted.collect::<Result<Vec<_>, Refusal>>()?;
        Ok(Answer {
            injected: true,
            ..Answer::data("system", sys::capabilities(&granted))
        })
    }

    /// Returns the permissions of a token on a path.
    fn grant(&self, id: &str, path: &str) -> Result<Grant, Refusal> {
        if id == Self::ROOT_TOKEN {
            return Ok(Grant::Root);
        }
        let token = self.tokens.get(id).ok_or_else(Refusal::invalid_token)?;
        let names = token.policies();
        if names.iter().any(|name| name == "root") {
            return Ok(Grant::Root);
        }
        let policies = names.iter().filter_map(|name| self.policies.get(name));
        Ok(policy::grant(policies, path))
    }

    fn seal_request(&mut self, call: &Call) -> Result<Response<Body>, Refusal> {
        if call.action != Action::Update {
            return Err(Refusal::bare(StatusCode::METHOD_NOT_ALLOWED));
        }
        if !self.node.is_sealed() {
            let token = call.token.as_deref().ok_or_else(Refusal::no_token)?;
            if !self.grant(token, "sys/seal")?.allows(Capability::Sudo, &call.fields) {
                return Err(Refusal::permission_denied());
            }
        }
        self.seal();
        Ok(Answer::default().into_response(String::new()))
    }
}

/// Returns the rest of a path below a namespace; the root namespace is empty.
fn below<'p>(namespace: &str, path: &'p str) -> Option<&'p str> {
    if namespace.is_empty() {
        return Some(path);
    }
    path.strip_prefix(namespace)?.strip_prefix('/')
}
