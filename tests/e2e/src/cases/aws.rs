//! Logins with AWS identities. Vault is real, AWS is a model that checks signatures as AWS does.

use anyhow::{Context, ensure};
use fake_vault::{AwsMethod, IamPrincipal};
use issuer_api::{IssuerStatus, VaultClusterIssuer, VaultIssuer};
use kube::Api;
use serde_json::{Value, json};

use super::auth::{account, grant_tokens, signs};
use super::tools;
use crate::pki::{Csr, Names};
use crate::servers::aws::Aws;
use crate::servers::cluster;
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, SOON, TestNamespace};

const ARN: &str = "arn:aws:iam::123456789012:user/web";
const KEY_ID: &str = "ASIAEXAMPLE";
const KEY: &str = "the+secret/access/key";
const SESSION: &str = "session+token/";

/// The owner of access keys in a Secret; wrong keys, another Vault server, and no keys at all.
pub(super) async fn keys(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let _aws = set_up(test, &path).await?;
    for (secret, key) in [
        ("keys", "the+secret/access/key\n"),
        ("wrong", "wrong+secret/access/key"),
    ] {
        let keys = [
            ("accessKeyID", KEY_ID),
            ("secretAccessKey", key),
            ("sessionToken", SESSION),
        ];
        test.secret(secret, &keys).await?;
    }
    let spec = |secret: Option<&str>, server_id: &str| {
        let mut aws = aws(test);
        aws["aws"]["vaultHeaderValue"] = json!(server_id);
        if let Some(secret) = secret {
            aws["aws"]["secretName"] = json!(secret);
        }
        test.spec(&path, aws)
    };
    for (name, secret, server_id, reason) in [
        ("wrong-key", Some("wrong"), "vault.example.com", "LoginDenied"),
        ("wrong-server", Some("keys"), "other.example.com", "LoginDenied"),
        // The operator does not lend the identity of the controller's pod.
        ("ambient", None, "vault.example.com", "InvalidSpec"),
    ] {
        test.issuer(name, spec(secret, server_id)).await?;
        test.unready(name, reason, SOON).await?;
    }
    signs(test, spec(Some("keys"), "vault.example.com")).await
}

/// The identity that EKS Pod Identity gives to the pod that `vault-issuer check` runs in.
pub(super) async fn pod_identity(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let model = set_up(test, &path).await?;
    let mut auth = aws(test);
    auth["aws"]["vaultHeaderValue"] = json!("vault.example.com");
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "InvalidSpec", SOON).await?;

    let file = test.env.local_servers().await?.dir.join("pod-identity-token");
    let file_name = file.display().to_string();
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", model.credentials_url()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file_name.clone()),
    ];
    let check = async || tools::run_with(test, &["check", "vaultissuer/vault"], &variables).await;
    let (good, output) = check().await?;
    ensure!(!good && output.contains(&file_name), "check says {output}");
    std::fs::write(&file, "another pod's token")?;
    let (good, output) = check().await?;
    ensure!(!good && output.contains("AwsDenied"), "check says {output}");
    std::fs::write(&file, format!("{}\n", Aws::POD_TOKEN))?;
    let (good, output) = check().await?;
    ensure!(good && output.contains("AWS gave keys"), "check says {output}");
    Ok(())
}

/// The IAM role that a service account assumes (IRSA).
pub(super) async fn service_account(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let model = set_up(test, &path).await?;
    account(test).await?;
    let variables = [("AWS_ENDPOINT_URL_STS", model.url())];
    for (name, arn) in [
        ("vault", Aws::ROLE_ARN),
        ("other", "arn:aws:iam::123456789012:role/other"),
    ] {
        let mut auth = aws(test);
        auth["aws"]["vaultHeaderValue"] = json!("vault.example.com");
        auth["aws"]["serviceAccountRef"] = json!({ "name": "vault-login" });
        auth["aws"]["iamRoleArn"] = json!(arn);
        test.issuer(name, test.spec(&path, auth)).await?;
    }
    // The controller may not request tokens of the service account, and the administrator may.
    test.unready("vault", "TokenForbidden", SOON).await?;
    let (good, output) = tools::run_with(test, &["check", "vaultissuer/vault"], &variables).await?;
    ensure!(good && output.contains("AWS gave keys"), "check says {output}");
    let (good, output) = tools::run_with(test, &["check", "vaultissuer/other"], &variables).await?;
    ensure!(!good && output.contains("(AccessDenied)"), "check says {output}");
    Ok(())
}

