//! Response wrapping: a token that stands for an answer, and that is exchanged for it once
//! (<https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use issuer_core::Now;
use serde_json::{Map, Value, json};

use super::{Origin, TokenParams, Tokens};
use crate::answer::{Answer, Refusal};
use crate::dice::Dice;

/// The policy of wrapping tokens.
pub(crate) const POLICY: &str = "response-wrapping";

/// An answer that a token stands for.
#[derive(Clone)]
pub(super) struct Wrapped {
    data: Map<String, Value>,
    /// The type of the mount that answered.
    mount: &'static str,
}

impl Tokens {
    /// Returns an answer that contains a wrapping token instead of the data of `answer`, which a request to `path` got.
    /// One without data is not changed: the wrapping of logins is not modeled.
    pub(crate) fn wrap(&mut self, now: Now, dice: &mut Dice, answer: Answer, (path, ttl): (&str, Duration)) -> Answer {
        let Some(data) = answer.data else {
            return answer;
        };
        let params = TokenParams {
            num_uses: 1,
            no_default_policy: true,
            renewable: false,
            ..TokenParams::policies([POLICY]).ttl(ttl, ttl)
        };
        let origin = Origin {
            path: path.to_owned(),
            role: None,
            display_name: String::new(),
            meta: BTreeMap::new(),
            entity: String::new(),
        };
        let (id, auth, _) = self.issue(now, dice, &params, origin);
        let mut info = json!({
            "token": id,
            "accessor": auth.get("accessor"),
            "ttl": ttl.as_secs(),
            "creation_time": now.timestamp().to_string(),
            "creation_path": path,
        });
        if let (Some(info), Some(accessor)) = (info.as_object_mut(), data.get("secret_id_accessor")) {
            info.insert("wrapped_accessor".to_owned(), accessor.clone());
        }
        let wrapped = Wrapped {
            data,
            mount: answer.mount,
        };
        if let Some(token) = self.alive.get_mut(id.as_str()) {
            Arc::make_mut(token).wraps = Some(Arc::new(wrapped));
        }
        Answer {
            wrap_info: Some(info),
            ..Answer::default()
        }
    }

    /// Answers a lookup of a wrapping token, which does not use it.
    pub(crate) fn lookup_wrapping(&self, id: &str) -> Result<Answer, Refusal> {
        let token = self.get(id).filter(|token| token.wraps.is_some());
        let token = token.ok_or_else(Refusal::invalid_wrapping_token)?;
        let data = [
            ("creation_path", json!(token.origin.path)),
            ("creation_time", json!(token.issued.timestamp().to_string())),
            ("creation_ttl", json!(token.ttl.as_secs())),
        ];
        let data = data.into_iter().map(|(field, value)| (field.to_owned(), value));
        Ok(Answer::data("", data.collect()))
    }

    /// Returns the answer that a wrapping token stands for, and revokes the token.
    pub(crate) fn unwrap(&mut self, id: &str) -> Result<Answer, Refusal> {
        let wrapped = self.get(id).and_then(|token| token.wraps.clone());
        let wrapped = wrapped.ok_or_else(Refusal::invalid_wrapping_token)?;
        self.revoke(id);
        Ok(Answer::data(wrapped.mount, wrapped.data.clone()))
    }
}
