//! The texts of a request, cut to what can mean something.

use std::collections::BTreeMap;

use issuer_api::CertificateRequest;

use super::observed_request::ObservedRequest;
use crate::usage::Usage;

/// The length of the longest name of an object. No kind and no duration is longer.
const LONGEST: usize = 253;

/// Cuts the texts of a request, which anyone who may create one chooses and cert-manager does not limit.
///
/// A text that is cut is as meaningless as before: it ends with a character that no name and no duration has. Usages are
/// kept once, and unknown ones, which are ignored, not at all.
pub(super) fn cut(request: &mut ObservedRequest) {
    match request {
        ObservedRequest::CertManager(request) => shorten(request),
        // The API server limits the rest.
        ObservedRequest::Kubernetes(csr) => {
            let annotations = csr.metadata.annotations.iter_mut();
            annotations.flat_map(BTreeMap::values_mut).for_each(cut_text);
        }
    }
}

fn shorten(request: &mut CertificateRequest) {
    let spec = &mut request.spec;
    cut_text(&mut spec.issuer_ref.name);
    for text in [&mut spec.issuer_ref.kind, &mut spec.duration].into_iter().flatten() {
        cut_text(text);
    }
    let mut kept = Vec::new();
    spec.usages.retain(|name| {
        let usage = Usage::parse(name).filter(|usage| !kept.contains(usage));
        kept.extend(usage);
        usage.is_some()
    });
    spec.usages.shrink_to_fit();
}

fn cut_text(text: &mut String) {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('\u{2026}');
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration;
    use crate::reference::IssuerKey;

    fn request(text: &str, usages: &[&str]) -> CertificateRequest {
        let mut request = CertificateRequest::default();
        request.spec.issuer_ref.name = text.to_owned();
        request.spec.issuer_ref.kind = Some(text.to_owned());
        request.spec.duration = Some(text.to_owned());
        request.spec.usages = usages.iter().map(|usage| (*usage).to_owned()).collect();
        request
    }

    #[test]
    fn ordinary_texts_are_kept() {
        for text in ["", "vault", "90h", &"v".repeat(253)] {
            let mut cut_request = request(text, &["server auth", "client auth"]);
            shorten(&mut cut_request);
            assert_eq!(cut_request, request(text, &["server auth", "client auth"]));
        }
    }

    #[test]
    fn long_texts_are_cut() {
        for text in ["1h".repeat(1 << 20), "\u{e4}".repeat(1 << 20), "v".repeat(254)] {
            let mut cut_request = request(&text, &["server auth"; 10_000]);
            cut_request.spec.usages.push("telepathy".repeat(1 << 16));
            shorten(&mut cut_request);
            assert!(serde_json::to_vec(&cut_request).unwrap().len() < 1000);
            assert_eq!(cut_request.spec.usages, ["server auth"]);
            assert_eq!(duration::parse(&cut_request.spec.duration.unwrap()), None);
            cut_request.spec.issuer_ref.kind = None;
            assert_eq!(IssuerKey::of(&cut_request.spec.issuer_ref, "team"), None);
        }
    }

    #[test]
    fn usages_with_one_meaning_are_kept_by_name() {
        let mut request = request("vault", &["signing", "digital signature", "signing"]);
        shorten(&mut request);
        assert_eq!(request.spec.usages, ["signing", "digital signature"]);
    }
}
