//! What stands in the simulated world: issuers, requests and their keys, the Vault servers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use fake_vault::{
    Accepts, AppRole as Role, AuthMethod, Authority, FakeVault, JwtRole, KeyType, Pki, Policy, TokenParams,
};
use issuer_api::{
    AppRole, Auth, Base64, CertificateRequest, CertificateRequestSpec, IssuerRef, KubernetesAuth, SecretKeySelector,
    ServiceAccountRef, VaultClusterIssuer, VaultIssuer, VaultSpec,
};
use issuer_core::Signatures;
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey, SecretRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use crate::cluster::Object;
use crate::digest::Digest;
use crate::memory::Memory;

/// Where cluster issuers have their Secrets and service accounts.
pub const RESOURCE_NAMESPACE: &str = "vault-issuer";

/// The word that every secret of the world contains, and nothing else.
pub const CANARY: &str = "canary";

/// The domain that the roles of both servers sign for.
const DOMAIN: &str = "sim.example";

/// The hosts of the two Vault servers.
pub const HOSTS: [&str; 2] = ["vault-a.sim", "vault-b.sim"];

/// The signing endpoints that every server has.
pub const PATHS: [&str; 2] = ["pki/sign/web", "pki/sign/other"];

/// An issuer of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerId {
    /// `VaultIssuer team/vault`, with an AppRole of the first server.
    Team,
    /// `VaultClusterIssuer vault`, with a service account, at the first server.
    Shared,
    /// `VaultIssuer other/vault`, with an AppRole of the second server.
    Other,
}

impl IssuerId {
    /// Every issuer.
    pub const ALL: [Self; 3] = [Self::Team, Self::Shared, Self::Other];

    /// Returns its name.
    pub fn key(self) -> IssuerKey {
        let (kind, namespace) = match self {
            Self::Team => (IssuerKind::Namespaced, "team"),
            Self::Shared => (IssuerKind::Cluster, ""),
            Self::Other => (IssuerKind::Namespaced, "other"),
        };
        IssuerKey {
            kind,
            namespace: namespace.to_owned(),
            name: "vault".to_owned(),
        }
    }

    /// Returns the issuer of a name.
    pub fn of(key: &IssuerKey) -> Option<Self> {
        match (key.kind, key.namespace.as_str(), key.name.as_str()) {
            (IssuerKind::Namespaced, "team", "vault") => Some(Self::Team),
            (IssuerKind::Cluster, "", "vault") => Some(Self::Shared),
            (IssuerKind::Namespaced, "other", "vault") => Some(Self::Other),
            _ => None,
        }
    }

    /// Returns where its Secrets and service accounts are.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Shared => RESOURCE_NAMESPACE,
            Self::Other => "other",
        }
    }

    /// Returns the name of its Secret; `None` if it has none.
    pub fn secret(self) -> Option<SecretRef> {
        let namespace = self.namespace().to_owned();
        let name = "vault-approle".to_owned();
        (self != Self::Shared).then_some(SecretRef { namespace, name })
    }

    /// Returns the secret ID of a rotation.
    pub fn secret_id(self, rotation: u32) -> String {
        format!("{CANARY}-secret-{}-{rotation}", self.namespace())
    }

    /// Returns the server that it is at first.
    pub fn host(self) -> usize {
        usize::from(self == Self::Other)
    }

    /// Returns it as it is created.
    pub fn object(self) -> Object {
        let IssuerKey { kind, namespace, name } = self.key();
        let spec = self.spec(self.host(), 0);
        match kind {
            IssuerKind::Cluster => Object::ClusterIssuer(VaultClusterIssuer {
                metadata: ObjectMeta {
                    name: Some(name),
                    ..ObjectMeta::default()
                },
                spec,
                status: None,
            }),
            IssuerKind::Namespaced => {
                let metadata = ObjectMeta {
                    name: Some(name),
                    namespace: Some(namespace),
                    ..ObjectMeta::default()
                };
                Object::Issuer(VaultIssuer {
                    metadata,
                    spec,
                    status: None,
                })
            }
        }
    }

    /// Returns its spec, for one of [`HOSTS`] and one of [`PATHS`].
    pub fn spec(self, host: usize, path: usize) -> VaultSpec {
        let auth = match self {
            Self::Shared => Auth {
                kubernetes: Some(KubernetesAuth {
                    mount_path: None,
                    role: "shared".to_owned(),
                    secret_ref: None,
                    service_account_ref: Some(ServiceAccountRef {
                        name: "signer".to_owned(),
                        audiences: Vec::new(),
                    }),
                }),
                ..Auth::default()
            },
            Self::Team | Self::Other => Auth {
                app_role: Some(AppRole {
                    path: None,
                    role_id: format!("role-{}", self.namespace()),
                    secret_ref: SecretKeySelector {
                        name: "vault-approle".to_owned(),
                        key: None,
                    },
                }),
                ..Auth::default()
            },
        };
        let pick = |of: [&str; 2], at: usize| of.get(at).copied().unwrap_or_default().to_owned();
        VaultSpec {
            server: format!("https://{}:8200", pick(HOSTS, host)),
            path: pick(PATHS, path),
            auth,
            ..VaultSpec::default()
        }
    }
}

