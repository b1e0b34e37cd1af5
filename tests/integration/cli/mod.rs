//! The output and exit status of `vault-issuer check` and `sign`.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fake_vault::serve::{Options, Server};
use fake_vault::{Accepts, AppRoleRole, AuthMethod, Authority, FakeVault, JwtRole, Pki, Policy, Role, TokenParams};
use rcgen::{CertificateParams, DnType, KeyPair};

const SECRET_ID: &str = "canary-0d1f";

/// A Vault and a folder with a user's files.
struct Scene {
    fake: Arc<Mutex<FakeVault>>,
    server: Server,
    folder: PathBuf,
}

/// The output and exit status of a command.
struct Ended {
    code: ExitCode,
    out: String,
    err: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let mut fake = FakeVault::default();
        let pki = Pki::new(Authority::root("Test Root").intermediate("Test Intermediate"));
        fake.enable_pki("pki", pki.role("web", Role::domain("example.com")));
        fake.set_policy("web", Policy::update("pki/sign/web"));
        let hour = Duration::from_secs(3600);
        let token = TokenParams::policies(["web"]).ttl(hour, hour);
        let roles = BTreeMap::from([("web".to_owned(), AppRoleRole::new("web-id", SECRET_ID, token))]);
        fake.enable_auth("approle", AuthMethod::AppRole(roles));
        let fake = Arc::new(Mutex::new(fake));
        let server = Server::start(Arc::clone(&fake), &Options::default()).unwrap();
        let folder = std::env::temp_dir().join(format!("vault-issuer-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let scene = Self { fake, server, folder };
        scene.write("issuer.yaml", &scene.issuer());
        scene.write("secrets.yaml", &scene.secrets());
        scene.write("web.csr", &csr("www.example.com"));
        scene
    }

    fn fake(&self) -> MutexGuard<'_, FakeVault> {
        self.fake.lock().unwrap()
    }

    fn issuer(&self) -> String {
        format!(
            "# What a user applies.
apiVersion: vault-issuer.io/v1alpha1
kind: VaultIssuer
metadata:
  name: vault
  namespace: team-a
spec:
  server: {}
  path: pki/sign/web
  caBundleSecretRef:
    name: vault-ca
  auth:
    appRole:
      roleId: web-id
      secretRef:
        name: vault-approle
",
            self.server.url()
        )
    }

    fn secrets(&self) -> String {
        let bundle = self.server.ca_pem().replace('\n', "\n    ");
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: vault-approle, namespace: team-a}}
stringData: {{secretId: {SECRET_ID}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: vault-ca, namespace: team-a}}
stringData:
  ca.crt: |
    {bundle}
