//! Configuration, and what tests do behind Vault's back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use issuer_core::Now;

use crate::auth::SecretId;
use crate::token::Origin;
use crate::{AuthMethod, Counts, FakeVault, Faults, Health, Issued, Pki, Policy, Role, TokenParams};

impl FakeVault {
    /// Mounts an auth method, at a path without `auth/`.
    pub fn enable_auth(&mut self, path: &str, method: AuthMethod) {
        Arc::make_mut(&mut self.auth).insert(path.trim_matches('/').to_owned(), method);
    }

    /// Removes an auth method and with it every token that came from it.
    pub fn disable_auth(&mut self, path: &str) {
        let path = path.trim_matches('/');
        Arc::make_mut(&mut self.auth).remove(path);
        self.tokens
            .revoke_if(|token| token.origin.role.as_ref().is_some_and(|(m, _)| m == path));
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

    /// Sets or replaces a role of a PKI mount; does nothing where none is mounted.
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

    /// Removes a role of an auth method: logins fail, and so do renewals of tokens that came from it.
    pub fn remove_login_role(&mut self, mount: &str, name: &str) {
        if let Some(method) = Arc::make_mut(&mut self.auth).get_mut(mount) {
            method.remove_role(name);
        }
    }

    /// Sets or replaces a policy. Tokens feel it at once.
    pub fn set_policy(&mut self, name: &str, policy: Policy) {
        Arc::make_mut(&mut self.policies).insert(name.to_owned(), policy);
    }

    /// Removes a policy.
    pub fn remove_policy(&mut self, name: &str) {
        Arc::make_mut(&mut self.policies).remove(name);
    }

    /// Makes `secret_id` the only one of an AppRole.
    pub fn rotate_secret_id(&mut self, mount: &str, role: &str, secret_id: &str) {
        let method = Arc::make_mut(&mut self.auth).get_mut(mount);
        if let Some(role) = method.and_then(|method| method.app_role_mut(role)) {
            role.secret_ids = BTreeMap::from([(secret_id.to_owned(), SecretId::default())]);
        }
    }

    /// Puts everything that is mounted into a namespace: requests must be in it, and `sys/health` and its like must
    /// not.
    pub fn set_namespace(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.map(|name| name.trim_matches('/').into());
    }

    /// Sets what kind of node answers.
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

    /// Restarts the server: it comes up sealed, with the tokens that it has stored.
    pub fn restart(&mut self) {
        self.seal();
    }

    /// Starts the sequence of tokens and serial numbers anew, so that a simulator can make equal what came about in
    /// different ways. A seed must not be used again while a token of it lives.
    pub fn reseed(&mut self, seed: u64) {
        self.dice = crate::dice::Dice::new(seed);
    }

    /// Makes a token that no login made.
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

    /// Revokes a token without its holder's knowing; tells whether it was alive.
    pub fn revoke_token(&mut self, token: &str) -> bool {
        self.tokens.revoke(token)
    }

    /// Revokes every token but the root token.
    pub fn revoke_all(&mut self) {
        self.tokens.revoke_if(|_| true);
    }

    /// Returns the tokens that are alive, but for the root token.
    pub fn live_tokens(&mut self, now: Now) -> Vec<String> {
        self.tokens.expire(now);
        self.tokens.ids().map(str::to_owned).collect()
    }

    /// Returns the faults that are due.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Returns what was asked and done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns every certificate that was signed, oldest first, lost replies included.
    pub fn issued(&self) -> &[Arc<Issued>] {
        &self.issued
    }

    /// Returns the namespaces that requests named in their header.
    pub fn namespaces_seen(&self) -> &BTreeSet<String> {
        &self.namespaces
    }
}
