//! Logins with a role ID and a secret ID.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use issuer_core::Now;
use serde_json::json;

use super::admitted::Admitted;
use crate::answer::{Answer, Refusal};
use crate::call::{Action, Call};
use crate::dice::Dice;
use crate::token::TokenParams;

/// A role of the AppRole method.
#[derive(Clone)]
pub struct AppRoleRole {
    /// Whether a login needs a secret ID.
    pub bind_secret_id: bool,
    /// The role ID.
    pub role_id: String,
    /// The lifetime of secret IDs that are made; zero for no end.
    pub secret_id_ttl: Duration,
    /// The valid secret IDs.
    pub secret_ids: BTreeMap<String, SecretId>,
    /// The tokens that logins get.
    pub token: TokenParams,
}

/// The limits of a secret ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretId {
    /// The number of logins that are left; zero for any number.
    pub num_uses: u64,
    /// When it expires, on the monotonic clock; `None` for never.
    pub expires: Option<Duration>,
}

impl AppRoleRole {
    /// Returns a role with one secret ID that never expires.
    pub fn new(role_id: &str, secret_id: &str, token: TokenParams) -> Self {
        let secret_ids = BTreeMap::from([(secret_id.to_owned(), SecretId::default())]);
        Self {
            bind_secret_id: true,
            role_id: role_id.to_owned(),
            secret_id_ttl: Duration::ZERO,
            secret_ids,
            token,
        }
    }

    /// Returns a role whose role ID alone logs in.
    pub fn without_secret_id(role_id: &str, token: TokenParams) -> Self {
        Self {
            bind_secret_id: false,
            role_id: role_id.to_owned(),
            secret_id_ttl: Duration::ZERO,
            secret_ids: BTreeMap::new(),
            token,
        }
    }

    /// Makes a secret ID for any number of logins.
    pub(crate) fn make_secret_id(&mut self, now: Now, dice: &mut Dice) -> Answer {
        let (secret_id, accessor) = (dice.uuid(), dice.uuid());
        let expires = Some(now.monotonic + self.secret_id_ttl).filter(|_| !self.secret_id_ttl.is_zero());
        let data = [
            ("secret_id", json!(secret_id)),
            ("secret_id_accessor", json!(accessor)),
            ("secret_id_num_uses", json!(0)),
            ("secret_id_ttl", json!(self.secret_id_ttl.as_secs())),
        ];
        self.secret_ids.insert(secret_id, SecretId { num_uses: 0, expires });
        let data = data.into_iter().map(|(field, value)| (field.to_owned(), value));
        Answer::data("approle", data.collect())
    }

    /// Checks a secret ID and counts its use.
    fn spend(&mut self, now: Now, secret_id: &str) -> Result<(), Refusal> {
        if !self.bind_secret_id {
            return Ok(());
        }
        if secret_id.is_empty() {
            return Err(Refusal::bad_request("missing secret_id"));
        }
        self.secret_ids
            .retain(|_, secret| secret.expires.is_none_or(|end| now.monotonic < end));
        let secret = self.secret_ids.get_mut(secret_id).ok_or_else(invalid)?;
        match secret.num_uses {
            0 => {}
            1 => drop(self.secret_ids.remove(secret_id)),
            _ => secret.num_uses -= 1,
        }
        Ok(())
    }
}

fn invalid() -> Refusal {
    Refusal::bad_request("invalid role or secret ID")
}

pub(super) fn login(roles: &mut BTreeMap<String, AppRoleRole>, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    let role_id = call.fields.text("role_id").trim().to_owned();
    if role_id.is_empty() {
        let error = "failed to determine alias name from login request";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    if call.action != Action::Update {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation"));
    }
    let (name, role) = roles
        .iter_mut()
        .find(|(_, role)| role.role_id == role_id)
        .ok_or_else(invalid)?;
    role.spend(now, call.fields.text("secret_id").trim())?;
    Ok(Admitted {
        role: name.clone(),
        params: role.token.clone(),
        display_name: String::new(),
        meta: BTreeMap::from([("role_name".to_owned(), name.clone())]),
    })
}
