//! Plans of whole migrations, as they are printed.

mod input;

use clap::Parser;

use super::*;
use crate::manifest;

fn plan(text: &str) -> String {
    plan_with(&[], text)
}

fn plan_with(flags: &[&str], text: &str) -> String {
    let args = [&["migrate", "-n", "team-a"][..], flags].concat();
    let args = MigrateArgs::try_parse_from(args).unwrap();
    let mut objects = Objects::default();
    manifest::parse(text, &mut |document| objects.take(document, &args.namespace)).unwrap();
    Plan::new(&args, &objects).text().unwrap()
}

/// The plan without its first comment, which is always the same.
fn sections(text: &str) -> String {
    let plan = plan(text);
    plan.split_once("---\n").unwrap().1.to_owned()
}

const ISSUER: &str = "
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: vault, namespace: team-a, resourceVersion: '7'}
spec:
  vault:
    server: https://vault.example.com:8200
    path: pki/sign/team-a
    auth: {appRole: {path: approle, roleId: r, secretRef: {name: vault-approle, key: secretId}}}
status: {conditions: [{type: Ready, status: 'True'}]}
";

#[test]
fn an_issuer_and_its_certificate_move() {
    let text = format!(
        "{ISSUER}---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {{name: web}}
spec: {{secretName: web, issuerRef: {{name: vault}}}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {{name: other}}
spec: {{secretName: other, issuerRef: {{name: acme}}}}
"
    );
    assert_eq!(
        sections(&text),
        "\
# The controller reads the Secrets that issuers name in team-a
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: vault-issuer-credentials
  namespace: team-a
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: vault-issuer-credentials
subjects:
- kind: ServiceAccount
  name: vault-issuer
  namespace: vault-issuer
---
# Issuer team-a/vault becomes VaultIssuer team-a/vault
apiVersion: vault-issuer.io/v1alpha1
kind: VaultIssuer
metadata:
  name: vault
  namespace: team-a
spec:
  auth:
    appRole:
      path: approle
      roleId: r
      secretRef:
        key: secretId
        name: vault-approle
  path: pki/sign/team-a
  server: https://vault.example.com:8200
---
# Certificate team-a/web changes to VaultIssuer team-a/vault
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: web
  namespace: team-a
spec:
  issuerRef:
    group: vault-issuer.io
    kind: VaultIssuer
    name: vault
"
    );
}

const CLUSTER_ISSUER: &str = "
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: vault}
spec:
  vault:
    server: https://vault.example.com:8200
    path: pki/sign/web
    caBundleSecretRef: {name: vault-ca}
    auth: {kubernetes: {role: web, mountPath: /v1/auth/k8s, serviceAccountRef: {name: signer}}}
";

#[test]
fn credentials_of_cluster_issuers_move() {
    let plan = sections(CLUSTER_ISSUER);
    for expected in [
        "# ClusterIssuer vault becomes VaultClusterIssuer vault
# BEFORE: kubectl get secret vault-ca --namespace cert-manager --output go-template='{apiVersion: v1, kind: Secret, metadata: {name: {{.metadata.name}}}, data: { {{range $key, $value := .data}}\"{{$key}}\": \"{{$value}}\", {{end}}}}' | kubectl apply --server-side --field-manager=vault-issuer-migrate --namespace vault-issuer -f -
# WARNING: a copy does not follow its Secret when that is renewed; nothing is copied with cert-manager as the cluster resource namespace (--cluster-resource-namespace, here and of the controller)
# BEFORE: vault read auth/k8s/role/web
# EDIT: vault write auth/k8s/role/web bound_service_account_namespaces=PRESENT,vault-issuer bound_service_account_namespace_selector=PRESENT
# PRESENT is what the role has now. A role at a mount of the type jwt is written whole, with a bound_subject or bound_claims that allow system:serviceaccount:vault-issuer:signer
apiVersion: vault-issuer.io/v1alpha1
kind: VaultClusterIssuer
metadata:
  name: vault
spec:
",
        "# Cluster issuers had the service account signer in another namespace
apiVersion: v1
kind: ServiceAccount
metadata:
  name: signer
  namespace: vault-issuer
---
",
        "kind: Role
metadata:
  name: vault-issuer-tokens-signer
  namespace: vault-issuer
rules:
- apiGroups:
  - \"\"
  resourceNames:
  - signer
  resources:
  - serviceaccounts/token
  verbs:
  - create
",
    ] {
        assert!(plan.contains(expected), "{plan}");
    }
}

#[test]
fn nothing_moves_with_one_cluster_resource_namespace() {
    let plan = plan_with(&["--cluster-resource-namespace", "cert-manager"], CLUSTER_ISSUER);
    let (_, sections) = plan.split_once("---\n").unwrap();
    for absent in ["BEFORE", "EDIT", "WARNING", "\nkind: ServiceAccount\n"] {
        assert!(!sections.contains(absent), "{plan}");
    }
    assert!(plan.contains("  name: vault-issuer-tokens-signer\n  namespace: cert-manager\n"));
}

