//! An issuer's spec, parsed once at the edge.

mod addresses;
mod ambient;
mod aws;
mod bounds;
mod issuer;
mod method;
mod namespaces;
mod path;
mod policy;
mod proxy;
mod servers;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use issuer_api::{ProbeMode, SecretKeySelector, VaultSpec, VerificationMode};

pub use ambient::{AmbientAws, AmbientIdentity, AwsEnvironment};
pub use aws::{AwsIdentity, Sts};
use method::entry;
pub use method::{Method, RoleId, SecretIdKey};
pub use namespaces::NamespaceLabels;
pub(crate) use namespaces::{Admission, admission};
pub use path::{CaMismatch, Mount, SignPath, WrappingPath};
pub use policy::{AllowedAudiences, IssuerPolicy, ServiceAccount};
pub use proxy::{ProxySettings, ProxySettingsError};
pub use servers::{AllowedServers, Network, ServerPattern, ServerPatternError};

use crate::reference::{ConfigMapKey, IssuerKey, IssuerKind, SecretKey, SourceRef, is_object_name};
use crate::{CaBundle, Origin, Proxy, duration};

/// An issuer's spec, parsed and checked.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Target {
    /// The server's URL.
    pub origin: Origin,
    /// The servers that the operator permits.
    pub allowed_servers: AllowedServers,
    /// The proxy that the server is reached through.
    pub proxy: Option<Proxy>,
    /// The URL of that proxy if the issuer itself names it: with a CA of the issuer's, it may pose as the server.
    pub own_proxy: Option<Origin>,
    /// The Vault namespace of the PKI mount, fit for a header; `None` for the root namespace.
    pub namespace: Option<HeaderValue>,
    /// The Vault namespace of the auth method and its tokens.
    pub login_namespace: Option<HeaderValue>,
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
    /// How long a signature may take, if the spec says so.
    pub sign_timeout: Option<Duration>,
    /// How closely a certificate must match its request.
    pub verification: VerificationMode,
    /// How to log in.
    pub method: Method,
}

/// The shortest and the longest time that a spec may give a signature.
const SIGN_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// The CA certificates that an issuer trusts.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Trust {
    /// The CA certificates in a ConfigMap.
    ConfigMap(ConfigMapKey),
    /// The CA certificates in the spec.
    Inline(CaBundle),
    /// The CA certificates in a Secret.
    Secret(SecretKey),
    /// The system's CA certificates.
    System,
}

