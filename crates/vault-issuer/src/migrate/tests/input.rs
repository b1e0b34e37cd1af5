//! Objects as they are found: in lists, with fields of other versions, managed by other programs.

use super::certificates::certificate;
use super::{ISSUER, sections};

#[test]
fn programs_that_undo_are_named() {
    let helm = ", annotations: {meta.helm.sh/release-name: web";
    let plan = sections(&format!("{ISSUER}{}", certificate(&format!("{helm}}}"), "")));
    let warning = |object: &str| {
        format!(
            "# WARNING: Helm writes {object} again: change its source too, or certificates are issued back and forth\n"
        )
    };
    let moved = "# Certificate team-a/web changes to VaultIssuer team-a/vault\n".to_owned();
    assert!(plan.contains(&(moved + &warning("Certificate team-a/web"))), "{plan}");
    let ingress = format!(
        "---\n{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: shop, namespace: team-a{helm}, \
         cert-manager.io/issuer: vault}}}}}}\n"
    );
    let plan = sections(&format!("{ISSUER}{ingress}"));
    assert!(plan.contains(&(warning("Ingress team-a/shop") + "# AFTER: ")), "{plan}");
}

#[test]
fn unknown_fields_are_named() {
    let given = ISSUER.replace(
        "    path:",
        "    namespace: ''\n    caBundleSecretRef: {name: ''}\n    future: {a: 1}\n    path:",
    );
    let given = given.replace("roleId: r", "roleId: r, later: true");
    let plan = sections(&given);
    let unknown: Vec<_> = plan.lines().filter(|line| line.contains("not known here")).collect();
    assert_eq!(
        unknown,
        [
            "# WARNING: spec.vault.auth.appRole.later is not known here, and is left out",
            "# WARNING: spec.vault.future is not known here, and is left out",
        ],
        "{plan}"
    );
}

#[test]
fn lists_of_every_form_are_read() {
    let issuers = ISSUER.trim().replace('\n', "\n  ");
    let bare = issuers.replace("apiVersion: cert-manager.io/v1\n  kind: Issuer\n  ", "");
    let expected = sections(ISSUER);
    for list in [
        format!("apiVersion: v1\nkind: List\nitems:\n- {issuers}\n"),
        format!("apiVersion: cert-manager.io/v1\nkind: IssuerList\nitems:\n- {bare}\n"),
        format!("apiVersion: v1\nkind: List\nitems: []\n---\n{ISSUER}"),
    ] {
        assert_eq!(sections(&list), expected, "{list}");
    }
}
