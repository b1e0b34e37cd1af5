//! Flags that select the watched namespaces.

use clap::Parser;

/// The namespaces and kinds that the controller watches.
#[derive(Clone, Debug, Parser)]
pub struct WatchArgs {
    /// Serves the VaultIssuers of this namespace only; repeat or separate by commas. Needs no cluster-wide rights;
    /// VaultClusterIssuers are not served [default: all]
    #[arg(
        long = "namespace",
        env = "VAULT_ISSUER_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        value_parser = namespace,
    )]
    pub namespaces: Vec<String>,
}

/// Checks the name of a namespace, which becomes a segment of URLs.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
fn namespace(text: &str) -> Result<String, &'static str> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = (1..=63).contains(&text.len())
        && text.bytes().all(|byte| letter(byte) || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_label {
        Ok(text.to_owned())
    } else {
        Err("give the name of a namespace: lower-case letters, digits and '-'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_given_one_by_one() {
        let parse = |args: &[&str]| {
            let args = WatchArgs::try_parse_from(["controller"].iter().chain(args));
            args.map(|args| args.namespaces).map_err(|error| error.to_string())
        };
        assert_eq!(parse(&[]), Ok(Vec::new()));
        let several = parse(&["--namespace=team-a", "--namespace", "team-b,team-c"]);
        assert_eq!(several.unwrap(), ["team-a", "team-b", "team-c"]);
        for wrong in ["", "Team", "a/b", "-a", "a.b", "a,"] {
            let error = parse(&[&format!("--namespace={wrong}")]).unwrap_err();
            assert!(error.contains("give the name of a namespace"), "{wrong:?}: {error}");
        }
    }
}
