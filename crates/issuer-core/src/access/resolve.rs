//! Turns a target and the Secrets that it names into a connection and credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;

use super::login::{Login, Recipient, TokenLogin, WrappedLogin};
use super::{Inputs, SecretData, SecretError};
use crate::reference::{ConfigMapKey, ConfigMapRef, SecretKey, SecretRef, SourceRef, TokenSource, TokenSpec};
use crate::target::{AmbientIdentity, AwsIdentity, Method, Mount, RoleId, SecretIdKey, Sts, Target, Trust};
use crate::vault::aws::KeySource;
use crate::vault::{AwsKeys, Credentials, Vault};
use crate::{Connect, Identity, Limits, Roots, Secret, pem};

/// The lifetime in seconds of a service account token that AWS gets: the least that Kubernetes grants.
const AWS_TOKEN_SECONDS: i64 = 600;

/// The connection to Vault and the credentials, made from a target and its Secrets.
pub(super) struct Resolved {
    pub(super) vault: Vault,
    pub(super) login: Login,
    pub(super) inputs: Arc<Inputs>,
    pub(super) versions: Arc<[(SourceRef, String)]>,
}

/// Resolves a target whose Secrets and ConfigMap have been read from `namespace`. Connections equal to those of `held`
/// are shared with it.
pub(super) fn resolve(
    target: &Target,
    namespace: &str,
    sources: &BTreeMap<SourceRef, SecretData>,
    held: Option<&Vault>,
) -> Result<Resolved, SecretError> {
    // Before anything is taken from them: the owner of a Secret decides where it may be sent.
    for server in [Some(&target.origin), target.own_proxy.as_ref()].into_iter().flatten() {
        if let Some((source, _)) = sources.iter().find(|(_, data)| !data.may_be_used_with(server)) {
            return Err(SecretError::OtherServer {
                object: source.clone(),
                server: server.to_string(),
            });
        }
    }
    let contents = sources
        .iter()
        .map(|(source, data)| (source.clone(), data.fingerprint()));
    let versions = sources
        .iter()
        .map(|(source, data)| (source.clone(), data.resource_version.clone()));
    let versions = versions.collect();
    let inputs = Arc::new(Inputs {
        target: target.clone(),
        contents: contents.collect(),
    });
    let sources = ReadSources { namespace, sources };
    Ok(Resolved {
        vault: vault(target, &sources, held)?,
        login: login(target, &sources)?,
        inputs,
        versions,
    })
}

fn vault(target: &Target, sources: &ReadSources<'_>, held: Option<&Vault>) -> Result<Vault, SecretError> {
    let roots = match &target.trust {
        Trust::System => Roots::System,
        Trust::Inline(bundle) if holds_certificate(bundle.pem()) => Roots::Bundle(bundle.clone()),
        Trust::Inline(_) => return Err(SecretError::CaBundle),
        Trust::ConfigMap(key) => Roots::bundle(sources.certificates(&sources.in_config_map(key))?),
        Trust::Secret(key) => Roots::bundle(sources.certificates(&sources.in_secret(key))?),
    };
    let identity = match &target.identity {
        Some((certificate, key)) => Some(sources.identity(certificate, key)?),
        None => None,
    };
    let connect = Connect {
        origin: target.origin.clone(),
        allowed_servers: target.allowed_servers.clone(),
        proxy: target.proxy.clone(),
        server_name: target.server_name.clone(),
        roots,
        identity,
        limits: Limits::default(),
    };
    let mut login = connect.clone();
    if let Method::Certificate { secret: Some(name), .. } = &target.method {
        let key = |key: &str| SecretKey {
            name: name.clone(),
            key: key.to_owned(),
        };
        login.identity = Some(sources.identity(&key("tls.crt"), &key("tls.key"))?);
    }
    // Drivers pool connections by the identity of `Connect`: an equal one anew would cost a handshake after each read.
    let known = held.into_iter().flat_map(|held| [&held.connect, &held.login]);
    let share = |connect: Connect| {
        let shared = known.clone().find(|known| ***known == connect);
        shared.map_or_else(|| Arc::new(connect), Arc::clone)
    };
    let is_shared = login == connect;
    let connect = share(connect);
    Ok(Vault {
        login: if is_shared { Arc::clone(&connect) } else { share(login) },
        connect,
        namespace: target.namespace.clone(),
        login_namespace: target.login_namespace.clone(),
    })
}

