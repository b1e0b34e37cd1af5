//! The certificate that a request and a role describe.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use issuer_core::Now;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType,
};

use super::application::Application;
use super::csr::{Csr, Names};
use super::name::is_hostname;
use super::role::{Role, Source};
use crate::answer::Refusal;
use crate::ca::Authority;
use crate::duration::{self, SYSTEM_TTL};
use crate::fields::Fields;

/// The treatment of a certificate that would outlive its CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeafNotAfter {
    /// The request is refused: Vault's default.
    #[default]
    Err,
    /// The certificate is signed.
    Permit,
    /// The certificate's end is that of the CA.
    Truncate,
}

/// Extensions of <https://www.rfc-editor.org/rfc/rfc5280#section-4.2> that Vault accepts as critical.
const KNOWN_EXTENSIONS: [&[u64]; 7] = [
    &[2, 5, 29, 14],
    &[2, 5, 29, 15],
    &[2, 5, 29, 17],
    &[2, 5, 29, 30],
    &[2, 5, 29, 31],
    &[2, 5, 29, 35],
    &[2, 5, 29, 37],
];

/// A certificate before it is signed.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) params: CertificateParams,
    pub(crate) not_before: Duration,
    pub(crate) not_after: Duration,
    pub(crate) warnings: Vec<String>,
}

impl Template {
    /// Checks a request against the role, in Vault's order.
    pub(crate) fn new(
        now: Now,
        role: &Role,
        application: &Application,
        authority: &Authority,
        leaf_not_after: LeafNotAfter,
        fields: &Fields,
    ) -> Result<Self, Refusal> {
        let csr = &application.csr;
        role.check_key(csr)?;
        let generated = application.private_key.is_some();
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

    /// Returns the error of Vault's check of the signed certificate: a critical extension that it does not know. Vault
    /// checks a certificate before it stores it, and reports a failure as its own.
    pub(super) fn verification_error(&self) -> Option<String> {
        let extensions = &self.params.custom_extensions;
        let critical = extensions.iter().filter(|extension| extension.criticality());
        let mut oids = critical.map(|extension| extension.oid_components().collect::<Vec<_>>());
        let unknown = oids.find(|oid| !KNOWN_EXTENSIONS.contains(&oid.as_slice()))?;
        let unknown: Vec<_> = unknown.iter().map(u64::to_string).collect();
        Some(format!("x509: unhandled critical extension ({})", unknown.join(".")))
    }

    /// Copies the subject and the extensions of the CSR.
    pub(super) fn copy(&mut self, csr: &Csr) {
        let params = &mut self.params;
        params.distinguished_name = csr.subject.clone();
        params.subject_alt_names = Vec::new();
        params.extended_key_usages = Vec::new();
        if csr.requests(&[2, 5, 29, 15]) {
            params.key_usages = Vec::new();
        }
        params.custom_extensions.extend(csr.extensions.iter().cloned());
    }

    /// Turns the certificate into one of an intermediate CA.
    pub(super) fn intermediate(&mut self, csr: &Csr, use_csr_values: bool) {
        if use_csr_values {
            self.copy(csr);
        }
        let params = &mut self.params;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = Vec::new();
        params
            .custom_extensions
            .retain(|extension| !extension.oid_components().eq([2, 5, 29, 15]));
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

/// Parses the names in a request's body. Vault drops those that are neither e-mail addresses nor host names.
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

/// Returns the names by kind, sorted and without duplicates, as Vault writes them.
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

/// Returns the requested end of validity, with Vault's warnings. The role must have its effective `max_ttl`.
fn not_after(now: Now, role: &Role, fields: &Fields) -> Result<(Duration, Vec<String>), Refusal> {
    let ttl = fields.duration("ttl")?;
    let requested = fields.text("not_after");
    let not_after = if role.not_after.is_empty() {
        &requested
    } else {
        &role.not_after
    };
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
            duration::go(ttl),
            duration::go(max_ttl)
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

/// Applies the end of the CA's own certificate.
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

/// Returns the subject that a role allows.
pub(super) fn subject(common_name: &str, serial: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if !common_name.is_empty() {
        subject.push(DnType::CommonName, common_name);
    }
    if !serial.is_empty() {
        subject.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial);
    }
    subject
}

/// Returns the usages that a role sets.
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
