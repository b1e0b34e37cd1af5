//! The output and exit status of `vault-issuer check` and `sign`.

mod check;
mod sign;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fake_vault::serve::{Options, Server};
use fake_vault::{AppRoleRole, AuthMethod, Authority, FakeVault, Pki, Policy, Role, TokenParams};
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
