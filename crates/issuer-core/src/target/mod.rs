//! An issuer's spec, parsed once at the edge.

mod path;
mod policy;

use std::collections::BTreeSet;

use http::HeaderValue;
use issuer_api::{Auth, KubernetesAuth, ProbeMode, SecretKeySelector, ServiceAccountRef, VaultSpec};

pub use path::{CaMismatch, Mount, SignPath};
pub use policy::{AllowedServers, IssuerPolicy, Network, ServerPattern, ServerPatternError, ServiceAccount};

use crate::Origin;
use crate::reference::{IssuerKey, SecretKey, is_object_name};

/// An issuer's spec, parsed and checked.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Target {
    /// The server's URL.
    pub origin: Origin,
    /// The Vault namespace, fit for a header.
    pub namespace: Option<HeaderValue>,
    /// The name to verify the server's certificate against, where it is not the host.
    pub server_name: Option<String>,
    /// The CA certificates to trust.
    pub trust: Trust,
    /// The keys that hold the certificate to present and its private key.
    pub identity: Option<(SecretKey, SecretKey)>,
    /// The signing endpoint.
    pub path: SignPath,
    /// Whether the signing endpoint is probed.
    pub probe: ProbeMode,
    /// How to log in.
    pub method: Method,
}

/// The CA certificates that an issuer trusts.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Trust {
    /// The CA certificates in the spec, PEM.
    Inline(Vec<u8>),
    /// The CA certificates in a Secret.
    Secret(SecretKey),
    /// The system's CA certificates.
    System,
}

/// How an issuer logs in.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Method {
    /// With a role ID and the secret ID in a Secret.
    AppRole {
        /// The mount of the method.
        mount: Mount,
        /// The role ID.
        role_id: String,
        /// The key that holds the secret ID.
        secret_id: SecretKey,
    },
    /// With a TLS client certificate.
    Certificate {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as, if one is named.
        role: Option<String>,
        /// The Secret of the certificate, if it is not the connection's own.
        secret: Option<String>,
    },
    /// With the token of a service account that is kept in a Secret.
    Jwt {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// The key that holds the token.
        token: SecretKey,
    },
    /// With a token requested for a service account.
    ServiceAccount {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// The service account.
        name: String,
        /// The token's audiences.
        audiences: Vec<String>,
    },
    /// With a token from a Secret.
    Token(SecretKey),
}

/// Why a spec cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The mount path is malformed.
    #[error("{0} is not a mount path such as approle, auth/approle or /v1/auth/approle")]
    Mount(&'static str),
    /// None or several methods are set.
    #[error("spec.auth: set exactly one of tokenSecretRef, appRole, kubernetes, clientCertificate")]
    Method,
    /// Neither or both of the two sources are set.
    #[error("spec.auth.kubernetes: set exactly one of secretRef, serviceAccountRef")]
    JwtSource,
    /// A required field is empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// The namespace does not fit into a header.
    #[error("spec.namespace may hold printable ASCII characters only")]
    Namespace,
    /// A Secret cannot have such a key.
    #[error("the key beside {0} must consist of letters, digits, '-', '_' and '.'")]
    Key(&'static str),
    /// A Secret or service account cannot have such a name.
    #[error("{0} is not a name that Kubernetes allows: lower-case letters, digits, '-' and '.'")]
    Name(&'static str),
    /// Only one half of the pair is set.
    #[error("set spec.clientCertSecretRef and spec.clientKeySecretRef together")]
    Identity,
    /// There is no certificate to log in with.
    #[error("spec.auth.clientCertificate needs secretName, or spec.clientCertSecretRef and spec.clientKeySecretRef")]
    NoCertificate,
    /// An audience is not permitted; the number is its place in the list.
    #[error(
        "spec.auth.kubernetes.serviceAccountRef.audiences[{0}] is not allowed: the operator has to list audiences that do \
         not begin with vault:// (--allow-audiences)"
    )]
    Audience(usize),
    /// The service account is the controller's own.
    #[error(
        "spec.auth.kubernetes.serviceAccountRef names the controller's own service account, whose tokens give more than \
         access to Vault; use one that was made for the login"
    )]
    OwnAccount,
    /// The operator does not permit the server.
    #[error("spec.server is not allowed: the operator has to list it (--allowed-servers)")]
    ServerNotAllowed,
    /// The path does not name a signing endpoint.
    #[error(
        "spec.path must name a signing endpoint, such as pki/sign/my-role or pki/root/sign-intermediate; \
         an issue endpoint makes its own key and cannot sign a request"
    )]
    Path,
    /// The URL is plain http.
    #[error(
        "spec.server is a http:// URL, which would send the credentials in clear; use https://, \
         or start the controller with --allow-http"
    )]
    PlainHttp,
    /// The URL is malformed.
    #[error("spec.server must be a URL such as https://vault.example.com:8200")]
    Server,
    /// Both sources are set.
    #[error("set at most one of spec.caBundle, spec.caBundleSecretRef")]
    Trust,
}

