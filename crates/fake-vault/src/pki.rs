//! The PKI secrets engine: a mount, its roles and its signing endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use issuer_core::Now;
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};
use serde_json::json;

use crate::answer::{Answer, Lease, Refusal};
use crate::ca::{Authority, Certificate};
use crate::call::{Action, Call};
use crate::csr::Csr;
use crate::dice::Dice;
use crate::fault::Twist;
use crate::fields::Fields;
use crate::format::Format;
use crate::role::Role;
use crate::sign::{self, Template, Wanted};
use crate::token::SYSTEM_TTL;

/// A PKI mount: its issuers and its roles.
#[derive(Clone, Debug, Default)]
pub struct Pki {
    default: String,
    issuers: BTreeMap<String, Authority>,
    pub(crate) roles: BTreeMap<String, Role>,
    leaf_not_after: LeafNotAfter,
    max_lease_ttl: Option<Duration>,
}

/// What becomes of a certificate that would outlive its CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeafNotAfter {
    /// It is refused: Vault's default.
    #[default]
    Err,
    /// It is signed.
    Permit,
    /// It ends with the CA.
    Truncate,
}

/// A certificate that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The serial number, as Vault writes it: lower-case hex with colons.
    pub serial: String,
    /// The CSR, as it was given; empty where Vault made the key.
    pub csr: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// The path of the request, such as `pki/sign/web`.
    pub path: String,
    /// When it was signed.
    pub at: Now,
}

