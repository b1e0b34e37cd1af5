//! Auth methods: what a login must show, and whose token it gets.

mod jwt;

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use issuer_core::Now;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use crate::answer::Refusal;
use crate::ca::Authority;
use crate::call::{Action, Call};
use crate::dice::Dice;
use crate::role::glob;
use crate::token::{Origin, TokenParams};

pub use jwt::{Accepts, JwtRole};

/// An auth method, with its roles by name.
#[derive(Clone)]
pub enum AuthMethod {
    /// Login with a role ID and a secret ID.
    AppRole(BTreeMap<String, AppRole>),
    /// Login with a TLS client certificate.
    Cert(BTreeMap<String, CertRole>),
    /// Login with a JWT.
    Jwt(BTreeMap<String, JwtRole>),
    /// Login with a Kubernetes service account token.
    Kubernetes(BTreeMap<String, JwtRole>),
}

/// A role of AppRole.
#[derive(Clone)]
pub struct AppRole {
    /// The role's public half.
    pub role_id: String,
    /// The secret IDs that are good for it.
    pub secret_ids: BTreeMap<String, SecretId>,
    /// The tokens that logins get.
    pub token: TokenParams,
}

impl AppRole {
    /// Returns a role with one secret ID that never ends.
    pub fn new(role_id: &str, secret_id: &str, token: TokenParams) -> Self {
        let secret_ids = BTreeMap::from([(secret_id.to_owned(), SecretId::default())]);
        Self {
            role_id: role_id.to_owned(),
            secret_ids,
            token,
        }
    }
}

/// How long a secret ID is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretId {
    /// The number of logins that it is good for; zero for any.
    pub num_uses: u64,
    /// When it ends, on the monotonic clock; `None` for never.
    pub expires: Option<Duration>,
}

/// A role of the TLS certificate method.
#[derive(Clone)]
pub struct CertRole {
    /// Which certificates are taken.
    pub trusted: Trusted,
    /// Globs of which one must match the certificate's common name; none for any.
    pub allowed_common_names: Vec<String>,
    /// The tokens that logins get.
    pub token: TokenParams,
}

/// Which client certificates are taken.
#[derive(Clone)]
pub enum Trusted {
    /// Those that this CA has signed.
    Ca(Authority),
    /// This one, DER.
    Leaf(Vec<u8>),
}

/// A login that was let in.
pub(crate) struct Login {
    pub(crate) params: TokenParams,
    pub(crate) origin: Origin,
}

impl AuthMethod {
    /// Returns Vault's name of the method.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::AppRole(_) => "approle",
            Self::Cert(_) => "cert",
            Self::Jwt(_) => "jwt",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// Returns the AppRole of a name.
    pub(crate) fn app_role_mut(&mut self, role: &str) -> Option<&mut AppRole> {
        match self {
            Self::AppRole(roles) => roles.get_mut(role),
            Self::Cert(_) | Self::Jwt(_) | Self::Kubernetes(_) => None,
        }
    }

    pub(crate) fn remove_role(&mut self, role: &str) -> bool {
        match self {
            Self::AppRole(roles) => roles.remove(role).is_some(),
            Self::Cert(roles) => roles.remove(role).is_some(),
            Self::Jwt(roles) | Self::Kubernetes(roles) => roles.remove(role).is_some(),
        }
    }

    /// Checks that a token may still be renewed: its role is there, and a certificate is shown where one was shown
    /// at the login.
    pub(crate) fn renew(&self, now: Now, role: &str, call: &Call) -> Result<(), Refusal> {
        let exists = match self {
            Self::AppRole(roles) => roles.contains_key(role),
            Self::Cert(roles) => {
                let role = roles.get_key_value(role);
                let roles = role.map(|(name, role)| (name.clone(), role.clone())).into_iter();
                return certificate(&roles.collect(), now, call).map(drop);
            }
            Self::Jwt(roles) | Self::Kubernetes(roles) => roles.contains_key(role),
        };
        if exists {
            return Ok(());
        }
        let cause = format!("role {role:?} does not exist during renewal");
        Err(Refusal::internal(&format!("failed to renew entry: {cause}")))
    }

