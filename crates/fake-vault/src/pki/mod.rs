//! The PKI secrets engine: a mount, its issuers, its roles and its signing endpoints.

mod application;
mod cel;
mod csr;
mod endpoint;
mod format;
mod name;
mod role;
mod sign;
mod template;
mod warning;

use std::collections::BTreeMap;
use std::time::Duration;

use issuer_core::Now;
use serde_json::json;

use self::application::Application;
use self::csr::Csr;
use self::endpoint::Endpoint;
use self::format::Format;
use self::sign::Signed;
use self::template::Template;
use crate::answer::{Answer, Lease, Refusal};
use crate::ca::{Authority, Certificate};
use crate::call::{Action, Call};
use crate::dice::Dice;
use crate::duration::SYSTEM_TTL;
use crate::fault::CaDefect;
use crate::fields::Fields;

pub use cel::CelRole;
pub use role::Role;
pub use template::LeafNotAfter;

/// A PKI mount: its issuers and its roles.
#[derive(Clone, Debug, Default)]
pub struct Pki {
    default: String,
    issuers: BTreeMap<String, Authority>,
    pub(crate) roles: BTreeMap<String, Role>,
    cel_roles: BTreeMap<String, CelRole>,
    external_policy: bool,
    leaf_not_after: LeafNotAfter,
    max_lease_ttl: Option<Duration>,
}

/// A certificate that a mount has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The serial number in Vault's notation: lower-case hex with colons.
    pub serial: String,
    /// The CSR of the request; empty where Vault generated the key.
    pub csr: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// The path of the request, such as `pki/sign/web`.
    pub path: String,
    /// The time of the signature.
    pub at: Now,
}

const BASIC_CONSTRAINTS: &str =
    "specified CSR contained a Basic Constraints extension that was ignored during issuance";

impl Pki {
    /// Returns a mount whose default issuer is `authority`, named `default`.
    pub fn new(authority: Authority) -> Self {
        Self::without_issuer().issuer("default", authority)
    }

    /// Returns a mount that has no issuer yet.
    pub fn without_issuer() -> Self {
        Self {
            default: "default".to_owned(),
            ..Self::default()
        }
    }

    /// Adds an issuer.
    #[must_use]
    pub fn issuer(mut self, name: &str, authority: Authority) -> Self {
        self.issuers.insert(name.to_owned(), authority);
        self
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, name: &str, role: Role) -> Self {
        self.roles.insert(name.to_owned(), role);
        self
    }

    /// Adds a CEL role. Only OpenBao has them.
    #[must_use]
    pub fn cel_role(mut self, name: &str, role: CelRole) -> Self {
        self.cel_roles.insert(name.to_owned(), role);
        self
    }

    /// Enables the external policy endpoints of Vault Enterprise. Their service accepts every CSR as it is.
    #[must_use]
    pub fn external_policy(mut self) -> Self {
        self.external_policy = true;
        self
    }

    /// Sets the treatment of certificates that would outlive their CA.
    #[must_use]
    pub fn leaf_not_after(mut self, behavior: LeafNotAfter) -> Self {
        self.leaf_not_after = behavior;
        self
    }

    /// Sets the maximum TTL of certificates of roles without `max_ttl`; 32 days if it is not set.
    #[must_use]
    pub fn max_lease_ttl(mut self, max_lease_ttl: Duration) -> Self {
        self.max_lease_ttl = Some(max_lease_ttl);
        self
    }

    /// Returns an issuer by name.
    pub fn authority(&self, name: &str) -> Option<&Authority> {
        self.issuers.get(name)
    }

    /// Answers a request at `path`, which is relative to the mount.
    pub(crate) fn handle(
        &self,
        now: Now,
        dice: &mut Dice,
        call: &Call,
        path: &str,
        defect: Option<CaDefect>,
    ) -> Result<(Answer, IssuedCertificate), Refusal> {
        let (reference, endpoint) = endpoint::parse(path).ok_or_else(Refusal::unsupported_path)?;
        if call.action != Action::Update {
            return Err(Refusal::unsupported_operation());
        }
        let answered = self.sign(now, dice, call, reference, endpoint, defect);
        match endpoint {
            // OpenBao returns every error of these endpoints, those of the user included, as its own.
            Endpoint::Cel(_) => answered.map_err(Refusal::into_internal),
            _ => answered,
        }
    }

    fn sign(
        &self,
        now: Now,
        dice: &mut Dice,
        call: &Call,
        reference: Option<&str>,
        endpoint: Endpoint<'_>,
        defect: Option<CaDefect>,
    ) -> Result<(Answer, IssuedCertificate), Refusal> {
        let fields = &call.fields;
        fields.require_texts(&["csr", "common_name", "alt_names", "format", "not_after"])?;
        let role = self.with_max_ttl(self.role_of(endpoint, fields)?);
        let format = Format::of(fields)?;
        let authority = self.issuer_of(reference.unwrap_or(&role.issuer_ref))?;
        let mut application = match endpoint {
            Endpoint::Issue(_) => Application::generated(&role, dice)?,
            _ => Application::requested(Csr::parse(&fields.text("csr"))?),
        };
        let template = self.template(now, endpoint, &role, &application, authority, fields)?;
        if !application.csr.signature_valid {
            return Err(Refusal::bad_request("request signature invalid"));
        }
        if let Some(error) = template.verification_error() {
            let prefix = if endpoint.is_intermediate() {
                "verification of parsed bundle failed: "
            } else {
                ""
            };
            return Err(Refusal::internal(&format!("{prefix}{error}")));
        }
        let warnings = warning::warnings(endpoint, &role, fields, &template.warnings);
        let signed = sign::sign(template, &mut application, authority, dice, defect)?;
        let chain = chain(endpoint, authority, &signed.certificate, fields);
        let mut data = format.data(&signed.certificate, authority.certificate(), &chain);
        data.insert("serial_number".to_owned(), json!(signed.serial));
        data.insert("expiration".to_owned(), json!(signed.not_after.as_secs()));
        if let Some((key, kind)) = application.private_key {
            data.insert("private_key".to_owned(), json!(key.trim_end()));
            data.insert("private_key_type".to_owned(), json!(kind.as_str()));
        }
        let lease = role.generate_lease.then(|| lease(now, dice, call, &signed));
        let issued = IssuedCertificate {
            serial: signed.serial,
            csr: fields.text("csr"),
            certificate: signed.certificate.pem.to_string(),
            path: call.path.clone(),
            at: now,
        };
        let answer = Answer {
            lease,
            warnings,
            ..Answer::data("pki", data)
        };
        Ok((answer, issued))
    }

