//! Certificates, and the objects whose annotations have them made.

use super::*;

/// Returns a Certificate of the Issuer.
pub(super) fn certificate(metadata: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {{name: web, namespace: team-a{metadata}}}, \
         spec: {{{spec}issuerRef: {{name: vault}}}}}}\n"
    )
}

#[test]
fn what_cannot_be_signed_is_held_back() {
    let ingress = "---\n{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: team-a, \
                   annotations: {cert-manager.io/issuer: vault}}}\n";
    let own_account = ISSUER.replace(
        "{appRole: {path: approle, roleId: r, secretRef: {name: vault-approle, key: secretId}}}",
        "{kubernetes: {role: web, serviceAccountRef: {name: vault-issuer}}}",
    );
    let two_methods = ISSUER.replace("auth: {", "auth: {tokenSecretRef: {name: t}, ");
    let in_own_namespace = ["--controller-namespace", "team-a"];
    let cases: [(&[&str], String, &str); 4] = [
        (
            &[],
            ISSUER.replace("pki/sign", "my pki/sign"),
            "spec.path must consist of segments",
        ),
        (
            &[],
            ISSUER.replace("pki/sign", "pki/issue"),
            "spec.path must name a signing endpoint",
        ),
        (&[], two_methods, "spec.auth: set exactly one of"),
        (
            &in_own_namespace,
            own_account,
            "names the controller's own service account",
        ),
    ];
    for (flags, issuer, cause) in cases {
        let plan = plan_with(flags, &format!("{issuer}{}{ingress}", certificate("", "")));
        for expected in [
            "\n# WARNING: Certificate team-a/web is held back: VaultIssuer team-a/vault is held back: ".to_owned(),
            "\n# WARNING: Ingress team-a/i stays: VaultIssuer team-a/vault is held back: ".to_owned(),
            "\n#   kind: VaultIssuer\n".to_owned(),
            "\n#   kind: Certificate\n".to_owned(),
            cause.to_owned(),
        ] {
            assert!(plan.contains(&expected), "{expected} is not in {plan}");
        }
        // Nothing is applied.
        assert!(
            plan.lines().all(|line| line == "---" || line.starts_with('#')),
            "{plan}"
        );
        assert!(!plan.contains("AFTER: "), "{plan}");
    }
}

#[test]
fn certificates_must_be_of_the_endpoint() {
    let intermediate: &str = &ISSUER.replace("pki/sign/team-a", "pki/root/sign-intermediate");
    let misleading: &str = &ISSUER.replace("pki/sign/team-a", "pki/sign/sign-intermediate-role");
    let needs_ca = "needs an issuer whose path ends in sign-intermediate";
    let signs_ca = "which signs CA certificates only";
    for (issuer, is_ca, obstacle) in [
        (ISSUER, false, None),
        (ISSUER, true, Some(needs_ca)),
        (intermediate, true, None),
        (intermediate, false, Some(signs_ca)),
        (misleading, true, Some(needs_ca)),
    ] {
        let plan = sections(&format!("{issuer}{}", certificate("", &format!("isCA: {is_ca}, "))));
        let applied = plan.contains("\nkind: Certificate\n");
        assert_eq!(applied, obstacle.is_none(), "{plan}");
        if let Some(obstacle) = obstacle {
            assert!(
                plan.contains("\n#   kind: Certificate\n") && plan.contains(obstacle),
                "{plan}"
            );
        }
    }
}

