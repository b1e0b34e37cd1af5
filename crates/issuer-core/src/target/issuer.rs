//! The issuer whose spec is parsed.

use super::{IssuerPolicy, SpecError};
use crate::reference::IssuerKey;

/// The issuer whose login is parsed.
#[derive(Clone, Copy)]
pub(super) struct Issuer<'a> {
    pub(super) key: &'a IssuerKey,
    /// Where its service accounts are.
    pub(super) namespace: &'a str,
    pub(super) policy: &'a IssuerPolicy,
    /// Its server's URL, as the spec has it; `None` if a proxy that the issuer names may pose as that server, which could
    /// be the API server.
    pub(super) server: Option<&'a str>,
}

impl Issuer<'_> {
    /// Returns the audiences that name the issuer and its server.
    pub(super) fn audiences(self) -> Vec<String> {
        let server = self.server.map(str::to_owned);
        [self.key.audience()].into_iter().chain(server).collect()
    }

    /// Returns an error if the policy forbids to request a token of the service account `name` for these audiences, which
    /// `field` lists.
    pub(super) fn permit_account(self, name: &str, audiences: &[String], field: &'static str) -> Result<(), SpecError> {
        let own = self.policy.own_account.as_ref();
        if own.is_some_and(|own| own.namespace == self.namespace && own.name == name) {
            return Err(SpecError::OwnAccount(field));
        }
        let forbidden = audiences
            .iter()
            .position(|audience| self.server != Some(audience.as_str()) && !self.policy.permits_audience(audience));
        forbidden.map_or(Ok(()), |place| Err(SpecError::Audience(field, place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::IssuerKind;

    #[test]
    fn server_behind_own_proxy_is_no_audience() {
        let key = IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: "team".into(),
            name: "vault".into(),
        };
        let policy = IssuerPolicy::default();
        let url = "https://kubernetes.default.svc".to_owned();
        for (server, is_permitted) in [(Some(&*url), true), (None, false)] {
            let issuer = Issuer {
                key: &key,
                namespace: "team",
                policy: &policy,
                server,
            };
            let verdict = issuer.permit_account("signer", std::slice::from_ref(&url), "spec.auth");
            assert_eq!(verdict.is_ok(), is_permitted);
            assert_eq!(issuer.audiences().contains(&url), is_permitted);
        }
    }
}
