//! `vault-issuer check`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use fake_vault::{Accepts, AuthMethod, Authority, JwtRole, TokenParams};

use super::{SECRET_ID, Scene};

/// A name, the mistake, lines of the output, and the cause.
type Failure = (&'static str, fn(&Scene), &'static [&'static str], &'static str);

/// Makes each mistake and checks that one step reports it.
fn fail_at_one_step(failures: &[Failure]) {
    for (name, spoil, steps, cause) in failures {
        let scene = Scene::new(name);
        spoil(&scene);
        let ended = scene.check();
        ended.fails_with(1, steps, cause);
        assert_eq!(ended.out.matches("FAILED").count(), 1, "{name}: {}", ended.out);
        let now = scene.server.now();
        assert_eq!(scene.fake().live_tokens(now), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn check_says_what_works() {
    let scene = Scene::new("check");
    let ended = scene.check();
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}{}", ended.out, ended.err);
    let server = scene.server.url();
    let address = scene.server.address();
    let (presented, rest): (Vec<_>, Vec<_>) = ended.out.lines().partition(|line| line.starts_with("  server  "));
    assert!(
        presented.len() == 1 && presented[0].contains(", 127.0.0.1, issued by CN="),
        "{}",
        ended.out
    );
    assert_eq!(
        rest.join("\n") + "\n",
        format!(
            "VaultIssuer team-a/vault
  ok      spec: {server} signs at pki/sign/web, login with an AppRole at approle
  needs   policy: path \"pki/sign/web\" {{ capabilities = [\"update\"] }}
  ok      Secret team-a/vault-approle: keys secretId
  ok      Secret team-a/vault-ca: keys ca.crt
  ok      connect: {address}, TLS, certificate of 127.0.0.1
  ok      health: initialized, unsealed, active
  ok      login: Vault gave a token
  ok      right to sign: the path takes CSRs with this token
  ok      logout: the token was revoked
VaultIssuer team-a/vault can sign.
"
        )
    );
    assert_eq!(ended.err, "");
    let now = scene.server.now();
    assert_eq!(scene.fake().live_tokens(now), Vec::<String>::new());
    assert_eq!(scene.fake().counts().signs, 0);
}

#[test]
fn failures_of_vault_are_explained() {
    fail_at_one_step(&[
        (
            "ca",
            |scene| {
                let other = Authority::root("Another CA").certificate().pem.replace('\n', "\n    ");
                let (ours, text) = (scene.server.ca_pem(), scene.secrets());
                let text = text.replace(ours.trim_end().replace('\n', "\n    ").as_str(), other.trim_end());
                scene.write("secrets.yaml", &text);
            },
            &[
                "ok      Secret team-a/vault-ca",
                "FAILED  connect",
                "try     openssl s_client -connect 127.0.0.1:",
            ],
            "TLS handshake failed: the server's certificate is not signed by a CA",
        ),
        (
            "secret-id",
            |scene| scene.fake().rotate_secret_id("approle", "web", "another"),
            &[
                "ok      health",
                "FAILED  login",
                "try     vault read auth/approle/role/ROLE",
                "try     vault write -force auth/approle/role/ROLE/secret-id",
            ],
            "VaultIssuer team-a/vault cannot sign: the login failed",
        ),
        (
            "sealed",
            |scene| scene.fake().seal(),
            &["ok      connect", "FAILED  health", "try     vault operator unseal"],
            "Vault is sealed (VaultSealed)",
        ),
        (
            "role",
            |scene| scene.fake().remove_role("pki", "web"),
            &[
                "ok      login",
                "FAILED  right to sign",
                "ok      logout",
                "try     vault list pki/roles",
                "try     vault write pki/roles/web allowed_domains=DOMAIN",
            ],
            "(RoleNotFound)",
        ),
        (
            "path",
            |scene| scene.edit("issuer.yaml", "pki/sign/web", "pki/sign/mail"),
            &[
                "ok      login",
                "FAILED  right to sign",
                "try     echo 'path \"pki/sign/mail\" { capabilities = [\"update\"] }' | vault policy write",
                "try     vault write auth/approle/role/ROLE token_policies=",
            ],
            "(PermissionDenied)",
        ),
        (
            "mount",
            |scene| scene.edit("issuer.yaml", "roleId", "path: elsewhere\n      roleId"),
            &["FAILED  login"],
            "the login failed",
        ),
    ]);
}

#[test]
fn failures_before_the_login_are_explained() {
    fail_at_one_step(&[
        (
            "issue",
            |scene| scene.edit("issuer.yaml", "pki/sign/web", "pki/issue/web"),
            &["FAILED  spec"],
            "an issue endpoint makes its own key and cannot sign a request (InvalidSpec)",
        ),
        (
            "http",
            |scene| scene.edit("issuer.yaml", "https://", "http://"),
            &["FAILED  spec"],
            "which would send the credentials in clear",
        ),
        (
            "socks",
            |scene| {
                scene.edit(
                    "issuer.yaml",
                    "  server:",
                    "  proxy: socks5://proxy.example.com:1080\n  server:",
                )
            },
            &["FAILED  spec"],
            "TLS with the proxy itself (https://) and SOCKS are not supported (InvalidSpec)",
        ),
        (
            "missing",
            |scene| scene.edit("secrets.yaml", "name: vault-approle", "name: other"),
            &["ok      spec", "FAILED  Secret team-a/vault-approle"],
            "Secret team-a/vault-approle does not exist (SecretNotFound); give a file that holds it with another -f",
        ),
        (
            "namespace",
            |scene| scene.edit("secrets.yaml", "namespace: team-a", "namespace: team-b"),
            &["FAILED  Secret team-a/vault-approle"],
            "does not exist (SecretNotFound)",
        ),
        (
            "key",
            |scene| scene.edit("secrets.yaml", "secretId:", "secretID:"),
            &["ok      Secret team-a/vault-approle: keys secretID", "FAILED  Secrets"],
            "Secret team-a/vault-approle has no key secretId (SecretInvalid)",
        ),
        (
            "account",
            |scene| {
                let appended = "kubernetes: {role: web, serviceAccountRef: {name: app}}\n    ignored:";
                scene.edit("issuer.yaml", "appRole:", appended);
            },
            &["ok      health", "FAILED  ServiceAccount team-a/app"],
            "no token of the service account: give one with --service-account-token FILE (kubectl create token app \
             --namespace team-a --audience vault://team-a/vault,",
        ),
    ]);
}

#[test]
fn check_logs_in_with_a_given_token() {
    let scene = Scene::new("given-token");
    let accepts = Accepts::Known([format!("{SECRET_ID}-jwt")].into());
    let token = TokenParams::policies(["web"]);
    let role = ("web".to_owned(), JwtRole { accepts, token });
    scene
        .fake()
        .enable_auth("kubernetes", AuthMethod::Kubernetes(BTreeMap::from([role])));
    let issuer = format!(
        "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: vault, namespace: team-a}}, spec: {{vault: {{
          server: '{}', path: pki/sign/web, caBundleSecretRef: {{name: vault-ca, key: ca.crt}},
          auth: {{kubernetes: {{role: web, mountPath: /v1/auth/kubernetes, serviceAccountRef: {{name: app}}}}}}}}}}}}",
        scene.server.url()
    );
    scene.write("issuer.yaml", &issuer);
    scene.write("token", &format!("{SECRET_ID}-jwt\n"));
    let flags = "check -f @issuer.yaml -f @secrets.yaml --service-account-token @token";
    let ended = scene.run(flags);
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}", ended.err);
    let line = "ok      ServiceAccount team-a/app: the given token";
    assert!(ended.out.contains(line), "{}", ended.out);
    assert!(ended.out.ends_with("Issuer team-a/vault can sign.\n"), "{}", ended.out);
    scene.write("token", "of-another");
    scene.run(flags).fails_with(1, &["FAILED  login"], "(LoginDenied)");
    scene.write("token", "\n");
    scene.run(flags).fails_with(1, &[], "holds no token");
}

