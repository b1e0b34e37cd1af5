//! The fake Vault and the auth methods of its issuers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fake_vault::serve::{Options, Server};
use fake_vault::{
    Accepts, AppRoleRole, AuthMethod, Authority, AwsMethod, AwsRole, CertRole, Certified, FakeVault, IamPrincipal,
    JwtRole, Pki, Policy, Role, TokenParams, Trusted,
};
use issuer_api::{
    Auth, AwsAuth, Base64, ClientCertificate, JwtAuth, JwtServiceAccountRef, KubernetesAuth, SecretKeySelector,
    ServiceAccountRef, VaultSpec,
};
use issuer_core::access::SecretData;
use issuer_core::reference::SecretRef;
use issuer_core::{Now, Secret};

use super::NAMESPACE;

/// The TTL of tokens from logins.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 60);

/// The initial time of every world.
pub(crate) const BEGIN: Now = Now {
    monotonic: Duration::ZERO,
    unix: Duration::from_secs(1_800_000_000),
};

/// The user's secrets.
pub(crate) const SECRET_ID: &str = "5f2c8d1e-9b47-4a30-8e6d-c1f07b93ad52";
pub(crate) const JWT: &str =
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6dGVhbTpzaWduZXIifQ.Zm9yIG5vYm9keSdzIGV5ZXMgMDkx";

pub(crate) const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYq9w2LmA0d7";
pub(crate) const AWS_SESSION: &str = "IQoJb3JpZ2luX2VjEHAaCXVzLWVhc3QtMSJHMEUCIQDkq7m3nR0z";

/// The auth method of an issuer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Login {
    AppRole,
    Aws,
    Certificate,
    Jwt,
    JwtServiceAccount,
    KubernetesSecret,
    ServiceAccount,
    Token,
    /// An AppRole whose Secret holds a wrapping token, which a test has to make.
    WrappedAppRole,
}

impl Login {
    /// Those that a Vault knows from its start.
    pub(crate) const ALL: [Self; 8] = [
        Self::AppRole,
        Self::Aws,
        Self::Certificate,
        Self::Jwt,
        Self::JwtServiceAccount,
        Self::KubernetesSecret,
        Self::ServiceAccount,
        Self::Token,
    ];

    fn auth(self) -> Auth {
        let secret = |name: &str| SecretKeySelector {
            name: name.to_owned(),
            key: None,
        };
        let kubernetes = |secret_ref, service_account_ref| KubernetesAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref,
            service_account_ref,
        };
        let jwt = |secret_ref, service_account_ref| JwtAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref,
            service_account_ref,
        };
        let mut auth = Auth::default();
        match self {
            Self::AppRole => {
                auth.app_role = Some(issuer_api::AppRole {
                    role_id: Some("web-id".to_owned()),
                    secret_ref: Some(secret("vault-approle")),
                    ..issuer_api::AppRole::default()
                });
            }
            Self::Aws => {
                auth.aws = Some(AwsAuth {
                    role: "web".to_owned(),
                    secret_name: Some("vault-aws".to_owned()),
                    vault_header_value: Some("vault.example.com".to_owned()),
                    ..AwsAuth::default()
                });
            }
            Self::Certificate => {
                let secret_name = Some("vault-client".to_owned());
                auth.client_certificate = Some(ClientCertificate {
                    secret_name,
                    ..ClientCertificate::default()
                });
            }
            Self::Jwt => auth.jwt = Some(jwt(Some(secret("vault-jwt")), None)),
            Self::JwtServiceAccount => {
                let account = JwtServiceAccountRef {
                    name: "signer".to_owned(),
                    audiences: Vec::new(),
                    expiration_seconds: None,
                };
                auth.jwt = Some(jwt(None, Some(account)));
            }
            Self::KubernetesSecret => auth.kubernetes = Some(kubernetes(Some(secret("vault-jwt")), None)),
            Self::ServiceAccount => {
                let account = ServiceAccountRef {
                    name: "signer".to_owned(),
                    audiences: Vec::new(),
                };
                auth.kubernetes = Some(kubernetes(None, Some(account)));
            }
            Self::Token => auth.token_secret_ref = Some(secret("vault-token")),
            Self::WrappedAppRole => {
                auth.app_role = Some(issuer_api::AppRole {
                    role_id: Some("web-id".to_owned()),
                    secret_id_wrapping_path: Some("auth/approle/role/web/secret-id".to_owned()),
                    secret_ref: Some(secret("vault-wrapped")),
                    ..issuer_api::AppRole::default()
                });
            }
        }
        auth
    }
}

/// Returns an AWS method for the owner of the keys.
fn aws(token: &TokenParams) -> AwsMethod {
    let arn = "arn:aws:iam::123456789012:user/web";
    let identity = IamPrincipal {
        arn: arn.to_owned(),
        secret: AWS_SECRET.to_owned(),
        session_token: Some(AWS_SESSION.to_owned()),
    };
    let role = AwsRole {
        principals: vec![arn.to_owned()],
        token: token.clone(),
    };
    AwsMethod {
        identities: [("AKIAIOSFODNN7EXAMPLE".to_owned(), identity)].into(),
        server_id: Some("vault.example.com".to_owned()),
        roles: [("web".to_owned(), role)].into(),
    }
}