/// Why a spec cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The mount path is malformed.
    #[error(
        "{0} is not a mount path such as approle, auth/approle or /v1/auth/approle, of letters, digits and \
         -._~!$&'()*+,;=:@; mounts with other names are not supported"
    )]
    Mount(&'static str),
    /// None or several methods are set.
    #[error("spec.auth: set exactly one of tokenSecretRef, appRole, kubernetes, jwt, aws, clientCertificate")]
    Method,
    /// Neither or both of the two sources are set.
    #[error("{0}: set exactly one of secretRef, serviceAccountRef")]
    JwtSource(&'static str),
    /// Neither or both of the two sources are set.
    #[error("spec.auth.appRole: set exactly one of roleId, roleIdSecretRef")]
    RoleIdSource,
    /// Several of the sources of an AWS identity are set, or half of one.
    #[error("spec.auth.aws: set secretName, or serviceAccountRef and iamRoleArn, or none of them")]
    AwsIdentity,
    /// The operator does not permit the issuer to log in as the controller's pod.
    #[error(
        "spec.auth.aws: set secretName, or serviceAccountRef and iamRoleArn: the operator does not let this issuer use the \
         AWS identity of the controller's pod ({0})"
    )]
    AmbientAws(&'static str),
    /// The controller's pod has no AWS identity.
    #[error(
        "spec.auth.aws: the controller's pod has no AWS identity: its service account needs a Pod Identity association or an \
         IAM role, by which EKS sets AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, or \
         AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"
    )]
    NoAmbientAws,
    /// The region is malformed.
    #[error("spec.auth.aws.region must be the name of a region such as eu-central-1")]
    Region,
    /// The value does not fit into a header.
    #[error("spec.auth.aws.vaultHeaderValue may hold printable ASCII characters only")]
    ServerId,
    /// There is no wrapping token, or the path is malformed.
    #[error(
        "spec.auth.appRole.secretIdWrappingPath must be a path such as auth/approle/role/my-role/secret-id, beside a \
         secretRef that holds the wrapping token"
    )]
    WrappingPath,
    /// The lifetime of a service account token is out of range.
    #[error("{0}.expirationSeconds must be from 600 to 86400")]
    TokenLifetime(&'static str),
    /// A required field is empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// The value is longer than the CRDs permit.
    #[error("{0} is too long")]
    Long(&'static str),
    /// The namespace does not fit into a header.
    #[error("{0} may hold printable ASCII characters only")]
    Namespace(&'static str),
    /// A Secret or a ConfigMap cannot have such a key.
    #[error("the key beside {0} must consist of letters, digits, '-', '_' and '.'")]
    Key(&'static str),
    /// A Secret, a ConfigMap or a service account cannot have such a name.
    #[error("{0} is not a name that Kubernetes allows: lower-case letters, digits, '-' and '.'")]
    Name(&'static str),
    /// Only one half of the pair is set.
    #[error("set spec.clientCertSecretRef and spec.clientKeySecretRef together")]
    Identity,
    /// An issuer of one namespace limits the namespaces.
    #[error("spec.allowedNamespaces is for VaultClusterIssuers: a VaultIssuer signs for its own namespace only")]
    AllowedNamespaces,
    /// A requirement of the selector lacks values, or has values that its operator does not take.
    #[error("spec.allowedNamespaces.selector: In and NotIn need values, Exists and DoesNotExist take none")]
    NamespaceSelector,
    /// There is no certificate to log in with.
    #[error("spec.auth.clientCertificate needs secretName, or spec.clientCertSecretRef and spec.clientKeySecretRef")]
    NoCertificate,
    /// An audience is not permitted; the number is its place in the list.
    #[error(
        "{0}.audiences[{1}] is not allowed: the operator has to list audiences that do not begin with vault:// \
         (--allow-audiences)"
    )]
    Audience(&'static str, usize),
    /// The service account is the controller's own.
    #[error(
        "{0} names the controller's own service account, whose tokens give more than access to Vault; use one that was \
         made for the login"
    )]
    OwnAccount(&'static str),
    /// The operator does not permit the server.
    #[error("spec.server is not allowed: the operator has to list it (--allowed-servers)")]
    ServerNotAllowed,
    /// The path does not name a signing endpoint.
    #[error(
        "spec.path must name a signing endpoint, such as pki/sign/my-role or pki/root/sign-intermediate; \
         an issue endpoint makes its own key and cannot sign a request"
    )]
    Path,
    /// The path has other segments than those of a signing endpoint.
    #[error(
        "spec.path must consist of segments of letters, digits and -._~!$&'()*+,;=:@, none of which is '..'; mounts with \
         other names are not supported"
    )]
    PathSegments,
    /// The bundle is too large to be kept for each issuer.
    #[error("spec.caBundle is longer than 512 KiB; set spec.caBundleConfigMapRef or spec.caBundleSecretRef instead")]
    CaBundleSize,
    /// The URL is plain http.
    #[error(
        "spec.server is a http:// URL, which would send the credentials in clear; use https://, \
         or start the controller with --allow-http or --allow-http-servers"
    )]
    PlainHttp,
    /// The URL of the proxy is malformed.
    #[error(
        "spec.proxy must be a URL such as http://proxy.example.com:3128, without user and password, which belong into the \
         controller's HTTPS_PROXY; TLS with the proxy itself (https://) and SOCKS are not supported"
    )]
    Proxy,
    /// The operator does not permit the proxy.
    #[error("spec.proxy is not allowed: the operator has to list it (--allowed-servers)")]
    ProxyNotAllowed,
    /// There is no TLS, so the proxy would read the token.
    #[error("spec.proxy needs a https:// server: a proxy would read the credentials that a http:// server is sent")]
    ProxyPlainHttp,
    /// The operator permits networks only, and a proxy hides the address of the server.
    #[error(
        "spec.server is reached through a proxy, which resolves its name: the operator has to list that name \
         (--allowed-servers)"
    )]
    ServerNotNamed,
    /// The URL is malformed.
    #[error(
        "spec.server must be a URL such as https://vault.example.com:8200, with a name or address in ASCII, and without user \
         information, query, fragment, escapes and '..'"
    )]
    Server,
    /// The duration is malformed or out of bounds.
    #[error("spec.signTimeout must be a duration from 1s to 10m")]
    SignTimeout,
    /// Several sources are set.
    #[error("set at most one of spec.caBundle, spec.caBundleSecretRef, spec.caBundleConfigMapRef")]
    Trust,
}