/// AWS identities in a running controller. That of its own pod: only issuers of the kind for which the operator permits it log in, with each way
/// in which EKS gives a pod an identity, and with none of access keys in variables.
pub(super) async fn ambient(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let model = set_up(test, &path).await?;
    let mut auth = aws(test);
    auth["aws"]["vaultHeaderValue"] = json!("vault.example.com");
    test.issuer("vault", test.spec(&path, auth.clone())).await?;
    test.cluster_issuer(test.spec(&path, auth)).await?;

    let [endpoint, role, pod, keys] = environments(test, &model).await?;
    let denied = |kind: &str| format!("{kind}-ambient-credentials");
    let none = || Some("the controller's pod has no AWS identity".to_owned());
    // Each changes what the one before has left, so that no condition is an old one.
    for (variables, flags, of_issuer, of_cluster_issuer) in [
        (&role, &[][..], Some(denied("--issuer")), None),
        (
            &role,
            &[ISSUERS, NO_CLUSTER_ISSUERS][..],
            None,
            Some(denied("--cluster-issuer")),
        ),
        (&pod, &[][..], Some(denied("--issuer")), None),
        (
            &pod,
            &[ISSUERS, NO_CLUSTER_ISSUERS][..],
            None,
            Some(denied("--cluster-issuer")),
        ),
        (&keys, &[ISSUERS][..], none(), none()),
    ] {
        let mut local = test.env.local_servers().await?;
        local.restart_controller_in(variables, flags).await?;
        drop(local);
        for (cluster, refused) in [(false, of_issuer), (true, of_cluster_issuer)] {
            let what = format!("{variables:?} {flags:?} {cluster}");
            match refused {
                Some(message) => refuses(test, cluster, &message).await.context(what)?,
                None => logs_in(test, cluster).await.context(what)?,
            }
        }
    }

    // The role of a service account whose tokens the controller may request needs no flag.
    grant_tokens(test, "vault-login").await?;
    let mut auth = aws(test);
    auth["aws"]["vaultHeaderValue"] = json!("vault.example.com");
    auth["aws"]["serviceAccountRef"] = json!({ "name": "vault-login" });
    auth["aws"]["iamRoleArn"] = json!(Aws::ROLE_ARN);
    let mut local = test.env.local_servers().await?;
    local.restart_controller_in(&endpoint, &[]).await?;
    drop(local);
    test.issuer("vault", test.spec(&path, auth)).await?;
    logs_in(test, false).await?;
    test.env.local_servers().await?.restart_controller_with(&[]).await
}

const ISSUERS: &str = "--issuer-ambient-credentials";
const NO_CLUSTER_ISSUERS: &str = "--cluster-issuer-ambient-credentials=false";

