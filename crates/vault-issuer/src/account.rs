//! The service account that the controller runs as.

use std::io::ErrorKind;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use issuer_core::target::ServiceAccount;
use serde::Deserialize;

const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Returns the service account of this pod; `None` outside of a cluster.
///
/// # Errors
///
/// Fails if the pod has a token that does not tell: issuers that log in with the controller's own account could not be refused.
pub(crate) fn own_account() -> anyhow::Result<Option<ServiceAccount>> {
    let token = match std::fs::read_to_string(TOKEN_FILE) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        token => token.with_context(|| format!("cannot read {TOKEN_FILE}"))?,
    };
    let account = account_of(&token).with_context(|| format!("the token in {TOKEN_FILE} names no service account"))?;
    Ok(Some(account))
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Returns the service account that a token is for (`system:serviceaccount:<namespace>:<name>`).
fn account_of(token: &str) -> Option<ServiceAccount> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let Claims { sub } = serde_json::from_slice(&claims).ok()?;
    let (namespace, name) = sub.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.signature\n", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn reads_the_subject_of_a_token() {
        let account = account_of(&token(r#"{"sub":"system:serviceaccount:vault-issuer:controller"}"#)).unwrap();
        assert_eq!((&*account.namespace, &*account.name), ("vault-issuer", "controller"));
    }

    #[test]
    fn other_tokens_name_no_account() {
        for token in ["", "a.b.c", &token("{}"), &token(r#"{"sub":"system:node:a"}"#)] {
            assert_eq!(account_of(token), None, "{token}");
        }
    }
}
