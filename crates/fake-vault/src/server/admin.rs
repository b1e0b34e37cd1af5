//! Configuration and inspection by tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use issuer_core::Now;

use super::FakeVault;
use super::limit::{Quota, RateLimit};
use crate::auth::{AuthMethod, SecretId};
use crate::counts::Counts;
use crate::dice::Dice;
use crate::fault::Faults;
use crate::pki::{IssuedCertificate, Pki, Role};
use crate::policy::Policy;
use crate::sys::Health;
use crate::token::{Origin, TokenParams};

impl FakeVault {
    /// Mounts an auth method at a path without `auth/`.
    pub fn enable_auth(&mut self, path: &str, method: AuthMethod) {
        Arc::make_mut(&mut self.auth).insert(path.trim_matches('/').to_owned(), method);
    }

    /// Removes an auth method and revokes the tokens of its logins.
    pub fn disable_auth(&mut self, path: &str) {
        let path = path.trim_matches('/');
        Arc::make_mut(&mut self.auth).remove(path);
        self.tokens
            .end_if(|token| token.origin.role.as_ref().is_some_and(|(m, _)| m == path));
    }

    /// Mounts a PKI.
    pub fn enable_pki(&mut self, path: &str, pki: Pki) {
        let path = path.trim_matches('/').to_owned();
        Arc::make_mut(&mut self.secrets).insert(path, Arc::new(pki));
    }

    /// Removes a PKI mount.
    pub fn disable_pki(&mut self, path: &str) {
        Arc::make_mut(&mut self.secrets).remove(path.trim_matches('/'));
    }

    /// Returns a PKI mount.
    pub fn pki(&self, path: &str) -> Option<&Pki> {
        self.secrets.get(path).map(Arc::as_ref)
    }

    /// Sets or replaces a role of a PKI mount; does nothing if there is no such mount.
    pub fn set_role(&mut self, mount: &str, name: &str, role: Role) {
        if let Some(pki) = Arc::make_mut(&mut self.secrets).get_mut(mount) {
            Arc::make_mut(pki).roles.insert(name.to_owned(), role);
        }
    }

    /// Removes a role of a PKI mount.
    pub fn remove_role(&mut self, mount: &str, name: &str) {
        if let Some(pki) = Arc::make_mut(&mut self.secrets).get_mut(mount) {
            Arc::make_mut(pki).roles.remove(name);
        }
    }

    /// Removes a role of an auth method: logins and renewals of the role's tokens fail.
    pub fn remove_login_role(&mut self, mount: &str, name: &str) {
        if let Some(method) = Arc::make_mut(&mut self.auth).get_mut(mount) {
            method.remove_role(name);
        }
    }

    /// Sets or replaces a policy. The change applies to existing tokens at once.
    pub fn set_policy(&mut self, name: &str, policy: Policy) {
        Arc::make_mut(&mut self.policies).insert(name.to_owned(), policy);
    }

    /// Removes a policy.
    pub fn remove_policy(&mut self, name: &str) {
        Arc::make_mut(&mut self.policies).remove(name);
    }

    /// Replaces all secret IDs of an AppRole by `secret_id`.
    pub fn rotate_secret_id(&mut self, mount: &str, role: &str, secret_id: &str) {
        let method = Arc::make_mut(&mut self.auth).get_mut(mount);
        if let Some(role) = method.and_then(|method| method.app_role_mut(role)) {
            role.secret_ids = BTreeMap::from([(secret_id.to_owned(), SecretId::default())]);
        }
    }

    /// Puts all mounts into a namespace: requests must name it, except those for `sys/health` and similar endpoints,
    /// which must not.
    pub fn set_namespace(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.map(|name| name.trim_matches('/').into());
    }

    /// Puts the auth methods and their tokens into another namespace than the secrets engines; `""` is the root
    /// namespace, and `None` puts them back. A token may renew, revoke and look up itself in its own namespace only.
    pub fn set_auth_namespace(&mut self, namespace: Option<&str>) {
        self.auth_namespace = namespace.map(|name| name.trim_matches('/').into());
    }

    /// Replaces the rate limit quotas. `sys/health`, `sys/seal-status`, `sys/seal` and `sys/unseal` are exempt.
    pub fn set_rate_limits(&mut self, limits: impl IntoIterator<Item = RateLimit>) {
        self.quotas = limits.into_iter().map(Quota::new).collect();
    }

    /// Sets the kind and state of the node.
    pub fn set_health(&mut self, health: Health) {
        self.node.health = health;
    }

    /// Seals the server.
    pub fn seal(&mut self) {
        self.node.sealed = true;
    }

    /// Unseals the server.
    pub fn unseal(&mut self) {
        self.node.sealed = false;
    }

    /// Restarts the server: it is sealed and has kept its tokens.
    pub fn restart(&mut self) {
        self.seal();
    }

    /// Restarts the sequence of tokens and serial numbers, so that a simulator can make states equal that were reached
    /// in different ways. A seed must not be used again while one of its tokens is valid.
    pub fn reseed(&mut self, seed: u64) {
        self.dice = Dice::new(seed);
    }

    /// Creates a token without a login.
    pub fn create_token(&mut self, now: Now, params: &TokenParams) -> String {
        let origin = Origin {
            path: "auth/token/create".to_owned(),
            role: None,
            display_name: "token".to_owned(),
            meta: BTreeMap::new(),
            entity: String::new(),
        };
        self.tokens.issue(now, &mut self.dice, params, origin).0
    }

    /// Revokes a token; returns `true` if it was valid.
    pub fn revoke_token(&mut self, token: &str) -> bool {
        self.tokens.revoke(token)
    }

    /// Revokes every token but the root token.
    pub fn revoke_all(&mut self) {
        self.tokens.end_if(|_| true);
    }

    /// Returns the valid tokens except the root token.
    pub fn live_tokens(&mut self, now: Now) -> Vec<String> {
        self.tokens.expire(now);
        self.tokens.ids().map(str::to_owned).collect()
    }

    /// Returns the remaining uses of a token; `None` if they are not limited or the token is not valid.
    pub fn uses_left(&self, token: &str) -> Option<u64> {
        self.tokens.get(token)?.uses_left()
    }

    /// Returns the remaining logins of a secret ID; `None` if they are not limited or the secret ID is not valid.
    pub fn logins_left(&self, mount: &str, role: &str, secret_id: &str) -> Option<u64> {
        let role = self.auth.get(mount)?.app_role(role)?;
        let uses = role.secret_ids.get(secret_id)?.num_uses;
        (uses > 0).then_some(uses)
    }

    /// Returns the serial numbers of the certificates that were revoked, sorted. A certificate with a lease is revoked
    /// when the token that requested it expires or is revoked.
    pub fn revoked(&mut self, now: Now) -> Vec<String> {
        self.tokens.expire(now);
        let mut serials: Vec<_> = self.tokens.revoked().map(|leased| leased.serial.to_string()).collect();
        serials.sort();
        serials
    }

    /// Returns the faults that requests meet.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Returns the number of requests and results so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns every signed certificate, oldest first, including those whose replies were lost.
    pub fn issued(&self) -> &[Arc<IssuedCertificate>] {
        &self.issued
    }

    /// Returns the namespaces in the headers of all requests.
    pub fn namespaces_seen(&self) -> &BTreeSet<String> {
        &self.namespaces
    }
}