#[test]
fn accounts_have_roles_of_their_own() {
    let issuer = |name: &str, account: &str| {
        format!(
            "---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {{name: {name}, namespace: team-a}}\n\
             spec: {{vault: {{server: 'https://vault.example.com', path: pki/sign/web, \
             auth: {{kubernetes: {{role: web, serviceAccountRef: {{name: {account}}}}}}}}}}}\n"
        )
    };
    let plan = sections(&(issuer("a", "one") + &issuer("b", "two") + &issuer("c", "one")));
    for account in ["one", "two"] {
        let role = format!("kind: Role\nmetadata:\n  name: vault-issuer-tokens-{account}\n  namespace: team-a\n");
        assert_eq!(plan.matches(&role).count(), 1, "{plan}");
        assert_eq!(
            plan.matches(&format!("  resourceNames:\n  - {account}\n  resources"))
                .count(),
            1,
            "{plan}"
        );
    }
}

#[test]
fn shared_roles_are_named() {
    let other = CLUSTER_ISSUER
        .replace("kind: ClusterIssuer", "kind: Issuer")
        .replace("name: vault}", "name: other, namespace: team-a}");
    let warning = "# WARNING: Issuer team-a/other logs in with the role web at auth/k8s too, and needs what the role allows now\n";
    let plan = sections(&format!("{CLUSTER_ISSUER}---\n{other}"));
    assert!(plan.contains(warning), "{plan}");
    for apart in [
        other.replace("role: web", "role: other"),
        other.replace("auth/k8s", "auth/other"),
        other.replace("vault.example.com", "other.example.com"),
        other.replace("    path:", "    namespace: team\n    path:"),
    ] {
        let plan = sections(&format!("{CLUSTER_ISSUER}---\n{apart}"));
        assert!(!plan.contains("too, and needs"), "{plan}");
    }
    let in_namespace = sections(&CLUSTER_ISSUER.replace("    path:", "    namespace: team\n    path:"));
    for expected in [
        "BEFORE: vault read -namespace=team auth/",
        "EDIT: vault write -namespace=team auth/",
    ] {
        assert!(in_namespace.contains(expected), "{in_namespace}");
    }
}

#[test]
fn the_installation_has_a_name() {
    let flags = [
        "--controller-name",
        "vi-vault-issuer",
        "--controller-namespace",
        "platform",
    ];
    let plan = plan_with(&flags, ISSUER);
    for expected in [
        "  kind: ClusterRole\n  name: vi-vault-issuer-credentials\n",
        "- kind: ServiceAccount\n  name: vi-vault-issuer\n  namespace: platform\n",
    ] {
        assert!(plan.contains(expected), "{plan}");
    }
    let plan = plan_with(
        &[&flags[..], &["--controller-service-account", "signer"]].concat(),
        ISSUER,
    );
    assert!(plan.contains("- kind: ServiceAccount\n  name: signer\n"), "{plan}");
}

/// Returns a Certificate of the Issuer.
fn certificate(metadata: &str, spec: &str) -> String {
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
            ISSUER.replace("pki/sign", "pki//sign"),
            "spec.path must name a signing endpoint",
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
fn differences_are_named_before_they_happen() {
    let audiences = CLUSTER_ISSUER.replace("{name: signer}", "{name: signer, audiences: [vault]}");
    for (text, warning) in [
        (
            ISSUER.replace("https://", "http://"),
            "# WARNING: spec.server is a http:// URL, which would send the credentials in clear; use https://, or start the \
             controller with --allow-http or --allow-http-servers\n",
        ),
        (
            ISSUER.replace("auth: {", "auth: {tokenSecretRef: {name: t}, "),
            "# WARNING: spec.auth: set exactly one of",
        ),
        (
            ISSUER.replace("pki/sign/", "pki/issue/"),
            "# WARNING: spec.path must name a signing endpoint",
        ),
        (
            ISSUER.replace("vault.example.com", "localhost"),
            "# WARNING: spec.server is not allowed: the operator has to list it (--allowed-servers)\n",
        ),
        (audiences, "(--allow-audiences)\n"),
        (
            ISSUER.replace(
                "{appRole: {path: approle, roleId: r, secretRef: {name: vault-approle, key: secretId}}}",
                "{aws: {role: web}}",
            ),
            "AWS identity of the controller's pod (--issuer-ambient-credentials)\n",
        ),
        (
            ISSUER.replace(
                "{appRole: {path: approle, roleId: r, secretRef: {name: vault-approle, key: secretId}}}",
                "{aws: {role: web, serviceAccountRef: {name: signer}, iamRoleArn: arn}}",
            ),
            "# WARNING: spec.auth.aws.region is missing: it is the AWS_REGION of the controller's pod",
        ),
        (
            format!(
                "{ISSUER}---\n{}",
                "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: ca, namespace: team-a}, \
                 spec: {isCA: true, issuerRef: {name: vault, kind: Issuer}}}\n"
            ),
            "# WARNING: Certificate team-a/ca is held back: a CA certificate needs an issuer whose path ends in sign-intermediate\n",
        ),
    ] {
        let plan = sections(&text);
        assert!(plan.contains(warning), "{warning} is not in {plan}");
        assert!(!sections(ISSUER).contains(warning));
    }
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
