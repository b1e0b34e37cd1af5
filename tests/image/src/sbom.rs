//! The image's contents: a bill of materials and a list of licenses.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};

use crate::packages::{Id, Package};

/// Returns a bill of materials in the format CycloneDX 1.6 (ECMA-424), without a time or a serial number, so that the same
/// packages make the same text.
pub(crate) fn cyclone_dx(packages: &BTreeMap<Id, Package>) -> anyhow::Result<Value> {
    let (own, controller) = packages
        .iter()
        .find(|(id, _)| id.name == "vault-issuer")
        .context("the controller is not among its packages")?;
    let others = packages.iter().filter(|(id, _)| *id != own);
    let dependencies = packages.iter().map(|(id, package)| {
        let uses: Vec<String> = package.uses.iter().map(url).collect();
        json!({ "ref": url(id), "dependsOn": uses })
    });
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component("application", own, controller) },
        "components": others.map(|(id, package)| component("library", id, package)).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    }))
}

fn component(kind: &str, id: &Id, package: &Package) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": url(id),
        "name": id.name,
        "version": id.version,
        "purl": url(id),
        "licenses": [{ "expression": package.license }],
    });
    if let (Some(fields), Some(checksum)) = (component.as_object_mut(), &package.checksum) {
        let hashes = json!([{ "alg": "SHA-256", "content": checksum }]);
        fields.insert("hashes".into(), hashes);
    }
    component
}

/// Returns a package URL (ECMA-427).
fn url(id: &Id) -> String {
    format!("pkg:cargo/{}@{}", id.name, id.version.replace('+', "%2B"))
}

/// Returns the licenses, a line for each crate.
pub(crate) fn licenses(packages: &BTreeMap<Id, Package>) -> String {
    let lines = packages
        .iter()
        .map(|(id, package)| format!("{} {}: {}\n", id.name, id.version, package.license));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> BTreeMap<Id, Package> {
        let id = |name: &str, version: &str| Id {
            name: name.into(),
            version: version.into(),
        };
        let own = Package {
            license: "Apache-2.0".into(),
            checksum: None,
            uses: [id("a", "1.0.0+b")].into(),
        };
        let other = Package {
            license: "MIT".into(),
            checksum: Some("01".into()),
            uses: [].into(),
        };
        BTreeMap::from([(id("vault-issuer", "0.1.0"), own), (id("a", "1.0.0+b"), other)])
    }

    #[test]
    fn every_reference_is_a_component() {
        let bom = cyclone_dx(&packages()).unwrap();
        assert_eq!(bom["metadata"]["component"]["purl"], "pkg:cargo/vault-issuer@0.1.0");
        assert_eq!(bom["components"].as_array().unwrap().len(), 1);
        let a = &bom["components"][0];
        assert_eq!(a["bom-ref"], "pkg:cargo/a@1.0.0%2Bb");
        assert_eq!(a["hashes"][0]["content"], "01");
        let own = bom["dependencies"].as_array().unwrap().last().unwrap();
        assert_eq!(own["dependsOn"], json!([a["bom-ref"]]));
    }

    #[test]
    fn licenses_are_listed_by_crate() {
        assert_eq!(
            licenses(&packages()),
            "a 1.0.0+b: MIT\nvault-issuer 0.1.0: Apache-2.0\n"
        );
    }
}