    /// Sets the role's effective `max_ttl`.
    fn with_max_ttl(&self, role: Role) -> Role {
        let own = Some(role.max_ttl).filter(|ttl| !ttl.is_zero());
        let max_ttl = own.or(self.max_lease_ttl).unwrap_or(SYSTEM_TTL);
        Role { max_ttl, ..role }
    }

    fn template(
        &self,
        now: Now,
        endpoint: Endpoint<'_>,
        role: &Role,
        application: &Application,
        authority: &Authority,
        fields: &Fields,
    ) -> Result<Template, Refusal> {
        let leaf_not_after = match (endpoint, self.leaf_not_after) {
            (Endpoint::Intermediate, LeafNotAfter::Err) => LeafNotAfter::Truncate,
            (_, behavior) => behavior,
        };
        let mut template = Template::new(now, role, application, authority, leaf_not_after, fields)?;
        match endpoint {
            Endpoint::Cel(_) | Endpoint::External | Endpoint::Verbatim(_) => template.copy(&application.csr),
            Endpoint::Intermediate => template.intermediate(&application.csr, fields.flag("use_csr_values")),
            Endpoint::ExternalIntermediate => template.intermediate(&application.csr, true),
            Endpoint::Issue(_) | Endpoint::Sign(_) => {}
        }
        if !endpoint.is_intermediate() && application.csr.has_basic_constraints {
            template.warnings.push(BASIC_CONSTRAINTS.to_owned());
        }
        Ok(template)
    }

    /// Returns the role of a request; one that allows everything if the request names none.
    fn role_of(&self, endpoint: Endpoint<'_>, fields: &Fields) -> Result<Role, Refusal> {
        let named = |name: &str| {
            let unknown = || Refusal::bad_request(format!("unknown role: {name}"));
            self.roles.get(name).cloned().ok_or_else(unknown)
        };
        let free = Role::any_name();
        match endpoint {
            Endpoint::Sign(role) | Endpoint::Issue(role) => named(role),
            Endpoint::Cel(_) if self.cel_roles.is_empty() => Err(Refusal::unsupported_path()),
            Endpoint::Cel(role) => {
                let role = self.cel_roles.get(role);
                let role = role.ok_or_else(|| Refusal::bad_request("CEL role not found"))?;
                role.check(fields).map(|()| free)
            }
            Endpoint::External | Endpoint::ExternalIntermediate if !self.external_policy => {
                Err(Refusal::unsupported_path())
            }
            Endpoint::Verbatim(None) | Endpoint::External | Endpoint::ExternalIntermediate => Ok(free),
            Endpoint::Verbatim(Some(role)) => {
                let Role {
                    ttl,
                    max_ttl,
                    generate_lease,
                    not_before_duration,
                    issuer_ref,
                    ..
                } = named(role)?;
                Ok(Role {
                    ttl,
                    max_ttl,
                    generate_lease,
                    not_before_duration,
                    issuer_ref,
                    ..free
                })
            }
            Endpoint::Intermediate => {
                let use_csr_common_name = fields.text("common_name").is_empty();
                let use_csr_sans = fields.flag("use_csr_values");
                Ok(Role {
                    use_csr_common_name,
                    use_csr_sans,
                    ..free
                })
            }
        }
    }

    fn issuer_of(&self, reference: &str) -> Result<&Authority, Refusal> {
        let name = if reference == "default" {
            &self.default
        } else {
            reference
        };
        self.issuers.get(name).ok_or_else(|| {
            let cause = match reference {
                "default" => "no default issuer currently configured".to_owned(),
                _ => format!("unable to find PKI issuer for reference: {reference}"),
            };
            Refusal::internal(&format!("could not fetch the CA certificate (was one set?): {cause}"))
        })
    }
}

fn lease(now: Now, dice: &mut Dice, call: &Call, signed: &Signed) -> Lease {
    Lease {
        id: format!("{}/{}", call.path, dice.text(24)),
        seconds: signed.not_after.saturating_sub(now.unix).as_secs(),
    }
}

/// Returns the `ca_chain` of a signature, from the issuer upward.
fn chain(
    endpoint: Endpoint<'_>,
    authority: &Authority,
    certificate: &Certificate,
    fields: &Fields,
) -> Vec<Certificate> {
    let chain = authority.chain();
    match endpoint {
        _ if endpoint.is_intermediate() => [certificate.clone()].into_iter().chain(chain).collect(),
        _ if fields.flag("remove_roots_from_chain") => {
            chain.filter(|certificate| !certificate.is_self_signed()).collect()
        }
        _ => chain.collect(),
    }
}