#[test]
fn check_says_what_is_wrong_with_its_files() {
    let scene = Scene::new("files");
    for (text, cause) in [
        ("spec: [", "issuer.yaml: not YAML at line"),
        ("kind: VaultIssuer", "issuer.yaml: document 1: not a Kubernetes object"),
        (
            "apiVersion: v1\nkind: ConfigMap",
            "the files hold no issuer that signs with Vault",
        ),
        (
            "apiVersion: vault-issuer.io/v1alpha1\nkind: VaultIssuer\nmetadata: {name: a}\nspec: {server: s}",
            "document 1: not a VaultIssuer: missing field `path`",
        ),
    ] {
        scene.write("issuer.yaml", text);
        scene.check().fails_with(1, &[], cause);
    }
    scene.run("check -f @nothing.yaml").fails_with(1, &[], "cannot read ");
    scene.run("check").fails_with(2, &[], "<KIND/NAME>");
    let help = scene.run("check --help");
    assert_eq!(help.code, ExitCode::SUCCESS);
    assert!(help.out.contains("Usage: vault-issuer check"), "{}", help.out);
}

#[test]
fn check_selects_issuers_by_name() {
    let scene = Scene::new("several");
    let bad = scene
        .issuer()
        .replace("name: vault\n", "name: bad\n")
        .replace("pki/sign/web", "pki/sign/mail");
    scene.write("issuer.yaml", &format!("{}---\n{bad}", scene.issuer()));
    let ended = scene.check();
    ended.fails_with(
        1,
        &["VaultIssuer team-a/vault can sign."],
        "VaultIssuer team-a/bad cannot sign",
    );
    let ended = scene.run("check vaultissuer/vault -f @issuer.yaml -f @secrets.yaml");
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}", ended.err);
    let ended = scene.run("check vaultissuer/none -f @issuer.yaml");
    ended.fails_with(1, &[], "the files hold no VaultIssuer none");
    scene.sign("").fails_with(1, &[], "the files hold 2 issuers; name one");
}