/// A fake Vault behind TLS on loopback.
pub(crate) struct Vault {
    fake: Arc<Mutex<FakeVault>>,
    pub(crate) server: Server,
    pub(crate) client: Certified,
    /// The token of issuers with `tokenSecretRef`.
    pub(crate) token: String,
}

impl Vault {
    /// Starts one whose clock is stopped. Equal seeds give equal tokens.
    pub(crate) fn start(seed: u64) -> Self {
        Self::new(seed, Some(BEGIN))
    }

    /// Starts one with the system's clock, as a controller with kube's client has.
    pub(crate) fn of_today(seed: u64) -> Self {
        Self::new(seed, None)
    }

    fn new(seed: u64, standing: Option<Now>) -> Self {
        let clients = Authority::root("Clients");
        let mut fake = FakeVault::new(seed);
        let pki = Pki::new(Authority::root("Root").intermediate("Issuing"));
        let role = Role {
            allow_subdomains: true,
            key_type: None,
            ..Role::domain("example.com")
        };
        fake.enable_pki("pki", pki.role("web", role));
        fake.set_policy("signer", Policy::update("pki/sign/web"));
        let params = TokenParams::policies(["signer"]).ttl(TOKEN_TTL, Duration::ZERO);
        let role = AppRoleRole::new("web-id", SECRET_ID, params.clone());
        fake.enable_auth("approle", AuthMethod::AppRole([("web".to_owned(), role)].into()));
        fake.enable_auth("aws", AuthMethod::Aws(aws(&params)));
        let accepts = Accepts::Known([JWT.to_owned()].into());
        let role = JwtRole {
            accepts,
            token: params.clone(),
        };
        fake.enable_auth("jwt", AuthMethod::Jwt([("web".to_owned(), role.clone())].into()));
        fake.enable_auth("kubernetes", AuthMethod::Kubernetes([("web".to_owned(), role)].into()));
        let client = clients.client("issuer");
        let (trusted, allowed_common_names) = (Trusted::Ca(clients), Vec::new());
        let role = CertRole {
            trusted,
            allowed_common_names,
            token: params,
        };
        fake.enable_auth("cert", AuthMethod::Cert([("web".to_owned(), role)].into()));
        let token = fake.create_token(BEGIN, &TokenParams::policies(["signer"]));
        let fake = Arc::new(Mutex::new(fake));
        let options = Options {
            standing,
            ..Options::default()
        };
        let server = Server::start(Arc::clone(&fake), &options).unwrap();
        Self {
            fake,
            server,
            client,
            token,
        }
    }

    pub(crate) fn fake(&self) -> MutexGuard<'_, FakeVault> {
        self.fake.lock().unwrap()
    }

    pub(crate) fn shared(&self) -> Arc<Mutex<FakeVault>> {
        Arc::clone(&self.fake)
    }

    /// Returns a wrapping token for a secret ID, for issuers with [`Login::WrappedAppRole`].
    pub(crate) fn wrap_secret_id(&self) -> String {
        let day = Duration::from_secs(24 * 60 * 60);
        let wrapped = self.fake().wrap_secret_id(self.server.now(), "approle", "web", day);
        wrapped.unwrap()
    }

    pub(crate) fn spec(&self, login: Login) -> VaultSpec {
        VaultSpec {
            server: self.server.url(),
            path: "pki/sign/web".to_owned(),
            ca_bundle: Some(Base64::encode(self.server.ca_pem())),
            auth: login.auth(),
            ..VaultSpec::default()
        }
    }

    pub(crate) fn secrets(&self) -> BTreeMap<SecretRef, SecretData> {
        let entries = [
            ("vault-approle", "secretId", SECRET_ID),
            ("vault-aws", "accessKeyID", "AKIAIOSFODNN7EXAMPLE"),
            ("vault-aws", "secretAccessKey", AWS_SECRET),
            ("vault-aws", "sessionToken", AWS_SESSION),
            ("vault-client", "tls.crt", &self.client.chain_pem),
            ("vault-client", "tls.key", &self.client.key_pem),
            ("vault-jwt", "token", JWT),
            ("vault-token", "token", &self.token),
        ];
        let mut secrets = BTreeMap::new();
        for (name, key, value) in entries {
            let reference = SecretRef {
                namespace: NAMESPACE.to_owned(),
                name: name.to_owned(),
            };
            let empty = || SecretData {
                resource_version: "1".to_owned(),
                data: BTreeMap::new(),
                servers: None,
            };
            let secret: &mut SecretData = secrets.entry(reference).or_insert_with(empty);
            secret.data.insert(key.to_owned(), Secret::from(value));
        }
        secrets
    }
}
