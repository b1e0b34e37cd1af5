//! Plans of whole migrations, as they are printed.

mod certificates;
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
# BEFORE: kubectl get secret vault-ca --namespace cert-manager --output go-template='apiVersion: v1{{\"\\n\"}}kind: Secret{{\"\\n\"}}metadata: {name: {{.metadata.name}}}{{\"\\n\"}}data: { {{range $key, $value := .data}}\"{{$key}}\": \"{{$value}}\", {{end}}}' | kubectl apply --server-side --field-manager=vault-issuer-migrate --namespace vault-issuer -f -
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
            CLUSTER_ISSUER.replace(
                "{kubernetes: {role: web, mountPath: /v1/auth/k8s, serviceAccountRef: {name: signer}}}",
                "{aws: {role: web}}",
            ),
            "# WARNING: spec.auth.aws: the AWS identity is that of the controller's pod, no longer of cert-manager's",
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
