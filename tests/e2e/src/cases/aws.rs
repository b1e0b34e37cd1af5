//! Logins with AWS identities. Vault is real, AWS is a model that checks signatures as AWS does.

use anyhow::ensure;
use fake_vault::{AwsMethod, IamPrincipal};
use serde_json::{Value, json};

use super::auth::{account, signs};
use super::tools;
use crate::servers::aws::Aws;
use crate::test_namespace::{SOON, TestNamespace};

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
