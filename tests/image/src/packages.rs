//! The crates that are linked into the controller.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use anyhow::Context;
use xtask::process::{cargo, read};

/// A crate's name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    /// The name.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: String,
}

/// A crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// The SPDX expression of its license.
    pub(crate) license: String,
    /// The SHA-256 digest of its archive; `None` for our own crates.
    pub(crate) checksum: Option<String>,
    /// The crates that it uses.
    pub(crate) uses: BTreeSet<Id>,
}

/// Returns the crates of the controller.
pub(crate) fn of_controller() -> anyhow::Result<BTreeMap<Id, Package>> {
    let mut tree = cargo(["tree", "--locked", "--package=vault-issuer", "--edges=normal"]);
    let tree = read(tree.args(["--prefix=depth", "--format={p}|{l}"]))?;
    let mut packages = parse_tree(&tree)?;
    let checksums = checksums(&fs::read_to_string("Cargo.lock")?);
    for (id, package) in &mut packages {
        package.checksum = checksums.get(id).cloned();
    }
    Ok(packages)
}

/// Reads the output of `cargo tree`: depth, name, version, and behind a bar the license.
fn parse_tree(tree: &str) -> anyhow::Result<BTreeMap<Id, Package>> {
    let mut packages: BTreeMap<Id, Package> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines() {
        let (depth, id, license) = parse_line(line).with_context(|| format!("cargo tree says {line:?}"))?;
        above.truncate(depth);
        if let Some(user) = above.last() {
            packages.entry(user.clone()).or_default().uses.insert(id.clone());
        }
        packages.entry(id.clone()).or_default().license = license;
        above.push(id);
    }
    Ok(packages)
}

fn parse_line(line: &str) -> Option<(usize, Id, String)> {
    let name_at = line.find(|c: char| !c.is_ascii_digit())?;
    let (depth, rest) = line.split_at(name_at);
    let (package, license) = rest.split_once('|')?;
    let mut words = package.split(' ');
    let id = Id {
        name: words.next()?.to_owned(),
        version: words.next()?.strip_prefix('v')?.to_owned(),
    };
    // The second time, a crate's own dependencies are left out, with a mark.
    let license = license.trim_end_matches(" (*)");
    // Old manifests separate alternatives by a slash.
    Some((depth.parse().ok()?, id, license.replace('/', " OR ")))
}

/// Returns the checksums in a `Cargo.lock`.
fn checksums(lock: &str) -> HashMap<Id, String> {
    let field = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        let id = Id {
            name: field(package, "name")?,
            version: field(package, "version")?,
        };
        Some((id, field(package, "checksum")?))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        Id {
            name: name.into(),
            version: version.into(),
        }
    }

    #[test]
    fn tree_is_read_with_its_edges() {
        let tree = "0a v0.1.0 (/repo/a)|Apache-2.0\n1b v1.0.0|MIT/Apache-2.0\n2c2 v2.0.0|MIT\n1c2 v2.0.0|MIT (*)\n";
        let packages = parse_tree(tree).unwrap();
        assert_eq!(packages.len(), 3);
        let uses = |one: Id| packages[&one].uses.iter().cloned().collect::<Vec<_>>();
        assert_eq!(uses(id("a", "0.1.0")), [id("b", "1.0.0"), id("c2", "2.0.0")]);
        assert_eq!(uses(id("b", "1.0.0")), [id("c2", "2.0.0")]);
        assert_eq!(packages[&id("b", "1.0.0")].license, "MIT OR Apache-2.0");
        assert_eq!(packages[&id("c2", "2.0.0")].license, "MIT");
        parse_tree("[dev-dependencies]").unwrap_err();
    }

    #[test]
    fn checksums_are_found_by_version() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"01\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"2.0.0\"\nchecksum = \"02\"\n\n\
                    [[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 2);
        assert_eq!(found[&id("a", "2.0.0")], "02");
    }
}