"
        )
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        self.write(file, &text.replace(from, to));
    }

    /// Runs a command line in which `@` is the folder.
    fn run(&self, line: &str) -> Ended {
        let line = format!(
            "vault-issuer {}",
            line.replace('@', &format!("{}/", self.folder.display()))
        );
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = vault_issuer::run(line.split_whitespace(), &mut out, &mut err);
        let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
        assert!(!out.contains(SECRET_ID) && !err.contains(SECRET_ID), "{out}{err}");
        Ended { code, out, err }
    }

    fn check(&self) -> Ended {
        self.run("check -f @issuer.yaml -f @secrets.yaml")
    }

    fn sign(&self, flags: &str) -> Ended {
        self.run(&format!("sign -f @issuer.yaml -f @secrets.yaml --csr @web.csr {flags}"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Ended {
    fn fails_with(&self, code: u8, steps: &[&str], cause: &str) {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, ExitCode::from(code), "{all}");
        for step in steps {
            assert!(
                all.lines().any(|line| line.trim().starts_with(step)),
                "no {step} in\n{all}"
            );
        }
        assert!(self.err.contains(cause), "no {cause:?} in\n{}", self.err);
    }
}

fn csr(name: &str) -> String {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap()
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
  ok      health: initialised, unsealed, active
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
#[expect(clippy::too_many_lines, reason = "a table")]
fn check_says_what_does_not_work() {
    type Spoil = fn(&Scene);
    let cases: [(&str, Spoil, &[&str], &str); 12] = [
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
            "account",
            |scene| {
                let appended = "kubernetes: {role: web, serviceAccountRef: {name: app}}\n    ignored:";
                scene.edit("issuer.yaml", "appRole:", appended);
            },
            &["ok      health", "FAILED  ServiceAccount team-a/app"],
            "no token of the service account: give one with --service-account-token FILE (kubectl create token app \
             --namespace team-a --audience vault://team-a/vault,",
        ),
    ];
    for (name, spoil, steps, cause) in cases {
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
fn causes_are_printed_once() {
    let scene = Scene::new("causes");
    // A port that nothing listens on.
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    scene.edit("issuer.yaml", &scene.server.address().to_string(), &unused.to_string());
    let cause = "vault-issuer: VaultIssuer team-a/vault cannot sign: cannot connect: connection refused";
    assert_eq!(scene.check().err, format!("{cause} (VaultUnreachable)\n"));
    let signed = scene.sign("");
    assert_eq!(signed.err.lines().last(), Some(&*format!("{cause} (VaultUnreachable)")));
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
        ("kind: VaultIssuer", "issuer.yaml: document 1: no Kubernetes object"),
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

#[test]
fn sign_writes_the_chain_and_the_ca() {
    let scene = Scene::new("sign");
    let ended = scene.sign("--duration 24h");
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}", ended.err);
    assert_eq!(ended.out.matches("BEGIN CERTIFICATE").count(), 2, "{}", ended.out);
    assert!(ended.err.contains("ok      logout"), "{}", ended.err);
    assert!(ended.err.contains("Signed: serial "), "{}", ended.err);

    let ended = scene.sign("-o @tls.crt --ca-out @ca.crt");
    assert_eq!(ended.code, ExitCode::SUCCESS, "{}", ended.err);
    assert_eq!(ended.out, "");
    let read = |file| fs::read_to_string(scene.folder.join(file)).unwrap();
    assert_eq!(read("tls.crt").matches("BEGIN CERTIFICATE").count(), 2);
    let root = Authority::root("Test Root");
    assert_eq!(read("ca.crt").trim(), root.certificate().pem.trim());
    let now = scene.server.now();
    assert_eq!(scene.fake().live_tokens(now), Vec::<String>::new());
    assert_eq!(scene.fake().counts().signs, 2);

    // Without a place for the certificate nothing is signed.
    let ended = scene.sign("-o @tls.crt --ca-out @no/such/ca.crt");
    ended.fails_with(1, &[], "no/such/ca.crt: ");
    assert_eq!(scene.fake().counts().signs, 2);
    assert_eq!(read("tls.crt").matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn sign_says_why_it_did_not() {
    let scene = Scene::new("unsigned");
    scene.write("web.csr", &csr("www.example.org"));
    let ended = scene.sign("-o @tls.crt");
    assert!(!scene.folder.join("tls.crt").exists());
    ended.fails_with(
        1,
        &["ok      right to sign", "ok      logout"],
        "VaultIssuer team-a/vault did not sign",
    );
    assert!(ended.err.contains("not allowed by this role"), "{}", ended.err);
    scene.sign("--is-ca").fails_with(
        1,
        &[],
        "a CA certificate needs an issuer whose path ends in sign-intermediate",
    );
    scene
        .sign("--duration tomorrow")
        .fails_with(2, &[], "such as 15s, 1m30s or 24h");

    let asked = scene.fake().counts();
    for text in [
        "",
        "no CSR",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        scene.write("web.csr", text);
        scene.sign("").fails_with(1, &[], "web.csr cannot be signed: ");
    }
    assert_eq!(
        scene.fake().counts(),
        asked,
        "a CSR that is not one is not shown to Vault"
    );
}
