//! The endpoints for wrapping tokens, and secret IDs that are made.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use issuer_core::Now;
use serde_json::{Map, json};

use super::FakeVault;
use crate::answer::{Answer, Refusal};
use crate::auth::AuthMethod;
use crate::call::{Action, Call};

impl FakeVault {
    /// Makes a secret ID of an AppRole; returns a token with this lifetime that stands for it. `None` if there is no such
    /// role.
    pub fn wrap_secret_id(&mut self, now: Now, mount: &str, role: &str, ttl: Duration) -> Option<String> {
        let made = self.make_secret_id(now, mount, role).ok()?;
        self.wrap_made_secret_id(now, made, (mount, role), ttl)
    }

    /// Replaces all secret IDs of an AppRole by `secret_id`; returns a token with this lifetime that stands for it. `None`
    /// if there is no such role.
    pub fn rotate_wrapped_secret_id(
        &mut self,
        now: Now,
        (mount, role): (&str, &str),
        secret_id: &str,
        ttl: Duration,
    ) -> Option<String> {
        self.auth.get(mount)?.app_role(role)?;
        self.rotate_secret_id(mount, role, secret_id);
        let data = Map::from_iter([("secret_id".to_owned(), json!(secret_id))]);
        self.wrap_made_secret_id(now, Answer::data("approle", data), (mount, role), ttl)
    }

    fn wrap_made_secret_id(
        &mut self,
        now: Now,
        made: Answer,
        (mount, role): (&str, &str),
        ttl: Duration,
    ) -> Option<String> {
        let path = format!("auth/{mount}/role/{role}/secret-id");
        let wrapped = self.tokens.wrap(now, &mut self.dice, made, (&path, ttl));
        Some(wrapped.wrap_info?.get("token")?.as_str()?.to_owned())
    }

    /// Checks the wrapping token of a request about one, before its permissions: that in the body, or that of the request
    /// itself.
    pub(super) fn wrapping_token(&self, call: &Call) -> Result<String, Refusal> {
        let given = call.fields.text("token");
        let own = call.token.clone().unwrap_or_default();
        let token = if given.is_empty() { own } else { given };
        if token.is_empty() {
            let error = "error validating wrapping token: token is empty";
            return Err(Refusal::new(StatusCode::FORBIDDEN, error));
        }
        self.tokens.lookup_wrapping(&token).map(|_| token)
    }

    /// Answers `sys/wrapping/lookup`, which needs no permission.
    pub(super) fn lookup_wrapping(&self, call: &Call) -> Result<Answer, Refusal> {
        if !matches!(call.action, Action::Read | Action::Update) {
            return Err(Refusal::unsupported_operation());
        }
        self.tokens.lookup_wrapping(&self.wrapping_token(call)?)
    }

    /// Returns the mount and the role of the path of an AppRole's secret IDs.
    pub(super) fn secret_ids_of<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let (mount, role) = path
            .strip_prefix("auth/")?
            .strip_suffix("/secret-id")?
            .rsplit_once("/role/")?;
        matches!(self.auth.get(mount), Some(AuthMethod::AppRole(_))).then_some((mount, role))
    }

    pub(super) fn make_secret_id(&mut self, now: Now, mount: &str, role: &str) -> Result<Answer, Refusal> {
        let method = Arc::make_mut(&mut self.auth).get_mut(mount);
        let found = method.and_then(|method| method.app_role_mut(role));
        let missing = || Refusal::new(StatusCode::NOT_FOUND, format!("role {role:?} does not exist"));
        Ok(found.ok_or_else(missing)?.make_secret_id(now, &mut self.dice))
    }
}