fn login(target: &Target, sources: &ReadSources<'_>) -> Result<Login, SecretError> {
    Ok(Login::With(match &target.method {
        Method::AppRole {
            mount,
            role_id,
            secret_id,
        } => return app_role_login(mount, role_id, secret_id.as_ref(), sources),
        Method::Aws {
            mount,
            role,
            sts,
            identity,
        } => return aws_login(mount, role, sts, identity, sources),
        Method::Certificate { mount, role, .. } => Credentials::Certificate {
            mount: mount.clone(),
            role: role.clone(),
        },
        Method::Jwt { mount, role, token } => Credentials::Jwt {
            mount: mount.clone(),
            role: role.clone(),
            token: sources.text(&sources.in_secret(token), "service account token")?,
        },
        Method::ServiceAccount {
            mount,
            role,
            name,
            audiences,
            expiration_seconds,
        } => {
            return Ok(Login::Token(TokenLogin {
                mount: mount.clone(),
                role: role.clone(),
                source: sources.token_of(name, audiences, *expiration_seconds),
                recipient: Recipient::Vault,
            }));
        }
        Method::Token(key) => Credentials::Token(sources.text(&sources.in_secret(key), "Vault token")?),
    }))
}

fn app_role_login(
    mount: &Mount,
    role_id: &RoleId,
    secret_id: Option<&SecretIdKey>,
    sources: &ReadSources<'_>,
) -> Result<Login, SecretError> {
    let mount = mount.clone();
    let role_id = match role_id {
        RoleId::Inline(id) => Secret::from(id.as_str()),
        RoleId::Secret(key) => {
            let entry = sources.in_secret(key);
            sources.value(&entry)?;
            sources.id(&entry, "role ID")?
        }
    };
    let secret_id = match secret_id {
        Some(SecretIdKey {
            key,
            wrapped_at: Some(path),
        }) => {
            return Ok(Login::Wrapped(WrappedLogin {
                mount,
                role_id,
                token: sources.text(&sources.in_secret(key), "wrapping token")?,
                wrapped_at: path.clone(),
            }));
        }
        Some(SecretIdKey { key, wrapped_at: None }) => Some(sources.id(&sources.in_secret(key), "secret ID")?),
        None => None,
    };
    Ok(Login::With(Credentials::AppRole {
        mount,
        role_id,
        secret_id,
    }))
}

fn aws_login(
    mount: &Mount,
    role: &str,
    sts: &Sts,
    identity: &AwsIdentity,
    sources: &ReadSources<'_>,
) -> Result<Login, SecretError> {
    let (mount, role, sts) = (mount.clone(), role.to_owned(), sts.clone());
    let assumed = |arn: &str| KeySource::Role {
        sts: sts.endpoint.clone(),
        proxy: sts.proxy.clone(),
        arn: arn.to_owned(),
    };
    let (source, keys) = match identity {
        AwsIdentity::Keys(secret) => {
            let keys = sources.aws_keys(secret)?;
            return Ok(Login::With(Credentials::Aws { mount, role, sts, keys }));
        }
        AwsIdentity::Ambient(AmbientIdentity::Pod { endpoint, token_file }) => {
            let keys = KeySource::PodIdentity(endpoint.clone());
            (TokenSource::File(token_file.clone()), keys)
        }
        AwsIdentity::Ambient(AmbientIdentity::Role { arn, token_file }) => {
            (TokenSource::File(token_file.clone()), assumed(arn))
        }
        AwsIdentity::WebIdentity { arn, name, audiences } => {
            (sources.token_of(name, audiences, AWS_TOKEN_SECONDS), assumed(arn))
        }
    };
    Ok(Login::Token(TokenLogin {
        mount,
        role,
        source,
        recipient: Recipient::Aws { sts, keys },
    }))
}

fn holds_certificate(pem: &[u8]) -> bool {
    pem::certificates(pem).next().is_some()
}

/// The objects that were read, all of one namespace.
struct ReadSources<'a> {
    namespace: &'a str,
    sources: &'a BTreeMap<SourceRef, SecretData>,
}

/// A key of one of them.
struct Entry {
    object: SourceRef,
    key: String,
}

impl Entry {
    fn not(&self, what: &'static str) -> SecretError {
        SecretError::Not {
            object: self.object.clone(),
            key: self.key.clone(),
            what,
        }
    }
}

