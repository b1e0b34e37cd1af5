//! The namespaces whose requests a cluster issuer signs.

use std::collections::BTreeMap;

use issuer_api::{AllowedNamespaces, LabelOperator, LabelRequirement, LabelSelector};

use super::SpecError;

/// The labels of a namespace.
pub type NamespaceLabels = BTreeMap<String, String>;

/// Whether an issuer signs the requests of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It does.
    Granted,
    /// It does not.
    Refused,
    /// The labels of the namespace decide.
    DependsOnLabels,
}

/// Checks what the schema cannot: whether each requirement has values just where its operator needs them.
pub(super) fn check(allowed: &AllowedNamespaces) -> Result<(), SpecError> {
    let expressions = allowed.selector.iter().flat_map(|selector| &selector.match_expressions);
    let is_consistent = |requirement: &LabelRequirement| {
        let takes_values = matches!(requirement.operator, LabelOperator::In | LabelOperator::NotIn);
        takes_values != requirement.values.is_empty()
    };
    if expressions.into_iter().all(is_consistent) {
        Ok(())
    } else {
        Err(SpecError::NamespaceSelector)
    }
}

/// Returns whether requests of a namespace are signed, by its name and, once they are known, its labels.
pub(crate) fn admission(allowed: &AllowedNamespaces, name: &str, labels: Option<&NamespaceLabels>) -> Admission {
    if allowed.names.iter().any(|named| named == name) {
        return Admission::Granted;
    }
    match (&allowed.selector, labels) {
        (None, _) => Admission::Refused,
        // What is in no namespace has no labels to select.
        (Some(_), None) if name.is_empty() => Admission::Refused,
        (Some(_), None) => Admission::DependsOnLabels,
        (Some(selector), Some(labels)) if selects(selector, labels) => Admission::Granted,
        (Some(_), Some(_)) => Admission::Refused,
    }
}

/// Returns `true` if a selector selects an object with these labels.
fn selects(selector: &LabelSelector, labels: &NamespaceLabels) -> bool {
    let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    let meets = |requirement: &LabelRequirement| {
        let value = labels.get(&requirement.key);
        let is_in = value.is_some_and(|value| requirement.values.contains(value));
        match requirement.operator {
            LabelOperator::In => is_in,
            LabelOperator::NotIn => !is_in,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    };
    selector.match_labels.iter().all(has) && selector.match_expressions.iter().all(meets)
}

#[cfg(test)]
mod tests {
    use LabelOperator::{DoesNotExist, Exists, In, NotIn};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> NamespaceLabels {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn requires(operator: LabelOperator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: vec![LabelRequirement {
                key: "env".to_owned(),
                operator,
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }],
            ..LabelSelector::default()
        }
    }

    /// The semantics of `LabelSelectorAsSelector` in apimachinery.
    #[test]
    fn selectors_mean_what_kubernetes_means() {
        let prod = labels(&[("env", "prod"), ("team", "a")]);
        let bare = labels(&[]);
        let matching = |pairs| LabelSelector {
            match_labels: labels(pairs),
            ..LabelSelector::default()
        };
        let both = LabelSelector {
            match_labels: labels(&[("team", "b")]),
            ..requires(Exists, &[])
        };
        for (selector, selects_prod, selects_bare) in [
            (LabelSelector::default(), true, true),
            (matching(&[("env", "prod")]), true, false),
            (matching(&[("env", "prod"), ("team", "b")]), false, false),
            (matching(&[("env", "")]), false, false),
            (requires(In, &["dev", "prod"]), true, false),
            (requires(In, &["dev"]), false, false),
            (requires(NotIn, &["dev", "prod"]), false, true),
            (requires(NotIn, &["dev"]), true, true),
            (requires(Exists, &[]), true, false),
            (requires(DoesNotExist, &[]), false, true),
            (both, false, false),
        ] {
            assert_eq!(selects(&selector, &prod), selects_prod, "{selector:?}");
            assert_eq!(selects(&selector, &bare), selects_bare, "{selector:?}");
        }
    }

    #[test]
    fn names_are_allowed_beside_the_selector() {
        let allowed = AllowedNamespaces {
            names: vec!["web".to_owned()],
            selector: Some(requires(In, &["prod"])),
        };
        let (prod, dev) = (labels(&[("env", "prod")]), labels(&[("env", "dev")]));
        assert_eq!(admission(&allowed, "web", None), Admission::Granted);
        assert_eq!(admission(&allowed, "web", Some(&dev)), Admission::Granted);
        assert_eq!(admission(&allowed, "team", None), Admission::DependsOnLabels);
        assert_eq!(admission(&allowed, "", None), Admission::Refused);
        assert_eq!(admission(&allowed, "team", Some(&prod)), Admission::Granted);
        assert_eq!(admission(&allowed, "team", Some(&dev)), Admission::Refused);
        let names_only = AllowedNamespaces {
            selector: None,
            ..allowed
        };
        assert_eq!(admission(&names_only, "team", None), Admission::Refused);
    }

    #[test]
    fn operators_take_values_or_none() {
        for (operator, values, is_valid) in [
            (In, vec!["a"], true),
            (In, vec![], false),
            (NotIn, vec!["a"], true),
            (NotIn, vec![], false),
            (Exists, vec![], true),
            (Exists, vec!["a"], false),
            (DoesNotExist, vec![], true),
            (DoesNotExist, vec!["a"], false),
        ] {
            let allowed = AllowedNamespaces {
                names: Vec::new(),
                selector: Some(requires(operator, &values)),
            };
            assert_eq!(check(&allowed).is_ok(), is_valid, "{operator:?} {values:?}");
        }
    }
}