type Variables = Vec<(&'static str, String)>;

/// Returns the variables of a pod without an identity, of one whose service account has an IAM role, of one with an EKS Pod
/// Identity association, and of one with access keys.
async fn environments(test: &TestNamespace<'_>, model: &Aws) -> anyhow::Result<[Variables; 4]> {
    account(test).await?;
    let audience = ["sts.amazonaws.com"];
    let token = cluster::token_for(&test.env.client, &test.namespace, "vault-login", &audience).await?;
    test.env.canary(&token);
    let dir = test.env.local_servers().await?.dir.clone();
    let file = |name: &str, token: &str| -> anyhow::Result<String> {
        let path = dir.join(name);
        std::fs::write(&path, token)?;
        Ok(path.display().to_string())
    };
    let endpoint = ("AWS_ENDPOINT_URL_STS", model.url());
    Ok([
        vec![endpoint.clone()],
        vec![
            ("AWS_ROLE_ARN", Aws::ROLE_ARN.to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file("web-identity-token", &token)?),
            endpoint,
        ],
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", model.credentials_url()),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                file("ambient-pod-identity-token", Aws::POD_TOKEN)?,
            ),
        ],
        vec![
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
            ("AWS_SESSION_TOKEN", SESSION.to_owned()),
        ],
    ])
}

/// Waits until one of the two issuers has logged in, and has it sign a request.
async fn logs_in(test: &TestNamespace<'_>, cluster: bool) -> anyhow::Result<()> {
    let issuer = if cluster { test.case } else { "vault" };
    if cluster {
        test.cluster_ready().await?;
    } else {
        test.ready(issuer, SOON).await?;
    }
    let csr = Csr::new(&Names::common("ambient.example.com"))?;
    let name = format!("request-{}", jiff::Timestamp::now().as_millisecond());
    let ask = Ask {
        issuer,
        cluster,
        ..Ask::default()
    };
    test.request(&name, &csr.pem, ask).await?;
    test.issued(&name, &csr, SOON).await.map(drop)
}

/// Waits until one of the two issuers is not ready, with this in its message.
async fn refuses(test: &TestNamespace<'_>, cluster: bool, message: &str) -> anyhow::Result<()> {
    eventually(SOON, async || {
        let client = test.env.client.clone();
        let status = if cluster {
            Api::<VaultClusterIssuer>::all(client).get(test.case).await?.status
        } else {
            test.api::<VaultIssuer>().get("vault").await?.status
        };
        let ready = status.as_ref().and_then(IssuerStatus::ready).context("no condition")?;
        ensure!(
            ready.reason == "InvalidSpec" && ready.message.contains(message),
            "it is {}: {}",
            ready.reason,
            ready.message
        );
        Ok(())
    })
    .await
}

/// Returns the auth block of an issuer that names no identity.
fn aws(test: &TestNamespace<'_>) -> Value {
    let mount = format!("/v1/auth/{}", test.case);
    json!({ "aws": { "mountPath": mount, "role": "web", "region": "eu-central-1" } })
}

/// Starts the model of AWS, and has Vault ask it at a mount of the case's name.
async fn set_up(test: &TestNamespace<'_>, path: &str) -> anyhow::Result<Aws> {
    let identity = IamPrincipal {
        arn: ARN.to_owned(),
        secret: KEY.to_owned(),
        session_token: Some(SESSION.to_owned()),
    };
    for secret in [KEY, SESSION, Aws::POD_TOKEN] {
        test.env.canary(secret);
    }
    let aws = Aws::start(AwsMethod {
        identities: [(KEY_ID.to_owned(), identity)].into(),
        ..AwsMethod::default()
    })
    .await?;
    let admin = &test.env.vault.admin;
    let mount = test.case;
    admin
        .write(&format!("sys/auth/{mount}"), json!({ "type": "aws" }))
        .await?;
    let config = json!({
        "access_key": "AKIAVAULT",
        "secret_key": "of no use here",
        "sts_endpoint": aws.url(),
        "sts_region": "eu-central-1",
        "iam_server_id_header_value": "vault.example.com",
    });
    admin.write(&format!("auth/{mount}/config/client"), config).await?;
    let role = json!({
        "auth_type": "iam",
        "bound_iam_principal_arn": ARN,
        "resolve_aws_unique_ids": false,
        "token_policies": test.policy(&[path]).await?,
        "token_ttl": "1h",
    });
    admin.write(&format!("auth/{mount}/role/web"), role).await?;
    Ok(aws)
}
