//! What Vault grants a case: roles, policies and logins under the case's own name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::servers::vault::text;
use crate::test_namespace::{SOON, Stage};

impl Stage<'_> {
    /// Makes a role in the mount `pki` that allows everything but what `changes` says; its signing path.
    pub(crate) async fn role(&self, changes: Value) -> anyhow::Result<String> {
        self.role_in("pki", changes).await
    }

    /// Makes such a role in another mount.
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

    /// Makes a policy that allows to sign on these paths; its name.
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

    /// Mounts an AppRole method of the case's own; the mount, such as `approle-renewal`.
    ///
    /// Its logins are this case's alone, and so are the tokens that revoking by its prefix ends.
    pub(crate) async fn approle_mount(&self) -> anyhow::Result<String> {
        let mount = format!("approle-{}", self.case);
        self.env
            .vault
            .admin
            .write(&format!("sys/auth/{mount}"), json!({ "type": "approle" }))
            .await?;
        Ok(mount)
    }

    /// Makes an AppRole with this policy and puts its secret ID into the Secret `approle`; the `auth` block.
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

    /// Makes another secret ID of the case's AppRole.
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

    /// Makes a role and the issuer `vault` that signs with it by AppRole, and waits until it is ready; the signing
    /// path.
    pub(crate) async fn signer(&self, role: Value) -> anyhow::Result<String> {
        self.signer_at(&self.env.vault.server, role).await
    }

    /// Makes such an issuer whose server is at this URL, such as that of a proxy before Vault.
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

    /// Counts what Vault has signed on a path.
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
