//! Auth methods: the credentials of a login, and the token that it gets.

mod admitted;
mod approle;
mod aws;
mod cert;
mod jwt;

use std::collections::BTreeMap;

use http::StatusCode;
use issuer_core::Now;

use self::admitted::Admitted;
use crate::answer::Refusal;
use crate::call::{Action, Call};
use crate::dice::Dice;
use crate::token::{Origin, TokenParams};

pub use approle::{AppRoleRole, SecretId};
pub use aws::{AwsMethod, AwsRole, IamPrincipal};
pub use cert::{CertRole, Trusted};
pub use jwt::{Accepts, JwtRole};

/// An auth method, with its roles by name.
#[derive(Clone)]
pub enum AuthMethod {
    /// Login with a role ID and a secret ID.
    AppRole(BTreeMap<String, AppRoleRole>),
    /// Login with an AWS identity.
    Aws(AwsMethod),
    /// Login with a TLS client certificate.
    Cert(BTreeMap<String, CertRole>),
    /// Login with a JWT.
    Jwt(BTreeMap<String, JwtRole>),
    /// Login with a Kubernetes service account token.
    Kubernetes(BTreeMap<String, JwtRole>),
}

/// A login that succeeded.
pub(crate) struct Login {
    pub(crate) params: TokenParams,
    pub(crate) origin: Origin,
}

impl AuthMethod {
    /// Returns Vault's name of the method.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::AppRole(_) => "approle",
            Self::Aws(_) => "aws",
            Self::Cert(_) => "cert",
            Self::Jwt(_) => "jwt",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// Returns an AppRole by name.
    pub(crate) fn app_role(&self, role: &str) -> Option<&AppRoleRole> {
        match self {
            Self::AppRole(roles) => roles.get(role),
            Self::Aws(_) | Self::Cert(_) | Self::Jwt(_) | Self::Kubernetes(_) => None,
        }
    }

    /// Returns an AppRole by name, to change it.
    pub(crate) fn app_role_mut(&mut self, role: &str) -> Option<&mut AppRoleRole> {
        match self {
            Self::AppRole(roles) => roles.get_mut(role),
            Self::Aws(_) | Self::Cert(_) | Self::Jwt(_) | Self::Kubernetes(_) => None,
        }
    }

    pub(crate) fn remove_role(&mut self, role: &str) -> bool {
        match self {
            Self::AppRole(roles) => roles.remove(role).is_some(),
            Self::Aws(method) => method.roles.remove(role).is_some(),
            Self::Cert(roles) => roles.remove(role).is_some(),
            Self::Jwt(roles) | Self::Kubernetes(roles) => roles.remove(role).is_some(),
        }
    }

    /// Checks that a token of a role may still be renewed.
    pub(crate) fn renew(&self, now: Now, role: &str, call: &Call) -> Result<(), Refusal> {
        let exists = match self {
            Self::AppRole(roles) => roles.contains_key(role),
            Self::Aws(method) => method.roles.contains_key(role),
            Self::Cert(roles) => return cert::renew(roles, role, now, call),
            Self::Jwt(roles) | Self::Kubernetes(roles) => roles.contains_key(role),
        };
        if exists {
            return Ok(());
        }
        let cause = format!("role {role:?} does not exist during renewal");
        Err(Refusal::internal(&format!("failed to renew entry: {cause}")))
    }

    /// Answers a login at a mount, which is given without `auth/`.
    pub(crate) fn login(&mut self, now: Now, mount: &str, call: &Call) -> Result<Login, Refusal> {
        if call.action != Action::Update && !matches!(self, Self::AppRole(_)) {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation"));
        }
        let Admitted {
            role,
            params,
            display_name,
            meta,
        } = match self {
            Self::AppRole(roles) => approle::login(roles, now, call)?,
            Self::Aws(method) => aws::login(method, now, call)?,
            Self::Cert(roles) => cert::login(roles, now, call)?,
            Self::Jwt(roles) => jwt::login_jwt(roles, now, call)?,
            Self::Kubernetes(roles) => jwt::login_kubernetes(roles, now, call)?,
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
