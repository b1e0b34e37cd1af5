//! From a request and a role to a signed certificate.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use issuer_core::Now;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};

use crate::answer::Refusal;
use crate::ca::{self, Authority, Certificate, KeyType};
use crate::csr::{Csr, Names};
use crate::dice::Dice;
use crate::fault::Twist;
use crate::fields::{Fields, go_duration};
use crate::pki::LeafNotAfter;
use crate::role::{Role, Source, is_hostname};
use crate::token::SYSTEM_TTL;

/// What is to be certified.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) csr: Csr,
    /// The private key, PEM, where Vault makes it.
    pub(crate) private_key: Option<(String, KeyType)>,
}

impl Wanted {
    pub(crate) fn requested(csr: Csr) -> Self {
        Self { csr, private_key: None }
    }

    /// Makes a key, and an empty request for it.
    pub(crate) fn generated(role: &Role, dice: &mut Dice) -> Result<Self, Refusal> {
        let kind = generated_kind(role)?;
        let key = ca::key(kind, &dice.text(16));
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("", "");
        let csr = params.serialize_request(&key).and_then(|csr| csr.pem());
        let csr = csr.map_err(|_| Refusal::internal("unable to generate a key"))?;
        let pem = key.serialize_pem();
        Ok(Self {
            csr: Csr::parse(&csr)?,
            private_key: Some((pem, kind)),
        })
    }
}

/// A certificate that is about to be signed.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) params: CertificateParams,
    pub(crate) not_before: Duration,
    pub(crate) not_after: Duration,
    pub(crate) warnings: Vec<String>,
}

/// A certificate that is signed.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) certificate: Certificate,
    pub(crate) serial: String,
    pub(crate) not_after: Duration,
}

impl Template {
    /// Checks what is wanted against the role, in Vault's order.
    pub(crate) fn new(
        now: Now,
        role: &Role,
        wanted: &Wanted,
        authority: &Authority,
        leaf_not_after: LeafNotAfter,
        fields: &Fields,
    ) -> Result<Self, Refusal> {
        let csr = &wanted.csr;
        role.check_key(csr)?;
        let generated = wanted.private_key.is_some();
        let common_name = common_name(role, csr, generated, fields)?;
        let serial = Some(fields.text("serial_number")).filter(|serial| !serial.is_empty());
        let serial = serial.unwrap_or_else(|| csr.subject_serial.clone());
        let source = if role.use_csr_sans && !generated {
            Source::Csr
        } else {
            Source::Body
        };
        let mut names = match source {
            Source::Csr => csr.names.clone(),
            Source::Body => names(fields)?,
        };
        if !fields.flag("exclude_cn_from_sans") {
            if common_name.contains('@') {
                names.emails.push(common_name.clone());
            } else if is_hostname(&common_name) {
                names.dns.push(common_name.clone());
            }
        }
        role.check_names(&common_name, &serial, &names, source)?;
        let (not_after, warnings) = not_after(now, role, fields)?;
        let not_after = bounded(not_after, authority, leaf_not_after)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&common_name, &serial);
        params.subject_alt_names = sans(names)?;
        (params.key_usages, params.extended_key_usages) = usages(role);
        if role.basic_constraints_valid_for_non_ca {
            params.is_ca = IsCa::ExplicitNoCa;
        }
        let not_before = now.unix.saturating_sub(role.not_before_duration);
        Ok(Self {
            params,
            not_before,
            not_after,
            warnings,
        })
    }
}

fn common_name(role: &Role, csr: &Csr, generated: bool, fields: &Fields) -> Result<String, Refusal> {
    let own = Some(&csr.common_name).filter(|_| role.use_csr_common_name && !generated);
    let name = own.filter(|name| !name.is_empty()).cloned();
    let name = name.unwrap_or_else(|| fields.text("common_name"));
    if name.is_empty() && role.require_cn {
        return Err(Refusal::bad_request(
            "the common_name field is required, or must be provided in a CSR with \"use_csr_common_name\" set to \
             true, unless \"require_cn\" is set to false",
        ));
    }
    Ok(name)
}

/// Reads the names of a request's body. What is neither an e-mail address nor a host name is dropped.
fn names(fields: &Fields) -> Result<Names, Refusal> {
    let alternative = fields.list("alt_names");
    let (emails, others): (Vec<_>, Vec<_>) = alternative.into_iter().partition(|name| name.contains('@'));
    let ips = fields.list("ip_sans").into_iter().map(|ip| {
        ip.parse::<IpAddr>()
            .map_err(|_| Refusal::bad_request(format!("the value {ip:?} is not a valid IP address")))
    });
    Ok(Names {
        dns: others.into_iter().filter(|name| is_hostname(name)).collect(),
        emails,
        ips: ips.collect::<Result<_, _>>()?,
        uris: fields.list("uri_sans"),
    })
}

/// Returns the names in Vault's order: sorted, without doubles, by kind.
fn sans(names: Names) -> Result<Vec<SanType>, Refusal> {
    let unusable = |_| Refusal::internal("unable to create certificate: x509: not an IA5String");
    let sorted = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    let mut sans = Vec::new();
    for name in sorted(names.dns) {
        sans.push(SanType::DnsName(name.try_into().map_err(unusable)?));
    }
    for name in sorted(names.emails) {
        sans.push(SanType::Rfc822Name(name.try_into().map_err(unusable)?));
    }
    sans.extend(names.ips.into_iter().map(SanType::IpAddress));
    for name in names.uris {
        sans.push(SanType::URI(name.try_into().map_err(unusable)?));
    }
    Ok(sans)
}