impl Target {
    /// Parses the spec of the issuer that `key` names, whose Secrets and service accounts are in `namespace`.
    ///
    /// # Errors
    ///
    /// Fails if a field is malformed, fields contradict each other, or the operator's policy does not permit it.
    pub fn parse(spec: &VaultSpec, key: &IssuerKey, namespace: &str, policy: &IssuerPolicy) -> Result<Self, SpecError> {
        bounds::check(spec)?;
        let origin = Origin::parse(&spec.server).ok_or(SpecError::Server)?;
        if !origin.is_tls() && !policy.permits_http(origin.host()) {
            return Err(SpecError::PlainHttp);
        }
        if !policy.allowed_servers.permits_host(origin.host()) {
            return Err(SpecError::ServerNotAllowed);
        }
        let proxy = proxy::proxy(spec, &origin, &policy.allowed_servers, &policy.proxies)?;
        let own_proxy = match spec.proxy.as_deref() {
            None | Some("") => None,
            Some(url) => Some(Origin::parse(url).ok_or(SpecError::Proxy)?),
        };
        match &spec.allowed_namespaces {
            Some(_) if key.kind == IssuerKind::Namespaced => return Err(SpecError::AllowedNamespaces),
            Some(allowed) => namespaces::check(allowed)?,
            None => {}
        }
        let pki_namespace = vault_namespace(spec.namespace.as_deref(), "spec.namespace")?;
        // A token of a parent namespace may be used in the namespaces below, so one auth method often serves several.
        let login_namespace = match spec.auth.namespace.as_deref() {
            None | Some("") => pki_namespace.clone(),
            name => vault_namespace(name, "spec.auth.namespace")?,
        };
        let trust = trust(spec)?;
        let identity = match (&spec.client_cert_secret_ref, &spec.client_key_secret_ref) {
            (Some(certificate), Some(key)) => Some((
                secret_key(certificate, "tls.crt", "spec.clientCertSecretRef.name")?,
                secret_key(key, "tls.key", "spec.clientKeySecretRef.name")?,
            )),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(SpecError::Identity),
        };
        let sign_timeout = match spec.sign_timeout.as_deref().map(duration::parse) {
            None => None,
            Some(Some(timeout)) if SIGN_TIMEOUTS.contains(&timeout) => Some(timeout),
            Some(_) => return Err(SpecError::SignTimeout),
        };
        let issuer = issuer::Issuer {
            key,
            namespace,
            policy,
            server: Some(&*spec.server).filter(|_| own_proxy.is_none()),
        };
        let method = issuer.method(&spec.auth)?;
        // Vault would refuse every login, in words that do not name the cause.
        if matches!(method, Method::Certificate { secret: None, .. }) && identity.is_none() {
            return Err(SpecError::NoCertificate);
        }
        Ok(Self {
            origin,
            allowed_servers: policy.allowed_servers.clone(),
            proxy,
            own_proxy,
            namespace: pki_namespace,
            login_namespace,
            // Go clients write an unset string as an empty one.
            server_name: spec.server_name.clone().filter(|name| !name.is_empty()),
            trust,
            identity,
            path: sign_path(&spec.path)?,
            probe: spec.probe.unwrap_or_default(),
            sign_timeout,
            verification: spec.verification.unwrap_or_default(),
            method,
        })
    }

    /// Returns the name of the ConfigMap that the issuer refers to.
    pub fn config_map(&self) -> Option<&str> {
        match &self.trust {
            Trust::ConfigMap(key) => Some(&key.name),
            Trust::Inline(_) | Trust::Secret(_) | Trust::System => None,
        }
    }