impl Target {
    /// Parses the spec of the issuer that `key` names, whose Secrets and service accounts are in `namespace`.
    ///
    /// # Errors
    ///
    /// Fails if a field is malformed, fields contradict each other, or the operator's policy does not permit it.
    pub fn parse(spec: &VaultSpec, key: &IssuerKey, namespace: &str, policy: &IssuerPolicy) -> Result<Self, SpecError> {
        let origin = Origin::parse(&spec.server).ok_or(SpecError::Server)?;
        if !origin.is_tls() && !policy.allow_http {
            return Err(SpecError::PlainHttp);
        }
        if !policy.allowed_servers.permits_host(origin.host()) {
            return Err(SpecError::ServerNotAllowed);
        }
        let vault_namespace = match spec.namespace.as_deref().map(str::trim) {
            None | Some("") => None,
            // `HeaderValue` takes any byte above 0x7f; a namespace has none of them.
            Some(name) if !name.is_ascii() => return Err(SpecError::Namespace),
            Some(name) => Some(HeaderValue::from_str(name).map_err(|_| SpecError::Namespace)?),
        };
        let trust = match (&spec.ca_bundle, &spec.ca_bundle_secret_ref) {
            (Some(_), Some(_)) => return Err(SpecError::Trust),
            // Broken base64 becomes an empty bundle, which is reported like one without certificates.
            (Some(bundle), None) => Trust::Inline(bundle.decode().unwrap_or_default()),
            (None, Some(secret)) => Trust::Secret(secret_key(secret, "ca.crt", "spec.caBundleSecretRef.name")?),
            (None, None) => Trust::System,
        };
        let identity = match (&spec.client_cert_secret_ref, &spec.client_key_secret_ref) {
            (Some(certificate), Some(key)) => Some((
                secret_key(certificate, "tls.crt", "spec.clientCertSecretRef.name")?,
                secret_key(key, "tls.key", "spec.clientKeySecretRef.name")?,
            )),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(SpecError::Identity),
        };
        let method = method(&spec.auth, &spec.server, key)?;
        if let (Some(account), Method::ServiceAccount { name, .. }) = (service_account_ref(&spec.auth), &method) {
            permit_account(account, name, namespace, policy)?;
        }
        let presents = !matches!(method, Method::Certificate { secret: None, .. }) || identity.is_some();
        if !presents {
            return Err(SpecError::NoCertificate);
        }
        Ok(Self {
            origin,
            namespace: vault_namespace,
            server_name: spec.server_name.clone().filter(|name| !name.is_empty()),
            trust,
            identity,
            path: SignPath::parse(&spec.path).ok_or(SpecError::Path)?,
            probe: spec.probe.unwrap_or_default(),
            method,
        })
    }