/// The service account token that the cluster hands out.
pub fn service_account_token() -> String {
    format!("{CANARY}-jwt-of-signer")
}

/// What is the matter with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Nothing.
    None,
    /// The CSR was not signed by its key.
    BadSignature,
    /// It asks for a CA certificate of an issuer that signs none.
    Ca,
    /// It is for an issuer of another group.
    Foreign,
    /// It is not a CSR.
    NoCsr,
    /// The role allows no such name.
    Refused,
}

/// A request of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Want {
    /// Whom it asks.
    pub issuer: IssuerId,
    /// What is the matter with it.
    pub flaw: Flaw,
}

impl Want {
    /// A request that nothing is the matter with.
    pub const fn good(issuer: IssuerId) -> Self {
        Self {
            issuer,
            flaw: Flaw::None,
        }
    }

    /// Returns the namespace of the request.
    pub fn namespace(self) -> &'static str {
        match self.issuer {
            IssuerId::Team | IssuerId::Shared => "team",
            IssuerId::Other => "other",
        }
    }
}

/// Names the request of a number.
pub fn request_key(want: Want, number: u16) -> RequestKey {
    RequestKey {
        namespace: want.namespace().to_owned(),
        name: format!("web-{number}"),
    }
}

/// Returns a request that nobody has approved. `order` tells CSRs apart.
pub fn request(want: Want, number: u16, order: u32) -> CertificateRequest {
    let RequestKey { namespace, name } = request_key(want, number);
    let key = want.issuer.key();
    let group = if want.flaw == Flaw::Foreign {
        "else.example"
    } else {
        issuer_api::GROUP
    };
    CertificateRequest {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        spec: CertificateRequestSpec {
            request: Base64::encode(&csr(order, want.flaw).pem),
            issuer_ref: IssuerRef {
                name: key.name,
                kind: Some(key.kind.as_str().to_owned()),
                group: Some(group.to_owned()),
            },
            duration: Some("24h".to_owned()),
            is_ca: want.flaw == Flaw::Ca,
        },
        status: None,
    }
}

/// A certificate signing request, and what its certificate must hold.
#[derive(Debug)]
pub struct Csr {
    /// The CSR, PEM.
    pub pem: Vec<u8>,
    /// The DER `SubjectPublicKeyInfo`.
    pub key: Vec<u8>,
    /// Its one name.
    pub name: String,
}

type Csrs = (BTreeMap<(u32, Flaw), Arc<Csr>>, HashMap<u128, u32>);

/// The CSRs made so far, and their numbers by their text.
static CSRS: LazyLock<Mutex<Csrs>> = LazyLock::new(Mutex::default);