    /// Returns the names of the Secrets that the issuer refers to.
    pub fn secrets(&self) -> BTreeSet<String> {
        self.entries().map(|(secret, _)| secret.to_owned()).collect()
    }

    /// Returns `true` if the issuer needs the value of this key of a Secret or a ConfigMap.
    pub fn needs(&self, source: &SourceRef, key: &str) -> bool {
        match (source, &self.trust) {
            (SourceRef::ConfigMap(_), Trust::ConfigMap(needed)) => needed.name == source.name() && needed.key == key,
            (SourceRef::ConfigMap(_), _) => false,
            (SourceRef::Secret(_), _) => self.entries().any(|needed| needed == (source.name(), key)),
        }
    }

    /// Returns the name of each Secret that the issuer needs, and a key of it.
    fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let trusted = match &self.trust {
            Trust::Secret(key) => Some(entry(key)),
            Trust::ConfigMap(_) | Trust::Inline(_) | Trust::System => None,
        };
        let identity = self
            .identity
            .iter()
            .flat_map(|(certificate, key)| [entry(certificate), entry(key)]);
        trusted.into_iter().chain(identity).chain(self.method.entries())
    }
}

/// The length of the longest `spec.caBundle`, in base64: every issuer keeps its own. The bundle of all public CAs has
/// 300 kB.
const CA_BUNDLE_MAX: usize = 512 << 10;

/// Reads the name of a Vault namespace. Vault reserves the name `root`, so it can only mean the root namespace, which no
/// header names.
fn vault_namespace(name: Option<&str>, field: &'static str) -> Result<Option<HeaderValue>, SpecError> {
    match name.map(str::trim) {
        None | Some("" | "root") => Ok(None),
        // `HeaderValue` takes any byte above 0x7f; a namespace has none of them.
        Some(name) if !name.is_ascii() => Err(SpecError::Namespace(field)),
        Some(name) => HeaderValue::from_str(name)
            .map(Some)
            .map_err(|_| SpecError::Namespace(field)),
    }
}

fn sign_path(path: &str) -> Result<SignPath, SpecError> {
    SignPath::parse(path).ok_or_else(|| match SignPath::has_plain_segments(path) {
        true => SpecError::Path,
        false => SpecError::PathSegments,
    })
}

fn trust(spec: &VaultSpec) -> Result<Trust, SpecError> {
    match (
        &spec.ca_bundle,
        &spec.ca_bundle_secret_ref,
        &spec.ca_bundle_config_map_ref,
    ) {
        (None, None, None) => Ok(Trust::System),
        (Some(bundle), None, None) if bundle.len() > CA_BUNDLE_MAX => Err(SpecError::CaBundleSize),
        // What is not base64 becomes a bundle without certificates, which is reported when it is used.
        (Some(bundle), None, None) => Ok(Trust::Inline(CaBundle::new(bundle.decode().unwrap_or_default()))),
        (None, Some(secret), None) => Ok(Trust::Secret(secret_key(
            secret,
            "ca.crt",
            "spec.caBundleSecretRef.name",
        )?)),
        (None, None, Some(config_map)) => {
            let field = "spec.caBundleConfigMapRef.name";
            Ok(Trust::ConfigMap(ConfigMapKey {
                key: data_key(config_map.key.as_deref(), "ca.crt", field)?,
                name: object_name(&config_map.name, field)?,
            }))
        }
        _ => Err(SpecError::Trust),
    }
}

fn secret_key(selector: &SecretKeySelector, default: &str, field: &'static str) -> Result<SecretKey, SpecError> {
    Ok(SecretKey {
        key: data_key(selector.key.as_deref(), default, field)?,
        name: object_name(&selector.name, field)?,
    })
}

/// Reads a key of a Secret's or a ConfigMap's data.
fn data_key(key: Option<&str>, default: &str, field: &'static str) -> Result<String, SpecError> {
    let key = key.filter(|key| !key.is_empty()).unwrap_or(default);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.len() > 253 || !key.bytes().all(letter) {
        return Err(SpecError::Key(field));
    }
    Ok(key.to_owned())
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

#[cfg(test)]
mod tests;
