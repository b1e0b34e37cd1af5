//! The API that `deploy/crds/` defines, on a real API server: every rule accepts and rejects, and columns show.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};
use issuer_api::{VaultClusterIssuer, VaultIssuer};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::test_namespace::TestNamespace;

/// A change to a valid spec, and what the API server says to it: a part of its message, or nothing if it takes it.
type Row = (Value, &'static str);

/// Each rule rejects one spec and accepts one that differs in what the rule is about.
pub(super) async fn rules(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let mut rejected = BTreeSet::new();
    for (change, message) in [
        spec_rows(),
        scope_rows(),
        auth_rows(),
        method_rows(),
        jwt_rows(),
        wrapping_rows(),
        aws_rows(),
    ]
    .concat()
    {
        let answer = create(test, &change).await?;
        match (message, answer) {
            ("", None) => {}
            ("", Some(answer)) => bail!("{change} is rejected: {answer}"),
            (message, None) => bail!("{change} is accepted, not rejected with {message:?}"),
            (message, Some(answer)) => {
                ensure!(
                    answer.contains(message),
                    "{change} is rejected with {answer:?}, not {message:?}"
                );
                rejected.insert(message);
            }
        }
    }
    for rule in defined()? {
        ensure!(
            rejected.iter().any(|seen| rule.contains(seen)),
            "nothing here breaks the rule {rule:?}"
        );
    }
    Ok(())
}

/// The columns that `kubectl get` prints.
pub(super) async fn columns(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    for plural in ["vaultissuers", "vaultclusterissuers"] {
        let request = http::Request::get(format!("/apis/vault-issuer.io/v1alpha1/{plural}"))
            .header("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
            .body(Vec::new())?;
        let table: Value = test.env.client.request(request).await?;
        let columns = table["columnDefinitions"].as_array().context("no table")?;
        let names: Vec<&str> = columns.iter().filter_map(|column| column["name"].as_str()).collect();
        ensure!(
            names == ["Name", "Ready", "Reason", "Status", "Age"],
            "{plural} has the columns {names:?}"
        );
    }
    let request = http::Request::get("/apis/vault-issuer.io/v1alpha1").body(Vec::new())?;
    let resources: Value = test.env.client.request(request).await?;
    let resources = resources["resources"].as_array().context("no resources")?;
    let in_category = |resource: &&Value| resource["categories"] == json!(["cert-manager"]);
    ensure!(
        resources.iter().filter(in_category).count() == 2,
        "not both kinds are in the category cert-manager"
    );
    Ok(())
}

fn spec_rows() -> Vec<Row> {
    let server = "server must be a URL";
    let endpoint = "path must name a signing endpoint";
    let plain = "path must be plain segments";
    let bundles = "set at most one of caBundle, caBundleSecretRef, caBundleConfigMapRef";
    let pair = "set clientCertSecretRef and clientKeySecretRef together";
    vec![
        (json!({}), ""),
        (json!({ "server": "vault.example.com:8200" }), server),
        (json!({ "server": "ftp://vault.example.com" }), server),
        (json!({ "server": "https://" }), server),
        (json!({ "server": "http://vault.example.com:8200/base" }), ""),
        (json!({ "path": "pki/issue/web" }), endpoint),
        (json!({ "path": "pki/issue/sign" }), endpoint),
        (json!({ "path": "pki/sign" }), endpoint),
        (json!({ "path": "sign/web" }), endpoint),
        (json!({ "path": "/v1/pki/sign/web/" }), ""),
        (json!({ "path": "//v1//pki//sign//web//" }), ""),
        (json!({ "path": "pki/cel/sign/web" }), ""),
        (json!({ "path": "pki/external-policy/sign" }), ""),
        (json!({ "path": "pki/external-policy/sign-intermediate/web" }), ""),
        (json!({ "probe": "Never" }), ""),
        (json!({ "probe": "Sometimes" }), "spec.probe"),
        (json!({ "signTimeout": "1m30s" }), ""),
        (json!({ "signTimeout": "11m" }), "signTimeout must be a duration"),
        (json!({ "signTimeout": "a minute" }), "spec.signTimeout"),
        (json!({ "verification": "vault" }), ""),
        (json!({ "verification": "none" }), "spec.verification"),
        (json!({ "path": "pki/sign-verbatim" }), ""),
        (json!({ "path": "team/pki/issuer/default/sign/web" }), ""),
        (json!({ "path": "pki/root/sign-intermediate" }), ""),
        (json!({ "path": "pki/../sign/web" }), plain),
        (json!({ "path": "pki/sign/web?x" }), plain),
        (json!({ "path": "pki/sign/a b" }), plain),
        (
            json!({ "caBundle": "YQ==", "caBundleSecretRef": { "name": "ca" } }),
            bundles,
        ),
        (json!({ "caBundleSecretRef": { "name": "ca" } }), ""),
        (json!({ "caBundleConfigMapRef": { "name": "ca" } }), ""),
        (
            json!({ "caBundleConfigMapRef": { "name": "ca" }, "caBundleSecretRef": { "name": "ca" } }),
            bundles,
        ),
        (json!({ "clientCertSecretRef": { "name": "tls" } }), pair),
        (json!({ "clientKeySecretRef": { "name": "tls" } }), pair),
        (
            json!({ "clientCertSecretRef": { "name": "tls" }, "clientKeySecretRef": { "name": "tls" } }),
            "",
        ),
    ]
}

/// Rows about proxies, and about namespaces, which cluster issuers have.
fn scope_rows() -> Vec<Row> {
    let proxy = "proxy must be a URL";
    let values = "In and NotIn need values, Exists and DoesNotExist take none";
    let selects = |requirement: Value| {
        let selector = json!({ "matchLabels": { "team": "web" }, "matchExpressions": [requirement] });
        json!({ "allowedNamespaces": { "selector": selector } })
    };
    vec![
        (json!({ "proxy": "http://proxy.example.com:3128" }), ""),
        (json!({ "proxy": "https://proxy.example.com:3128" }), proxy),
        (json!({ "proxy": "proxy.example.com:3128" }), proxy),
        (json!({ "proxy": "http://user:password@proxy.example.com" }), proxy),
        (json!({ "allowedNamespaces": {} }), "set names, selector or both"),
        (json!({ "allowedNamespaces": { "names": ["web"] } }), ""),
        (json!({ "allowedNamespaces": { "selector": {} } }), ""),
        (selects(json!({ "key": "env", "operator": "In", "values": ["a"] })), ""),
        (selects(json!({ "key": "env", "operator": "In" })), values),
        (
            selects(json!({ "key": "env", "operator": "NotIn", "values": [] })),
            values,
        ),
        (selects(json!({ "key": "env", "operator": "Exists" })), ""),
        (
            selects(json!({ "key": "env", "operator": "DoesNotExist", "values": ["a"] })),
            values,
        ),
        (selects(json!({ "key": "env", "operator": "Like" })), "operator"),
    ]
}

fn auth_rows() -> Vec<Row> {
    let method = "set exactly one of tokenSecretRef, appRole, kubernetes, jwt, aws, clientCertificate";
    let token = json!({ "name": "token" });
    vec![
        (json!({ "auth": {} }), method),
        (
            json!({ "auth": { "tokenSecretRef": token, "clientCertificate": {} } }),
            method,
        ),
        (json!({ "auth": { "tokenSecretRef": token } }), ""),
        (json!({ "auth": { "clientCertificate": {} } }), ""),
        (
            json!({ "auth": { "tokenSecretRef": { "name": "" } } }),
            "spec.auth.tokenSecretRef.name",
        ),
    ]
}

fn wrapping_rows() -> Vec<Row> {
    let path = "auth/approle/role/web/secret-id";
    let needs_token = "secretIdWrappingPath needs a secretRef";
    let wrapped = json!({ "roleId": "id", "secretIdWrappingPath": path });
    let mut complete = wrapped.clone();
    complete["secretRef"] = json!({ "name": "wrapped" });
    let auth = |role: Value| json!({ "auth": { "appRole": role } });
    vec![(auth(wrapped), needs_token), (auth(complete), "")]
}

fn aws_rows() -> Vec<Row> {
    let source = "set at most one of secretName, serviceAccountRef";
    let pair = "set serviceAccountRef and iamRoleArn together";
    let (account, arn) = (json!({ "name": "vault-login" }), "arn:aws:iam::123456789012:role/web");
    let aws = |mut fields: Value| {
        fields["role"] = json!("web");
        json!({ "auth": { "aws": fields } })
    };
    vec![
        (aws(json!({})), ""),
        (aws(json!({ "iamRoleArn": arn })), pair),
        (aws(json!({ "secretName": "keys", "region": "eu-central-1" })), ""),
        (aws(json!({ "serviceAccountRef": account, "iamRoleArn": arn })), ""),
        (
            aws(json!({ "secretName": "keys", "serviceAccountRef": account, "iamRoleArn": arn })),
            source,
        ),
        (aws(json!({ "serviceAccountRef": account })), pair),
        (aws(json!({ "secretName": "keys", "iamRoleArn": arn })), pair),
        (
            aws(json!({ "serviceAccountRef": account, "iamRoleArn": "web" })),
            "spec.auth.aws.iamRoleArn",
        ),
        (
            aws(json!({ "secretName": "keys", "region": "example.com/" })),
            "spec.auth.aws.region",
        ),
        (
            aws(json!({ "secretName": "keys", "mountPath": "../sys" })),
            "mountPath must not contain",
        ),
    ]
}

fn jwt_rows() -> Vec<Row> {
    let source = "set exactly one of secretRef, serviceAccountRef";
    let jwt = |fields: Value| json!({ "auth": { "jwt": fields } });
    let account = |seconds: i64| {
        let account = json!({ "name": "vault-login", "expirationSeconds": seconds });
        jwt(json!({ "role": "web", "serviceAccountRef": account }))
    };
    vec![
        (jwt(json!({ "role": "web" })), source),
        (jwt(json!({ "role": "web", "secretRef": { "name": "jwt" } })), ""),
        (account(600), ""),
        (account(599), "spec.auth.jwt.serviceAccountRef.expirationSeconds"),
        (account(86_401), "spec.auth.jwt.serviceAccountRef.expirationSeconds"),
        (
            jwt(json!({ "role": "web", "secretRef": { "name": "jwt" }, "mountPath": "../sys" })),
            "mountPath must not contain '..'",
        ),
    ]
}

fn method_rows() -> Vec<Row> {
    let source = "set exactly one of secretRef, serviceAccountRef";
    let mount = "mountPath must not contain '..'";
    let (secret, account) = (json!({ "name": "jwt" }), json!({ "name": "vault-login" }));
    let kubernetes = |fields: Value| json!({ "auth": { "kubernetes": fields } });
    let approle = |path: &str| {
        let fields = json!({ "path": path, "roleId": "r", "secretRef": { "name": "s" } });
        json!({ "auth": { "appRole": fields } })
    };
    vec![
        (approle("auth/../sys"), "path must not contain '..'"),
        (approle("/v1/auth/approle"), ""),
        (
            json!({ "auth": { "appRole": {} } }),
            "set exactly one of roleId, roleIdSecretRef",
        ),
        (
            json!({ "auth": { "appRole": { "roleIdSecretRef": { "name": "role" } } } }),
            "",
        ),
        (kubernetes(json!({ "role": "web" })), source),
        (
            kubernetes(json!({ "role": "web", "secretRef": secret, "serviceAccountRef": account })),
            source,
        ),
        (kubernetes(json!({ "role": "web", "secretRef": secret })), ""),
        (kubernetes(json!({ "role": "web", "serviceAccountRef": account })), ""),
        (
            kubernetes(json!({ "role": "web", "secretRef": { "name": "" }, "serviceAccountRef": account })),
            "",
        ),
        (
            kubernetes(json!({ "role": "web", "secretRef": { "name": "" } })),
            source,
        ),
        (
            kubernetes(json!({ "role": "", "secretRef": secret })),
            "spec.auth.kubernetes.role",
        ),
        (
            kubernetes(json!({ "role": "web", "secretRef": secret, "mountPath": "../sys" })),
            mount,
        ),
        (
            kubernetes(json!({ "role": "web", "secretRef": secret, "mountPath": "auth/k8s" })),
            "",
        ),
        (
            json!({ "auth": { "clientCertificate": { "mountPath": "a/../b" } } }),
            mount,
        ),
        (
            json!({ "auth": { "clientCertificate": { "mountPath": "/v1/auth/cert" } } }),
            "",
        ),
    ]
}

/// Creates an issuer, of the whole cluster where namespaces are limited, without storing it; what the API server objects to, if it does.
async fn create(test: &TestNamespace<'_>, change: &Value) -> anyhow::Result<Option<String>> {
    let mut spec = json!({
        "server": "https://vault.example.com:8200",
        "path": "pki/sign/web",
        "auth": { "appRole": { "roleId": "r", "secretRef": { "name": "s" } } },
    });
    if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change.clone()) {
        spec.extend(change);
    }
    let client = test.env.client.clone();
    let (resource, issuers): (_, Api<DynamicObject>) = if change.get("allowedNamespaces").is_some() {
        let resource = ApiResource::erase::<VaultClusterIssuer>(&());
        let issuers = Api::all_with(client, &resource);
        (resource, issuers)
    } else {
        let resource = ApiResource::erase::<VaultIssuer>(&());
        let issuers = Api::namespaced_with(client, &test.namespace, &resource);
        (resource, issuers)
    };
    let issuer = DynamicObject::new("vault", &resource).data(json!({ "spec": spec }));
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match issuers.create(&params, &issuer).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// Returns the message of every rule that the CRDs define.
fn defined() -> anyhow::Result<BTreeSet<String>> {
    let mut messages = BTreeSet::new();
    for crd in issuer_api::crds()? {
        collect(&serde_json::to_value(crd)?, &mut messages);
    }
    Ok(messages)
}

fn collect(value: &Value, messages: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                messages.extend(rule["message"].as_str().map(str::to_owned));
            }
            fields.values().for_each(|field| collect(field, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        _ => {}
    }
}