/// Returns the end of validity that is asked for, with what Vault would warn about. The role's `max_ttl` is set.
fn not_after(now: Now, role: &Role, fields: &Fields) -> Result<(Duration, Vec<String>), Refusal> {
    let ttl = fields.duration("ttl")?;
    let not_after = fields.text("not_after");
    if !ttl.is_zero() && !not_after.is_empty() {
        return Err(Refusal::bad_request(
            "Either ttl or not_after should be provided. Both should not be provided in the same request.",
        ));
    }
    let ttl = [ttl, role.ttl]
        .into_iter()
        .find(|ttl| !ttl.is_zero())
        .unwrap_or(SYSTEM_TTL);
    let max_ttl = role.max_ttl;
    let warnings = (ttl > max_ttl).then(|| {
        format!(
            "TTL {:?} is longer than permitted maxTTL {:?}, so maxTTL is being used",
            go_duration(ttl),
            go_duration(max_ttl)
        )
    });
    if not_after.is_empty() {
        return Ok((
            now.unix.saturating_add(ttl.min(max_ttl)),
            warnings.into_iter().collect(),
        ));
    }
    let end = not_after.parse::<Timestamp>().ok();
    let end = end
        .and_then(|end| u64::try_from(end.as_second()).ok())
        .ok_or_else(|| Refusal::bad_request(format!("parsing time {not_after:?} as \"2006-01-02T15:04:05Z07:00\"")))?;
    Ok((Duration::from_secs(end), warnings.into_iter().collect()))
}

/// Heeds the end of the CA's own certificate.
fn bounded(not_after: Duration, authority: &Authority, behavior: LeafNotAfter) -> Result<Duration, Refusal> {
    if not_after <= authority.not_after || behavior == LeafNotAfter::Permit {
        return Ok(not_after);
    }
    if behavior == LeafNotAfter::Truncate {
        return Ok(authority.not_after);
    }
    let date = |unix| Now { unix, ..Now::default() }.timestamp();
    Err(Refusal::bad_request(format!(
        "cannot satisfy request, as TTL would result in notAfter of {} that is beyond the expiration of the CA \
         certificate at {}",
        date(not_after),
        date(authority.not_after)
    )))
}

/// Signs, or does what a broken CA would do.
pub(crate) fn sign(
    template: Template,
    wanted: &mut Wanted,
    authority: &Authority,
    dice: &mut Dice,
    twist: Option<Twist>,
) -> Result<Signed, Refusal> {
    let Template {
        mut params,
        not_before,
        mut not_after,
        ..
    } = template;
    let broken = |_| Refusal::internal("unable to create certificate");
    let mut issuer = authority.clone();
    match twist {
        Some(Twist::AnotherIssuer) => issuer = authority.impostor(),
        Some(Twist::AnotherKey) => {
            let key = ca::key(KeyType::Ec, "somebody else");
            let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
            wanted.csr.key = rcgen::SubjectPublicKeyInfo::from_der(&spki).map_err(broken)?;
        }
        Some(Twist::AnotherName) => {
            let name = "somebody-else.invalid";
            params.distinguished_name = subject(name, "");
            params
                .custom_extensions
                .retain(|e| !e.oid_components().eq([2, 5, 29, 17]));
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(broken)?)];
        }
        Some(Twist::CaCertificate) => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        Some(Twist::FarExpiry) => not_after = ca::LAST,
        None => {}
    }
    let serial = ca::serial_bytes(dice);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    ca::valid(&mut params, not_before, not_after);
    if params.is_ca == IsCa::NoCa {
        params.custom_extensions.push(key_identifier(&params, &wanted.csr));
    }
    let certificate = params.signed_by(&wanted.csr.key, &issuer.issuer).map_err(broken)?;
    let serial: Vec<_> = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Signed {
        certificate: Certificate::issued(&certificate),
        serial: serial.join(":"),
        not_after,
    })
}

/// Returns the subject key identifier, which rcgen leaves out where there are no basic constraints.
fn key_identifier(params: &CertificateParams, csr: &Csr) -> CustomExtension {
    let identifier = params.key_identifier(&csr.key);
    let length = u8::try_from(identifier.len()).unwrap_or_default();
    let content = [&[0x04, length], identifier.as_slice()].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 14], content)
}

/// Returns the subject of a certificate that a role shapes.
fn subject(common_name: &str, serial: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if !common_name.is_empty() {
        subject.push(DnType::CommonName, common_name);
    }
    if !serial.is_empty() {
        subject.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial);
    }
    subject
}

/// Returns the usages of a certificate that a role shapes.
fn usages(role: &Role) -> (Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>) {
    let extended = [
        (role.server_flag, ExtendedKeyUsagePurpose::ServerAuth),
        (role.client_flag, ExtendedKeyUsagePurpose::ClientAuth),
    ];
    let usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ];
    (
        usages,
        extended
            .into_iter()
            .filter(|(flag, _)| *flag)
            .map(|(_, usage)| usage)
            .collect(),
    )
}

/// Returns the kind of key that a role has Vault make.
fn generated_kind(role: &Role) -> Result<KeyType, Refusal> {
    role.key_type
        .ok_or_else(|| Refusal::bad_request("role key type \"any\" not allowed for issuing certificates, only signing"))
}