    /// Answers a login at a mount, which is without `auth/`.
    pub(crate) fn login(&mut self, now: Now, mount: &str, call: &Call) -> Result<Login, Refusal> {
        if call.action != Action::Update && !matches!(self, Self::AppRole(_)) {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation"));
        }
        let (role, params, display_name, meta) = match self {
            Self::AppRole(roles) => app_role(roles, now, call)?,
            Self::Cert(roles) => certificate(roles, now, call)?,
            Self::Jwt(roles) => jwt::jwt(roles, now, call)?,
            Self::Kubernetes(roles) => jwt::kubernetes(roles, now, call)?,
        };
        let entity = Dice::of(&format!("{mount} {role} {display_name}")).uuid();
        let origin = Origin {
            path: format!("auth/{mount}/login"),
            role: Some((mount.to_owned(), role)),
            display_name: [mount, display_name.as_str()]
                .join("-")
                .trim_end_matches('-')
                .to_owned(),
            meta,
            entity,
        };
        Ok(Login { params, origin })
    }
}

/// The name of the role, its tokens, whom the login shows, and what Vault notes about it.
type Admitted = (String, TokenParams, String, BTreeMap<String, String>);

fn app_role(roles: &mut BTreeMap<String, AppRole>, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    let invalid = || Refusal::bad_request("invalid role or secret ID");
    let role_id = call.fields.text("role_id").trim().to_owned();
    if role_id.is_empty() {
        let error = "failed to determine alias name from login request";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    if call.action != Action::Update {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation"));
    }
    let (name, role) = roles
        .iter_mut()
        .find(|(_, role)| role.role_id == role_id)
        .ok_or_else(invalid)?;
    let secret_id = call.fields.text("secret_id").trim().to_owned();
    if secret_id.is_empty() {
        return Err(Refusal::bad_request("missing secret_id"));
    }
    role.secret_ids
        .retain(|_, secret| secret.expires.is_none_or(|end| now.monotonic < end));
    let secret = role.secret_ids.get_mut(&secret_id).ok_or_else(invalid)?;
    match secret.num_uses {
        0 => {}
        1 => drop(role.secret_ids.remove(&secret_id)),
        _ => secret.num_uses -= 1,
    }
    let meta = BTreeMap::from([("role_name".to_owned(), name.clone())]);
    Ok((name.clone(), role.token.clone(), String::new(), meta))
}

fn certificate(roles: &BTreeMap<String, CertRole>, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    let der = call.peer.as_deref();
    let der = der.ok_or_else(|| Refusal::bad_request("client certificate must be supplied"))?;
    let mismatch = || Refusal::bad_request("failed to match all constraints for this login certificate");
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| mismatch())?;
    let common_name = certificate.subject().iter_common_name().next();
    let common_name = common_name.and_then(|name| name.as_str().ok()).unwrap_or_default();
    let asked = call.fields.text("name");
    let (name, role) = roles
        .iter()
        .filter(|(name, _)| asked.is_empty() || asked == **name)
        .find(|(_, role)| role.takes(now, der, &certificate, common_name))
        .ok_or_else(mismatch)?;
    let meta = [
        ("cert_name", name.clone()),
        ("common_name", common_name.to_owned()),
        ("serial_number", certificate.serial.to_string()),
    ];
    let meta = meta.map(|(key, value)| (key.to_owned(), value)).into();
    Ok((name.clone(), role.token.clone(), name.clone(), meta))
}

impl CertRole {
    fn takes(&self, now: Now, der: &[u8], certificate: &X509Certificate<'_>, common_name: &str) -> bool {
        let names = &self.allowed_common_names;
        if !names.is_empty() && !names.iter().any(|allowed| glob(allowed, common_name)) {
            return false;
        }
        let seconds = i64::try_from(now.unix.as_secs()).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        let in_time = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds);
        in_time
            && match &self.trusted {
                Trusted::Leaf(leaf) => leaf == der,
                Trusted::Ca(ca) => parse_x509_certificate(&ca.certificate().der)
                    .is_ok_and(|(_, ca)| certificate.verify_signature(Some(ca.public_key())).is_ok()),
            }
    }
}