/// Returns the CSR of a number: equal numbers give equal CSRs, in every run.
#[expect(clippy::expect_used, reason = "fixed names and keys make a CSR")]
pub fn csr(order: u32, flaw: Flaw) -> Arc<Csr> {
    let mut csrs = CSRS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = csrs.0.get(&(order, flaw)) {
        return Arc::clone(known);
    }
    let key = fake_vault::key(KeyType::Ed25519, &format!("csr {order}"));
    let domain = if flaw == Flaw::Refused {
        "elsewhere.example"
    } else {
        DOMAIN
    };
    let name = format!("web-{order}.{domain}");
    let mut params = CertificateParams::new(vec![name.clone()]).expect("a DNS name");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    let request = params.serialize_request(&key).expect("a CSR");
    let pem = match flaw {
        Flaw::NoCsr => b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".to_vec(),
        Flaw::BadSignature => spoilt(&request.pem().expect("PEM")),
        _ => request.pem().expect("PEM").into_bytes(),
    };
    csrs.1.insert(text_digest(&String::from_utf8_lossy(&pem)), order);
    let made = Arc::new(Csr {
        pem,
        key: key.subject_public_key_info(),
        name,
    });
    csrs.0.insert((order, flaw), Arc::clone(&made));
    made
}

/// Changes a letter of the signature.
fn spoilt(pem: &str) -> Vec<u8> {
    let mut bytes = pem.as_bytes().to_vec();
    let end = pem.find("\n-----END").unwrap_or_default();
    if let Some(byte) = bytes.get_mut(end.saturating_sub(20)) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    bytes
}

/// Returns the number of the CSR that a text is.
pub fn order_of(pem: &str) -> Option<u32> {
    CSRS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .1
        .get(&text_digest(pem))
        .copied()
}

/// A digest in which line breaks do not count.
fn text_digest(pem: &str) -> u128 {
    Digest::of(&pem.split_whitespace().collect::<String>())
}

/// Returns one of the two servers, as it is set up.
pub fn vault(host: usize, token_ttl: Duration) -> FakeVault {
    let mut vault = FakeVault::new(0);
    let root = Authority::root(&format!("Root {host}"));
    let pki = Pki::new(root.intermediate(&format!("Issuing {host}")));
    let mut role = fake_vault::Role::domain(DOMAIN);
    role.allow_subdomains = true;
    role.key_type = None;
    vault.enable_pki("pki", pki.role("web", role.clone()).role("other", role));
    vault.set_policy("signer", Policy::update("pki/sign/*"));
    let token = TokenParams::policies(["signer"]).ttl(token_ttl, Duration::ZERO);
    let roles = [IssuerId::Team, IssuerId::Other].map(|issuer| {
        let role_id = format!("role-{}", issuer.namespace());
        let role = Role::new(&role_id, &issuer.secret_id(0), token.clone());
        (issuer.namespace().to_owned(), role)
    });
    vault.enable_auth("approle", AuthMethod::AppRole(BTreeMap::from(roles)));
    let accepts = Accepts::Known([service_account_token()].into());
    let shared = ("shared".to_owned(), JwtRole { accepts, token });
    vault.enable_auth("kubernetes", AuthMethod::Kubernetes(BTreeMap::from([shared])));
    vault
}

/// Returns the signatures that the simulated controllers can check: Ed25519, each one only once.
pub fn signatures() -> Signatures {
    static KNOWN: [&dyn SignatureVerificationAlgorithm; 1] = [&Remembered];
    Signatures(&KNOWN)
}

/// Ed25519 as aws-lc-rs checks it; what was found of a signature is remembered.
#[derive(Debug)]
struct Remembered;

static ED25519: LazyLock<Option<&'static dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut all = provider.signature_verification_algorithms.all.iter();
    all.find(|known| known.signature_alg_id() == rustls_pki_types::alg_id::ED25519)
        .copied()
});

static VERDICTS: Memory<bool> = Memory::new();

impl SignatureVerificationAlgorithm for Remembered {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let digest = Digest::of(&(key, message, signature));
        let valid = VERDICTS.recall(digest).unwrap_or_else(|| {
            let valid = ED25519.is_some_and(|real| real.verify_signature(key, message, signature).is_ok());
            VERDICTS.keep(digest, valid);
            valid
        });
        if valid { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        rustls_pki_types::alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        rustls_pki_types::alg_id::ED25519
    }
}