    /// Returns the names of the Secrets that the issuer refers to.
    pub fn secrets(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if let Trust::Secret(key) = &self.trust {
            names.insert(key.name.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            names.extend([certificate.name.clone(), key.name.clone()]);
        }
        match &self.method {
            Method::AppRole { secret_id: key, .. } | Method::Jwt { token: key, .. } | Method::Token(key) => {
                names.insert(key.name.clone());
            }
            Method::Certificate { secret, .. } => names.extend(secret.clone()),
            Method::ServiceAccount { .. } => {}
        }
        names
    }
}

fn secret_key(selector: &SecretKeySelector, default: &str, field: &'static str) -> Result<SecretKey, SpecError> {
    let key = selector.key.as_deref().filter(|key| !key.is_empty()).unwrap_or(default);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.len() > 253 || !key.bytes().all(letter) {
        return Err(SpecError::Key(field));
    }
    Ok(SecretKey {
        name: object_name(&selector.name, field)?,
        key: key.to_owned(),
    })
}

/// Reads the name of an object. It becomes a segment of a URL of the API server, so it must not be more than a name.
fn object_name(name: &str, field: &'static str) -> Result<String, SpecError> {
    let name = filled(name, field)?;
    if is_object_name(&name) {
        Ok(name)
    } else {
        Err(SpecError::Name(field))
    }
}

fn filled(value: &str, field: &'static str) -> Result<String, SpecError> {
    let value = value.trim();
    if value.is_empty() {
        Err(SpecError::Empty(field))
    } else {
        Ok(value.to_owned())
    }
}

fn mount(path: Option<&str>, default: &str, field: &'static str) -> Result<Mount, SpecError> {
    let path = path.map(str::trim).filter(|path| !path.is_empty()).unwrap_or(default);
    Mount::parse(path).ok_or(SpecError::Mount(field))
}

fn method(auth: &Auth, server: &str, issuer: &IssuerKey) -> Result<Method, SpecError> {
    match (
        &auth.token_secret_ref,
        &auth.app_role,
        &auth.kubernetes,
        &auth.client_certificate,
    ) {
        (Some(token), None, None, None) => Ok(Method::Token(secret_key(
            token,
            "token",
            "spec.auth.tokenSecretRef.name",
        )?)),
        (None, Some(role), None, None) => Ok(Method::AppRole {
            mount: mount(role.path.as_deref(), "approle", "spec.auth.appRole.path")?,
            role_id: filled(&role.role_id, "spec.auth.appRole.roleId")?,
            secret_id: secret_key(&role.secret_ref, "secretId", "spec.auth.appRole.secretRef.name")?,
        }),
        (None, None, Some(kubernetes), None) => service_account(kubernetes, server, issuer),
        (None, None, None, Some(certificate)) => Ok(Method::Certificate {
            mount: mount(
                certificate.mount_path.as_deref(),
                "cert",
                "spec.auth.clientCertificate.mountPath",
            )?,
            role: certificate.name.clone().filter(|name| !name.is_empty()),
            secret: match certificate.secret_name.as_deref() {
                None | Some("") => None,
                Some(name) => Some(object_name(name, "spec.auth.clientCertificate.secretName")?),
            },
        }),
        _ => Err(SpecError::Method),
    }
}

fn service_account_ref(auth: &Auth) -> Option<&ServiceAccountRef> {
    auth.kubernetes.as_ref()?.service_account_ref.as_ref()
}

/// Returns an error if the policy forbids to request a token of the service account `name` in `namespace`.
fn permit_account(
    account: &ServiceAccountRef,
    name: &str,
    namespace: &str,
    policy: &IssuerPolicy,
) -> Result<(), SpecError> {
    let own = policy.own_account.as_ref();
    if own.is_some_and(|own| own.namespace == namespace && own.name == name) {
        return Err(SpecError::OwnAccount);
    }
    let forbidden = account
        .audiences
        .iter()
        .position(|audience| !policy.permits_audience(audience));
    forbidden.map_or(Ok(()), |place| Err(SpecError::Audience(place)))
}

fn service_account(auth: &KubernetesAuth, server: &str, issuer: &IssuerKey) -> Result<Method, SpecError> {
    let mount = mount(
        auth.mount_path.as_deref(),
        "kubernetes",
        "spec.auth.kubernetes.mountPath",
    )?;
    let role = filled(&auth.role, "spec.auth.kubernetes.role")?;
    // Go clients write an unset reference as one with an empty name.
    let secret = auth.secret_ref.as_ref().filter(|secret| !secret.name.is_empty());
    match (secret, &auth.service_account_ref) {
        (Some(secret), None) => Ok(Method::Jwt {
            mount,
            role,
            token: secret_key(secret, "token", "spec.auth.kubernetes.secretRef.name")?,
        }),
        (None, Some(account)) => {
            let mut audiences = account.audiences.clone();
            // The same as cert-manager's issuer requests, so that the roles of Vault stay as they are.
            audiences.extend([issuer.audience(), server.to_owned()]);
            let name = object_name(&account.name, "spec.auth.kubernetes.serviceAccountRef.name")?;
            Ok(Method::ServiceAccount {
                mount,
                role,
                name,
                audiences,
            })
        }
        _ => Err(SpecError::JwtSource),
    }
}

#[cfg(test)]
mod tests;