/// What a request to a PKI mount asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint<'a> {
    Intermediate,
    Issue(&'a str),
    Sign(&'a str),
    Verbatim(Option<&'a str>),
}

impl Pki {
    /// Returns a mount whose default issuer is `authority`, under the name `default`.
    pub fn new(authority: Authority) -> Self {
        Self::without_issuer().issuer("default", authority)
    }

    /// Returns a mount to which nobody has given a CA yet.
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

    /// Sets what becomes of a certificate that would outlive its CA.
    #[must_use]
    pub fn leaf_not_after(mut self, behavior: LeafNotAfter) -> Self {
        self.leaf_not_after = behavior;
        self
    }

    /// Sets the longest TTL of a certificate, where the role says none; otherwise it is 32 days.
    #[must_use]
    pub fn max_lease_ttl(mut self, max_lease_ttl: Duration) -> Self {
        self.max_lease_ttl = Some(max_lease_ttl);
        self
    }

    /// Returns an issuer by its name.
    pub fn authority(&self, name: &str) -> Option<&Authority> {
        self.issuers.get(name)
    }

    /// Answers a request at `path`, relative to the mount.
    pub(crate) fn handle(
        &self,
        now: Now,
        dice: &mut Dice,
        call: &Call,
        path: &str,
        twist: Option<Twist>,
    ) -> Result<(Answer, Issued), Refusal> {
        let (reference, endpoint) = endpoint(path).ok_or_else(Refusal::unsupported_path)?;
        if call.action != Action::Update {
            return Err(Refusal::unsupported_operation());
        }
        let fields = &call.fields;
        fields.require_texts(&["csr", "common_name", "alt_names", "format", "not_after"])?;
        let role = self.bounded(self.role_of(endpoint, fields)?);
        let format = Format::of(fields)?;
        let authority = self.issuer_of(reference.unwrap_or(&role.issuer_ref))?;
        let mut wanted = match endpoint {
            Endpoint::Issue(_) => Wanted::generated(&role, dice)?,
            _ => Wanted::requested(Csr::parse(&fields.text("csr"))?),
        };
        let template = self.template(now, endpoint, &role, &wanted, authority, fields)?;
        if !wanted.csr.signature_valid {
            return Err(Refusal::bad_request("request signature invalid"));
        }
        let warnings = warnings(endpoint, &role, fields, &template.warnings);
        let signed = sign::sign(template, &mut wanted, authority, dice, twist)?;
        let chain = chain(endpoint, authority, &signed.certificate, fields);
        let mut data = format.data(&signed.certificate, authority.certificate(), &chain);
        data.insert("serial_number".to_owned(), json!(signed.serial));
        data.insert("expiration".to_owned(), json!(signed.not_after.as_secs()));
        if let Some((key, kind)) = wanted.private_key {
            data.insert("private_key".to_owned(), json!(key.trim_end()));
            data.insert("private_key_type".to_owned(), json!(kind.as_str()));
        }
        let lease = role.generate_lease.then(|| Lease {
            id: format!("{}/{}", call.path, dice.text(24)),
            seconds: signed.not_after.saturating_sub(now.unix).as_secs(),
        });
        let issued = Issued {
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

    /// Gives a role the longest TTL that applies to it.
    fn bounded(&self, role: Role) -> Role {
        let own = Some(role.max_ttl).filter(|ttl| !ttl.is_zero());
        let max_ttl = own.or(self.max_lease_ttl).unwrap_or(SYSTEM_TTL);
        Role { max_ttl, ..role }
    }

    fn template(
        &self,
        now: Now,
        endpoint: Endpoint<'_>,
        role: &Role,
        wanted: &Wanted,
        authority: &Authority,
        fields: &Fields,
    ) -> Result<Template, Refusal> {
        let leaf_not_after = match (endpoint, self.leaf_not_after) {
            (Endpoint::Intermediate, LeafNotAfter::Err) => LeafNotAfter::Truncate,
            (_, behavior) => behavior,
        };
        let mut template = Template::new(now, role, wanted, authority, leaf_not_after, fields)?;
        match endpoint {
            Endpoint::Verbatim(_) => verbatim(&mut template, &wanted.csr),
            Endpoint::Intermediate => intermediate(&mut template, &wanted.csr, fields),
            Endpoint::Issue(_) | Endpoint::Sign(_) => {}
        }
        Ok(template)
    }

    /// Returns the role that a request is under. Where it names none, nothing is forbidden.
    fn role_of(&self, endpoint: Endpoint<'_>, fields: &Fields) -> Result<Role, Refusal> {
        let named = |name: &str| {
            let unknown = || Refusal::bad_request(format!("unknown role: {name}"));
            self.roles.get(name).cloned().ok_or_else(unknown)
        };
        let free = Role::any_name();
        match endpoint {
            Endpoint::Sign(role) | Endpoint::Issue(role) => named(role),
            Endpoint::Verbatim(None) => Ok(free),
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

/// Reads a path: the issuer that it names, and what is asked of it.
fn endpoint(path: &str) -> Option<(Option<&str>, Endpoint<'_>)> {
    let segments: Vec<_> = path.split('/').collect();
    if !segments.iter().all(|segment| is_name(segment)) {
        return None;
    }
    let (issuer, rest) = match segments.as_slice() {
        ["issuer", reference, rest @ ..] => (Some(*reference), rest),
        rest => (None, rest),
    };
    let endpoint = match rest {
        ["sign", role] => Endpoint::Sign(role),
        ["issue", role] => Endpoint::Issue(role),
        ["sign-verbatim"] => Endpoint::Verbatim(None),
        ["sign-verbatim", role] => Endpoint::Verbatim(Some(role)),
        ["root", "sign-intermediate"] if issuer.is_none() => Endpoint::Intermediate,
        ["sign-intermediate"] if issuer.is_some() => Endpoint::Intermediate,
        _ => return None,
    };
    Some((issuer, endpoint))
}

/// Tells whether Vault takes this for the name of a role or an issuer.
fn is_name(segment: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let inner = |c: char| word(c) || c == '-' || c == '.';
    segment.chars().all(inner) && segment.starts_with(word) && segment.ends_with(word)
}

/// Takes the subject and the extensions from the CSR as they are.
fn verbatim(template: &mut Template, csr: &Csr) {
    let params = &mut template.params;
    params.distinguished_name = csr.subject.clone();
    params.subject_alt_names = Vec::new();
    params.extended_key_usages = Vec::new();
    if csr.requests(&[2, 5, 29, 15]) {
        params.key_usages = Vec::new();
    }
    params.custom_extensions.extend(csr.extensions.iter().cloned());
}

/// Makes a CA certificate of it.
fn intermediate(template: &mut Template, csr: &Csr, fields: &Fields) {
    if fields.flag("use_csr_values") {
        verbatim(template, csr);
    }
    let params = &mut template.params;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = Vec::new();
    params
        .custom_extensions
        .retain(|extension| !extension.oid_components().eq([2, 5, 29, 15]));
}

/// Returns what goes with the certificate, from its issuer upward.
fn chain(
    endpoint: Endpoint<'_>,
    authority: &Authority,
    certificate: &Certificate,
    fields: &Fields,
) -> Vec<Certificate> {
    let chain = authority.chain();
    match endpoint {
        Endpoint::Intermediate => [certificate.clone()].into_iter().chain(chain).collect(),
        _ if fields.flag("remove_roots_from_chain") => {
            chain.filter(|certificate| !certificate.is_self_signed()).collect()
        }
        _ => chain.collect(),
    }
}

/// Returns what Vault warns about, in its order; what concerns the TTL comes twice.
fn warnings(endpoint: Endpoint<'_>, role: &Role, fields: &Fields, about_ttl: &[String]) -> Vec<String> {
    let ignored = |field: &str, switch: &str, on: bool| {
        (on && !fields.text(field).is_empty())
            .then(|| format!("the {field} field was provided but the role is set with \"{switch}\" set to true"))
    };
    let mut warnings = about_ttl.to_vec();
    match endpoint {
        Endpoint::Intermediate => warnings = vec![NO_AIA.to_owned()],
        Endpoint::Issue(_) => {}
        Endpoint::Sign(_) | Endpoint::Verbatim(_) => {
            let common_name = "use_csr_common_name";
            warnings.extend(ignored("common_name", common_name, role.use_csr_common_name));
            warnings.extend(ignored("alt_names", "use_csr_sans", role.use_csr_sans));
        }
    }
    warnings.extend_from_slice(about_ttl);
    warnings.extend(unrecognized(endpoint, fields));
    warnings
}

const NO_AIA: &str = "This mount hasn't configured any authority information access (AIA) fields; this may make it \
    harder for systems to find missing certificates in the chain or to validate revocation status of certificates. \
    Consider updating /config/urls or the newly generated issuer with this information.";

/// The fields that every signing endpoint knows.
const FIELDS: [&str; 17] = [
    "alt_names",
    "cert_metadata",
    "common_name",
    "csr",
    "exclude_cn_from_sans",
    "format",
    "ip_sans",
    "issuer_ref",
    "not_after",
    "other_sans",
    "private_key_format",
    "remove_roots_from_chain",
    "role",
    "serial_number",
    "ttl",
    "uri_sans",
    "user_ids",
];

fn unrecognized(endpoint: Endpoint<'_>, fields: &Fields) -> Option<String> {
    if endpoint == Endpoint::Intermediate {
        return None;
    }
    let verbatim = matches!(endpoint, Endpoint::Verbatim(_));
    let more = [
        "ext_key_usage",
        "ext_key_usage_oids",
        "key_usage",
        "signature_bits",
        "use_pss",
    ];
    let known = |key: &&str| !(FIELDS.contains(key) || verbatim && more.contains(key));
    let mut ignored: Vec<_> = fields.keys().filter(known).collect();
    ignored.sort_unstable();
    let list = ignored.join(" ");
    (!list.is_empty()).then(|| format!("Endpoint ignored these unrecognized parameters: [{list}]"))
}
