//! Plans of whole migrations, as they are printed.

use clap::Parser;

use super::*;
use crate::manifest;

fn plan(text: &str) -> String {
    let args = MigrateArgs::try_parse_from(["migrate", "-n", "team-a"]).unwrap();
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
# $ kubectl get secret vault-ca --namespace cert-manager --output json | jq '{apiVersion, kind, type, data, metadata: {name: .metadata.name}}' | kubectl apply --namespace vault-issuer -f -
# $ kubectl create serviceaccount signer --namespace vault-issuer
# $ vault write auth/k8s/role/web bound_service_account_namespaces=cert-manager,vault-issuer
apiVersion: vault-issuer.io/v1alpha1
kind: VaultClusterIssuer
metadata:
  name: vault
spec:
",
        "kind: Role
metadata:
  name: vault-issuer-tokens
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
    ];
    let plan = sections(&text.concat());
    let commands = plan.rsplit("---\n").next().unwrap();
    assert_eq!(
        commands,
        "\
# Run these after the issuers are ready:
# $ kubectl annotate ingress a --namespace team-a --overwrite cert-manager.io/issuer=vault cert-manager.io/issuer-kind=VaultIssuer cert-manager.io/issuer-group=vault-issuer.io
# $ kubectl annotate ingress b --namespace team-a --overwrite cert-manager.io/issuer=vault cert-manager.io/issuer-kind=VaultClusterIssuer cert-manager.io/issuer-group=vault-issuer.io cert-manager.io/cluster-issuer-
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
            format!(
                "{ISSUER}---\n{}",
                "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: ca, namespace: team-a}, \
                 spec: {isCA: true, issuerRef: {name: vault, kind: Issuer}}}\n"
            ),
            "# WARNING: isCA is set, and the issuer's path signs no CA certificates: the request will fail\n",
        ),
    ] {
        let plan = sections(&text);
        assert!(plan.contains(warning), "{warning} is not in {plan}");
        assert!(!sections(ISSUER).contains(warning));
    }
}

#[test]
fn certificates_of_ingresses_follow_them() {
    let owned = "{apiVersion: cert-manager.io/v1, kind: Certificate, \
                 metadata: {name: a, namespace: team-a, ownerReferences: [{apiVersion: v1, kind: Ingress, name: a, uid: u}]}, \
                 spec: {issuerRef: {name: vault}}}\n";
    assert_eq!(sections(&format!("{ISSUER}---\n{owned}")), sections(ISSUER));
}
