//! An issuer's spec, parsed once at the edge.

use std::collections::BTreeSet;
use std::fmt;

use http::HeaderValue;
use issuer_api::{Auth, KubernetesAuth, SecretKeySelector, VaultSpec};

use crate::Origin;
use crate::reference::{IssuerKey, SecretKey, is_object_name};

/// An issuer's spec, parsed once: nothing in it is left to check later.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Target {
    /// Where the server is.
    pub origin: Origin,
    /// The Vault namespace, fit for a header.
    pub namespace: Option<HeaderValue>,
    /// The name to verify the server's certificate against, where it is not the host.
    pub server_name: Option<String>,
    /// Whom to trust.
    pub trust: Trust,
    /// The keys that hold the certificate to present and its private key.
    pub identity: Option<(SecretKey, SecretKey)>,
    /// Where to sign.
    pub path: SignPath,
    /// How to log in.
    pub method: Method,
}

/// Whom an issuer trusts to vouch for its server.
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
        /// Where the secret ID is.
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
        /// Where the token is.
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
    /// With a token that is given.
    Token(SecretKey),
}

/// Why a spec cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The mount path is not one.
    #[error("{0} is not a mount path such as approle, auth/approle or /v1/auth/approle")]
    Mount(&'static str),
    /// None or several methods are set.
    #[error("spec.auth: set exactly one of tokenSecretRef, appRole, kubernetes, clientCertificate")]
    Method,
    /// None or both of the two sources are set.
    #[error("spec.auth.kubernetes: set exactly one of secretRef, serviceAccountRef")]
    JwtSource,
    /// A required field is empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// The namespace does not fit into a header.
    #[error("spec.namespace may hold printable ASCII characters only")]
    Namespace,
    /// No Secret has such a key.
    #[error("the key beside {0} is none that a Secret can have: letters, digits, '-', '_' and '.'")]
    Key(&'static str),
    /// No Secret or service account has such a name.
    #[error("{0} is not a name that Kubernetes allows: lower-case letters, digits, '-' and '.'")]
    Name(&'static str),
    /// Only one half of the pair is set.
    #[error("set spec.clientCertSecretRef and spec.clientKeySecretRef together")]
    Identity,
    /// No certificate could log in.
    #[error("spec.auth.clientCertificate needs secretName, or spec.clientCertSecretRef and spec.clientKeySecretRef")]
    NoCertificate,
    /// The path names no signing endpoint.
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
    /// The URL is not one.
    #[error("spec.server must be a URL such as https://vault.example.com:8200")]
    Server,
    /// Both sources are set.
    #[error("set at most one of spec.caBundle, spec.caBundleSecretRef")]
    Trust,
}

impl Target {
    /// Parses the spec of the issuer that `key` names. Without `allow_http` only https servers are taken.
    pub fn parse(spec: &VaultSpec, key: &IssuerKey, allow_http: bool) -> Result<Self, SpecError> {
        let origin = Origin::parse(&spec.server).ok_or(SpecError::Server)?;
        if !origin.is_tls() && !allow_http {
            return Err(SpecError::PlainHttp);
        }
        let namespace = match spec.namespace.as_deref().map(str::trim) {
            None | Some("") => None,
            Some(name) if !name.is_ascii() => return Err(SpecError::Namespace),
            Some(name) => Some(HeaderValue::from_str(name).map_err(|_| SpecError::Namespace)?),
        };
        let trust = match (&spec.ca_bundle, &spec.ca_bundle_secret_ref) {
            (Some(_), Some(_)) => return Err(SpecError::Trust),
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
        let presents = !matches!(method, Method::Certificate { secret: None, .. }) || identity.is_some();
        if !presents {
            return Err(SpecError::NoCertificate);
        }
        Ok(Self {
            origin,
            namespace,
            server_name: spec.server_name.clone().filter(|name| !name.is_empty()),
            trust,
            identity,
            path: SignPath::parse(&spec.path).ok_or(SpecError::Path)?,
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

/// Reads the name of an object. It becomes a part of a URL of the API server, so it must not be more than a name.
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

fn service_account(auth: &KubernetesAuth, server: &str, issuer: &IssuerKey) -> Result<Method, SpecError> {
    let mount = mount(
        auth.mount_path.as_deref(),
        "kubernetes",
        "spec.auth.kubernetes.mountPath",
    )?;
    let role = filled(&auth.role, "spec.auth.kubernetes.role")?;
    match (&auth.secret_ref, &auth.service_account_ref) {
        (Some(secret), None) => Ok(Method::Jwt {
            mount,
            role,
            token: secret_key(secret, "token", "spec.auth.kubernetes.secretRef.name")?,
        }),
        (None, Some(account)) => {
            let mut audiences = account.audiences.clone();
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

/// The longest path, in bytes; the CRD takes none that is longer.
const PATH_LIMIT: usize = 1024;

/// Splits an API path into its segments, without a leading `/v1`; `None` if one could escape or end the path.
fn segments(path: &str) -> Option<Vec<&str>> {
    let path = path.trim().trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    // What a URL's path may hold as it is (RFC 3986, pchar).
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c);
    let segments: Vec<&str> = path.split('/').collect();
    let sound = path.len() <= PATH_LIMIT
        && segments
            .iter()
            .all(|s| !matches!(*s, "" | "." | "..") && s.chars().all(plain));
    sound.then_some(segments)
}

/// Where an auth method is mounted, below `auth/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount(String);

impl Mount {
    /// Parses `approle`, `auth/approle`, `/v1/auth/approle` and the like, with or without slashes at the ends.
    pub fn parse(path: &str) -> Option<Self> {
        let segments = segments(path)?;
        let below = match segments.as_slice() {
            ["auth", below @ ..] if !below.is_empty() => below,
            all => all,
        };
        Some(Self(below.join("/")))
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signing endpoint of a PKI mount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignPath {
    path: String,
    signs_ca: bool,
}

impl SignPath {
    /// Parses `<mount>/sign/<role>`, `<mount>/sign-verbatim[/<role>]`, `<mount>/root/sign-intermediate`, the same
    /// below `<mount>/issuer/<ref>/`, `<mount>/cel/sign/<role>`, and the endpoints of Vault Enterprise with an external
    /// policy, `external-policy/sign[/<policy>]` and `external-policy/sign-intermediate[/<policy>]`; with or without
    /// `/v1` and slashes at the ends.
    pub fn parse(path: &str) -> Option<Self> {
        let segments = segments(path)?;
        let signs_ca = match segments.as_slice() {
            [_, .., "external-policy", "sign-intermediate", _] | [_, .., "sign-intermediate"] => true,
            [_, .., "external-policy", "sign"] | [_, .., "sign" | "sign-verbatim", _] | [_, .., "sign-verbatim"] => {
                false
            }
            _ => return None,
        };
        Some(Self {
            path: segments.join("/"),
            signs_ca,
        })
    }

    /// Returns the path, without `/v1/`.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Returns `true` for `sign/<role>`, which drops names of all kinds but DNS, e-mail, IP, URI and `otherName` in UTF-8.
    /// Programs (`cel`, `external-policy`) and `sign-verbatim` may issue any.
    pub(crate) fn is_plain_sign(&self) -> bool {
        let mut segments = self.path.rsplit('/').skip(1);
        segments.next() == Some("sign") && !matches!(segments.next(), Some("cel" | "external-policy"))
    }

    /// Tells whether the endpoint signs what is asked for: CA certificates only, or none.
    pub fn takes(&self, is_ca: bool) -> Result<(), CaMismatch> {
        match (is_ca, self.signs_ca) {
            (true, false) => Err(CaMismatch::SignsNone),
            (false, true) => Err(CaMismatch::SignsNoOther),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

/// Why an endpoint does not sign what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaMismatch {
    /// A CA certificate is asked for, and it signs none.
    #[error("a CA certificate needs an issuer whose path ends in sign-intermediate")]
    SignsNone,
    /// A certificate that is no CA's is asked for, and it signs no other.
    #[error("the issuer's path ends in sign-intermediate, which signs CA certificates only (isCA)")]
    SignsNoOther,
}

#[cfg(test)]
mod tests;