#[test]
fn annotations_are_changed_by_commands() {
    let ingress = |name: &str, annotations: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: team-a, annotations: {{{annotations}}}}}\n"
        )
    };
    let text = [
        ISSUER.to_owned(),
        "---".to_owned() + CLUSTER_ISSUER,
        ingress("a", "cert-manager.io/issuer: vault"),
        ingress("b", "cert-manager.io/cluster-issuer: vault"),
        ingress("c", "cert-manager.io/cluster-issuer: letsencrypt"),
        ingress(
            "d",
            "cert-manager.io/issuer: vault, cert-manager.io/issuer-group: example.com",
        ),
        ingress("e", ""),
        ingress(
            "f",
            "cert-manager.io/issuer: vault, cert-manager.io/cluster-issuer: vault",
        ),
        ingress(
            "g",
            "cert-manager.io/cluster-issuer: vault, cert-manager.io/issuer-kind: ClusterIssuer",
        ),
        ingress(
            "i",
            "cert-manager.io/issuer: acme, cert-manager.io/cluster-issuer: vault",
        ),
        ingress("h", "cert-manager.io/issuer: vault").replace("networking.k8s.io/v1", "example.com/v1"),
    ];
    let plan = sections(&text.concat());
    let commands = plan.rsplit("---\n").next().unwrap();
    assert_eq!(
        commands,
        "\
# Annotations, to be changed by commands:
# AFTER: kubectl annotate ingresses.networking.k8s.io a --namespace team-a --overwrite cert-manager.io/issuer=vault cert-manager.io/issuer-kind=VaultIssuer cert-manager.io/issuer-group=vault-issuer.io
# AFTER: kubectl annotate ingresses.networking.k8s.io b --namespace team-a --overwrite cert-manager.io/issuer=vault cert-manager.io/issuer-kind=VaultClusterIssuer cert-manager.io/issuer-group=vault-issuer.io cert-manager.io/cluster-issuer-
# WARNING: Ingress team-a/f stays: cert-manager refuses its annotations, since cluster-issuer excludes issuer, issuer-kind and issuer-group
# WARNING: Ingress team-a/g stays: cert-manager refuses its annotations, since cluster-issuer excludes issuer, issuer-kind and issuer-group
# WARNING: Ingress team-a/i stays: cert-manager refuses its annotations, since cluster-issuer excludes issuer, issuer-kind and issuer-group
"
    );
}

#[test]
fn owned_certificates_follow_their_owners() {
    let owned = |kind: &str, more: &str| {
        let owner = format!(", ownerReferences: [{{apiVersion: v1, kind: {kind}, name: a, uid: u{more}}}]");
        certificate(&owner, "")
    };
    for (kind, resource) in [
        ("Gateway", "gateways.gateway.networking.k8s.io"),
        ("Ingress", "ingresses.networking.k8s.io"),
        ("ListenerSet", "listenersets.gateway.networking.k8s.io"),
    ] {
        let (_, group) = resource.split_once('.').unwrap();
        let annotated = format!(
            "---\n{{apiVersion: {group}/v1, kind: {kind}, metadata: {{name: a, namespace: team-a, \
             annotations: {{cert-manager.io/issuer: vault}}}}}}\n"
        );
        let plan = sections(&format!("{ISSUER}{annotated}{}", owned(kind, "")));
        assert_eq!(plan, sections(&format!("{ISSUER}{annotated}")));
        let command = format!("# AFTER: kubectl annotate {resource} a --namespace team-a ");
        assert!(plan.contains(&command), "{plan}");

        let plan = sections(&format!("{ISSUER}{}", owned(kind, "")));
        let warning = format!("# WARNING: Certificate team-a/web stays: its {kind} a names no issuer of these");
        assert!(plan.contains(&warning) && !plan.contains("kind: Certificate"), "{plan}");
    }
    let plan = sections(&format!("{ISSUER}{}", owned("Broker", ", controller: true")));
    let warning =
        "# WARNING: Certificate team-a/web stays: Broker a controls it, and has to name VaultIssuer team-a/vault\n";
    assert!(plan.contains(warning) && !plan.contains("kind: Certificate"), "{plan}");
    // An owner that does not control it only has it deleted with itself.
    let plan = sections(&format!("{ISSUER}{}", owned("Broker", "")));
    assert!(plan.contains("\nkind: Certificate\n"), "{plan}");
}
