//! The paths of the signing endpoints.

/// A signing endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// Of OpenBao.
    Cel(&'a str),
    /// Of Vault Enterprise.
    External,
    /// Of Vault Enterprise.
    ExternalIntermediate,
    Intermediate,
    Issue(&'a str),
    Sign(&'a str),
    Verbatim(Option<&'a str>),
}

/// Parses a path below the mount: the issuer that it names, and the endpoint.
pub(super) fn parse(path: &str) -> Option<(Option<&str>, Endpoint<'_>)> {
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
        ["cel", "sign", role] if issuer.is_none() => Endpoint::Cel(role),
        ["external-policy", "sign"] | ["external-policy", "sign", _] => Endpoint::External,
        ["external-policy", "sign-intermediate"] | ["external-policy", "sign-intermediate", _] => {
            Endpoint::ExternalIntermediate
        }
        _ => return None,
    };
    Some((issuer, endpoint))
}

impl Endpoint<'_> {
    /// Returns `true` if the endpoint signs CA certificates.
    pub(super) fn is_intermediate(self) -> bool {
        matches!(self, Self::Intermediate | Self::ExternalIntermediate)
    }
}

/// Returns `true` if Vault accepts this as the name of a role or an issuer.
fn is_name(segment: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let inner = |c: char| word(c) || c == '-' || c == '.';
    segment.chars().all(inner) && segment.starts_with(word) && segment.ends_with(word)
}
