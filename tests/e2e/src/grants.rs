//! Roles, policies and logins in Vault, named after the case.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::servers::vault::text;
use crate::test_namespace::{SOON, TestNamespace};

impl TestNamespace<'_> {
    /// Creates a role in the mount `pki` that allows everything, with `changes`; returns its signing path.
    pub(crate) async fn role(&self, changes: Value) -> anyhow::Result<String> {
        self.role_in("pki", changes).await
    }

    /// Creates such a role in another mount.
    pub(crate) async fn role_in(&self, mount: &str, changes: Value) -> anyhow::Result<String> {
        let mut role = json!({
            "allow_any_name": true,
            "enforce_hostnames": false,
            "allowed_uri_sans": "*",
            "allowed_other_sans": "*",
            "key_type": "any",
            "require_cn": false,
            "ttl": "1h",
            "max_ttl": "24h",
        });
        merge(&mut role, changes);
        self.env
            .vault
            .admin
            .write(&format!("{mount}/roles/{}", self.case), role)
            .await?;
        Ok(format!("{mount}/sign/{}", self.case))
    }

    /// Creates a role for `sign-verbatim` in the mount `pki`; returns its signing path.
    pub(crate) async fn sign_verbatim(&self) -> anyhow::Result<String> {
        let path = self.role(json!({})).await?;
        Ok(path.replace("/sign/", "/sign-verbatim/"))
    }

    /// Creates a policy that allows signing on these paths; returns its name.
    pub(crate) async fn policy(&self, paths: &[&str]) -> anyhow::Result<String> {
        let rules: String = paths
            .iter()
            .map(|path| format!("path \"{path}\" {{ capabilities = [\"update\"] }}\n"))
            .collect();
        let admin = &self.env.vault.admin;
        admin
            .write(&format!("sys/policies/acl/{}", self.case), json!({ "policy": rules }))
            .await?;
        Ok(self.case.to_owned())
    }

    /// Mounts an AppRole method for this case only; returns the mount, such as `approle-renewal`.
    ///
    /// Its logins can be counted, and its tokens be revoked by prefix, without regard to other cases.
    pub(crate) async fn approle_mount(&self) -> anyhow::Result<String> {
        let mount = format!("approle-{}", self.case);
        self.env
            .vault
            .admin
            .write(&format!("sys/auth/{mount}"), json!({ "type": "approle" }))
            .await?;
        Ok(mount)
    }

    /// Creates an AppRole with this policy and the Secret `approle` with its secret ID; returns the `auth` block.
    pub(crate) async fn approle(&self, mount: &str, policy: &str, changes: Value) -> anyhow::Result<Value> {
        let mut role = json!({ "token_policies": policy, "token_ttl": "1h", "token_max_ttl": "4h" });
        merge(&mut role, changes);
        let path = format!("auth/{mount}/role/{}", self.case);
        let admin = &self.env.vault.admin;
        admin.write(&path, role).await?;
        let id = text(&admin.read(&format!("{path}/role-id")).await?["role_id"])?;
        self.secret("approle", &[("secretId", &self.secret_id(mount).await?)])
            .await?;
        Ok(json!({ "appRole": { "path": mount, "roleId": id, "secretRef": { "name": "approle" } } }))
    }

    /// Creates another secret ID of the case's AppRole.
    pub(crate) async fn secret_id(&self, mount: &str) -> anyhow::Result<String> {
        let path = format!("auth/{mount}/role/{}/secret-id", self.case);
        let answer = self.env.vault.admin.write(&path, json!({})).await?;
        text(&answer["data"]["secret_id"])
    }

    /// Returns the spec of an issuer that trusts the private CA.
    pub(crate) fn spec(&self, path: &str, auth: Value) -> Value {
        let vault = &self.env.vault;
        json!({ "server": vault.server, "caBundle": STANDARD.encode(&vault.ca), "path": path, "auth": auth })
    }

    /// Creates a role and the issuer `vault` with AppRole, and waits until it is ready; returns the signing path.
    pub(crate) async fn signer(&self, role: Value) -> anyhow::Result<String> {
        self.signer_at(&self.env.vault.server, role).await
    }

    /// Creates such an issuer with the server at this URL, which may be a proxy.
    pub(crate) async fn signer_at(&self, server: &str, role: Value) -> anyhow::Result<String> {
        let path = self.role(role).await?;
        let auth = self
            .approle("approle", &self.policy(&[&path]).await?, json!({}))
            .await?;
        let mut spec = self.spec(&path, auth);
        spec["server"] = json!(server);
        self.issuer("vault", spec).await?;
        self.ready("vault", SOON).await?;
        Ok(path)
    }

    /// Counts the signatures on a path.
    pub(crate) fn signatures(&self, path: &str) -> anyhow::Result<usize> {
        self.env.vault.audit.signatures(path)
    }
}

/// Sets the fields of `changes`.
fn merge(object: &mut Value, changes: Value) {
    if let (Value::Object(object), Value::Object(changes)) = (object, changes) {
        object.extend(changes);
    }
}