impl ReadSources<'_> {
    /// Returns the token to request for a service account.
    fn token_of(&self, service_account: &str, audiences: &[String], expiration_seconds: i64) -> TokenSource {
        TokenSource::Requested(TokenSpec {
            namespace: self.namespace.to_owned(),
            service_account: service_account.to_owned(),
            audiences: audiences.to_vec(),
            expiration_seconds,
        })
    }

    fn in_secret(&self, key: &SecretKey) -> Entry {
        let object = SecretRef {
            namespace: self.namespace.to_owned(),
            name: key.name.clone(),
        };
        Entry {
            object: SourceRef::Secret(object),
            key: key.key.clone(),
        }
    }

    fn in_config_map(&self, key: &ConfigMapKey) -> Entry {
        let object = ConfigMapRef {
            namespace: self.namespace.to_owned(),
            name: key.name.clone(),
        };
        Entry {
            object: SourceRef::ConfigMap(object),
            key: key.key.clone(),
        }
    }

    fn value(&self, entry: &Entry) -> Result<&Secret, SecretError> {
        let value = self.find(entry)?;
        if value.expose().trim_ascii().is_empty() {
            return Err(SecretError::Empty {
                object: entry.object.clone(),
                key: entry.key.clone(),
            });
        }
        Ok(value)
    }

    fn find(&self, entry: &Entry) -> Result<&Secret, SecretError> {
        let object = || entry.object.clone();
        let found = self.sources.get(&entry.object);
        let found = found.ok_or_else(|| SecretError::NotFound { object: object() })?;
        found.data.get(&entry.key).ok_or_else(|| SecretError::NoKey {
            object: object(),
            key: entry.key.clone(),
        })
    }

    /// Returns a credential that fits into a header.
    fn text(&self, entry: &Entry, what: &'static str) -> Result<Secret, SecretError> {
        self.value(entry)?;
        self.find_text(entry, what, |text| HeaderValue::from_str(text).is_ok())
    }

    /// Returns an ID of AppRole, in any script. A secret ID may be empty: that of a role with `bind_secret_id=false` is.
    fn id(&self, entry: &Entry, what: &'static str) -> Result<Secret, SecretError> {
        self.find_text(entry, what, |text| !text.contains(char::is_control))
    }

    fn find_text(&self, entry: &Entry, what: &'static str, fits: fn(&str) -> bool) -> Result<Secret, SecretError> {
        let value = self.find(entry)?;
        // A line break or another control character is a mistake in the Secret, and is reported as one.
        match value.expose_str() {
            Some(text) if fits(text) => Ok(value.clone()),
            _ => Err(entry.not(what)),
        }
    }

    /// Returns the access keys in a Secret.
    fn aws_keys(&self, secret: &str) -> Result<AwsKeys, SecretError> {
        let entry = |key: &str| {
            self.in_secret(&SecretKey {
                name: secret.to_owned(),
                key: key.to_owned(),
            })
        };
        let session_token = entry("sessionToken");
        Ok(AwsKeys {
            id: self.text(&entry("accessKeyID"), "access key ID")?,
            secret: self.text(&entry("secretAccessKey"), "secret access key")?,
            // Only temporary keys have one.
            session_token: match self.find(&session_token) {
                Err(SecretError::NoKey { .. }) => None,
                _ => Some(self.text(&session_token, "session token")?),
            },
        })
    }

    fn certificates(&self, entry: &Entry) -> Result<Vec<u8>, SecretError> {
        let pem = self.value(entry)?.expose();
        if holds_certificate(pem) {
            Ok(pem.to_vec())
        } else {
            Err(entry.not("PEM certificate"))
        }
    }

    fn identity(&self, certificate: &SecretKey, key: &SecretKey) -> Result<Identity, SecretError> {
        let (certificate, key) = (self.in_secret(certificate), self.in_secret(key));
        let identity = Identity {
            certificate: self.value(&certificate)?.expose().to_vec(),
            key: self.value(&key)?.clone(),
        };
        // Also parsed by the driver, which cannot name the Secret in its error.
        if identity.chain().is_empty() {
            Err(certificate.not("PEM certificate"))
        } else if identity.private_key().is_none() {
            Err(key.not("unencrypted PEM private key"))
        } else {
            Ok(identity)
        }
    }
}
