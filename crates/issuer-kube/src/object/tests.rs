//! Every object that the API server admits can be decoded.

use issuer_api::{Base64, crds};
use issuer_core::reference::ListScope;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const REQUESTS: Watched = Watched::Requests(RequestKind::CertificateRequest);

/// The schema of the fields of a CertificateRequest that are read, as cert-manager's CRD has them.
fn request_schema() -> Value {
    let condition = json!({
        "type": "object",
        "required": ["status", "type"],
        "properties": {
            "lastTransitionTime": { "type": "string", "format": "date-time" },
            "message": { "type": "string" },
            "reason": { "type": "string" },
            "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
            "type": { "type": "string" },
        },
    });
    json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["issuerRef", "request"],
                "properties": {
                    "duration": { "type": "string" },
                    "extra": { "type": "array", "items": { "type": "string" } },
                    "isCA": { "type": "boolean" },
                    "issuerRef": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "group": { "type": "string" },
                            "kind": { "type": "string" },
                            "name": { "type": "string" },
                        },
                    },
                    "request": { "type": "string", "format": "byte" },
                    "usages": { "type": "array", "items": { "type": "string" } },
                },
            },
            "status": {
                "type": "object",
                "properties": {
                    "ca": { "type": "string", "format": "byte" },
                    "certificate": { "type": "string", "format": "byte" },
                    "conditions": { "type": "array", "items": condition },
                    "failureTime": { "type": "string", "format": "date-time" },
                },
            },
        },
        "required": ["spec"],
    })
}

fn schema(watched: Watched) -> Value {
    if watched == REQUESTS {
        return request_schema();
    }
    let crds = crds().unwrap();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == watched.kind()).unwrap();
    serde_json::to_value(&crd.spec.versions[0].schema).unwrap()["openAPIV3Schema"].clone()
}

/// Generates text that the API server admits for a format.
fn text(format: Option<&str>) -> BoxedStrategy<String> {
    match format {
        Some("byte") => "([A-Za-z0-9+/]{4}){0,3}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?".boxed(),
        Some("date-time") => prop_oneof![
            Just("9999-12-31T23:59:59Z".to_owned()),
            Just("0000-01-01T00:00:00+23:59".to_owned()),
            Just("2026-06-30T23:59:60.999999999999Z".to_owned()),
            "[0-9]{4}-(0[1-9]|1[0-2])-[0-2][1-8]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,12})?(Z|[+-][01][0-9]:[0-5][0-9])",
        ]
        .boxed(),
        _ => any::<String>().boxed(),
    }
}

/// Generates what a schema admits.
fn admitted(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(choices) = schema["enum"].as_array() {
        return proptest::sample::select(choices.clone()).boxed();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema),
        Some("array") => vec(admitted(&schema["items"]), 0..3).prop_map(Value::from).boxed(),
        Some("string") => text(schema["format"].as_str()).prop_map(Value::from).boxed(),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => (0..=i64::MAX).prop_map(Value::from).boxed(),
        other => panic!("a schema of type {other:?}"),
    }
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    let empty = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&empty);
    let mut object = Just(Map::new()).boxed();
    for (name, field) in fields {
        let is_required = schema["required"]
            .as_array()
            .is_some_and(|all| all.contains(&json!(name)));
        let value = if is_required {
            admitted(field).prop_map(Some).boxed()
        } else {
            proptest::option::of(admitted(field)).boxed()
        };
        let name = name.clone();
        object = (object, value)
            .prop_map(move |(mut object, value)| {
                object.extend(value.map(|value| (name.clone(), value)));
                object
            })
            .boxed();
    }
    object.prop_map(Value::from).boxed()
}

/// Metadata as clients may set it: only what the API server makes is well known.
fn metadata() -> Value {
    let mut deep = json!({});
    for _ in 0..300 {
        deep = json!({ "f:a": deep });
    }
    json!({
        "name": "a",
        "namespace": "ns",
        "uid": "uid-1",
        "resourceVersion": "7",
        "generation": 3,
        "annotations": { "a": "\u{0}\u{fffd}" },
        "creationTimestamp": "9999-12-31T23:59:59Z",
        "managedFields": [{ "time": "9999-12-31T23:59:59Z", "fieldsV1": deep }],
        "ownerReferences": [{ "controller": null }],
    })
}

fn any_object() -> impl Strategy<Value = (Watched, Value)> {
    let issuers = [IssuerKind::Namespaced, IssuerKind::Cluster].map(Watched::Issuers);
    let watched: Vec<_> = issuers.into_iter().chain([REQUESTS]).collect();
    proptest::sample::select(watched).prop_flat_map(|watched| {
        admitted(&schema(watched)).prop_map(move |mut object| {
            object["metadata"] = metadata();
            (watched, object)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_the_schemas_admit_decodes((watched, object) in any_object()) {
        let text = object.to_string();
        let decoded = watched.decode(Json::Object(text.as_bytes())).unwrap();
        let event = json!({ "type": "ADDED", "object": object }).to_string();
        let json = Json::Event(event.as_bytes());
        prop_assert_eq!(&watched.decode(json).unwrap(), &decoded);
        let meta = json.meta().unwrap();
        prop_assert_eq!(watched.key(&meta), decoded.key);
        prop_assert_eq!(&meta.resource_version, &decoded.version);
        prop_assert_eq!((meta.uid.as_str(), meta.resource_version.as_str()), ("uid-1", "7"));
    }
}

#[test]
fn unused_bits_of_base64_are_ignored() {
    let request = json!({
        "metadata": metadata(),
        "spec": { "request": "QR==", "issuerRef": { "name": "vault" } },
    });
    let request = super::request(Json::Object(request.to_string().as_bytes()).decode().unwrap());
    assert_eq!(request.spec.request.decode().as_deref(), Some(&b"A"[..]));
    let spec = json!({ "server": "https://vault", "path": "pki/sign/web", "auth": {}, "caBundle": "QR==" });
    let issuer = json!({ "metadata": metadata(), "spec": spec }).to_string();
    let kind = Watched::Issuers(IssuerKind::Namespaced);
    let Decoded { change, .. } = kind.decode(Json::Object(issuer.as_bytes())).unwrap();
    let Change::Issuer(key, observed) = change else {
        panic!("{change:?}");
    };
    assert_eq!((&*key.namespace, &*key.name), ("ns", "a"));
    assert_eq!((observed.generation, observed.uid.as_str()), (3, "uid-1"));
    assert_eq!(
        observed.spec.ca_bundle.and_then(|bundle| bundle.decode()).as_deref(),
        Some(&b"A"[..])
    );
}

#[test]
fn only_the_metadata_in_use_is_kept() {
    let mut metadata = metadata();
    metadata["creationTimestamp"] = json!("2026-01-02T03:04:05Z");
    let request = json!({
        "metadata": metadata,
        "spec": { "request": "", "issuerRef": { "name": "vault" } },
    });
    let request = super::request(Json::Object(request.to_string().as_bytes()).decode().unwrap());
    let kept = ObjectMeta {
        name: Some("a".to_owned()),
        namespace: Some("ns".to_owned()),
        uid: Some("uid-1".to_owned()),
        resource_version: Some("7".to_owned()),
        generation: Some(3),
        creation_timestamp: "2026-01-02T03:04:05Z".parse().ok().map(Time),
        ..ObjectMeta::default()
    };
    assert_eq!(request.metadata, kept);
    assert_eq!(request.spec.request, Base64::default());
}

#[test]
fn type_of_an_event_is_found_anywhere() {
    for (line, expected) in [
        (r#"{"type":"ADDED","object":{}}"#, Some("ADDED")),
        (r#"{"type":"ADDED","object":{"#, Some("ADDED")),
        (r#"{"object":{"type":"x"},"type":"DELETED"}"#, Some("DELETED")),
        (r#"{ "type": "ERROR", "object": {} }"#, Some("ERROR")),
        (r#"{"type":"A\u0042","object":{}}"#, Some("AB")),
        (r#"{"type":"ADDED"#, None),
        (r#"{"object":{}}"#, None),
        ("", None),
    ] {
        assert_eq!(event_type(line.as_bytes()).ok().as_deref(), expected, "{line}");
    }
}

#[test]
fn an_error_quotes_little() {
    let request = json!({ "metadata": metadata(), "spec": "x".repeat(10_000) });
    let error = REQUESTS
        .decode(Json::Object(request.to_string().as_bytes()))
        .unwrap_err();
    assert!(error.starts_with("invalid type: string"), "{error}");
    assert_eq!(error.len(), ERROR);
}

#[test]
fn issuers_without_vault_count_as_absent() {
    let kind = Watched::Issuers(IssuerKind::DropInNamespaced);
    let decode = |spec: Value| {
        let issuer = json!({
            "metadata": metadata(),
            "spec": spec,
            "status": { "acme": {}, "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let decoded = kind.decode(Json::Object(issuer.to_string().as_bytes())).unwrap();
        (decoded.key, decoded.change)
    };
    let vault = json!({ "server": "https://vault", "path": "pki/sign/web", "auth": {} });
    let (key, change) = decode(json!({ "vault": vault }));
    let Change::Issuer(issuer, observed) = change else {
        panic!("{change:?}");
    };
    assert_eq!(
        (issuer.to_string().as_str(), observed.spec.path.as_str()),
        ("Issuer ns/a", "pki/sign/web")
    );
    assert!(observed.status.ready().is_some());
    let gone = decode(json!({ "acme": { "server": "https://acme" } }));
    assert_eq!(gone, (key, Change::IssuerGone(issuer)));
}

#[test]
fn csrs_are_decoded_with_their_requester() {
    let kind = Watched::Requests(RequestKind::CertificateSigningRequest);
    let mut metadata = metadata();
    metadata["annotations"] = json!({ CertificateSigningRequest::DURATION: "1h", "other": "x" });
    let csr = json!({
        "metadata": metadata,
        "spec": {
            "request": "QQ==",
            "signerName": "vaultclusterissuers.vault-issuer.io/vault",
            "expirationSeconds": 86400,
            "usages": ["client auth"],
            "username": "system:node:a",
            "groups": ["system:nodes", "system:authenticated"],
            "extra": { "authentication.kubernetes.io/credential-id": ["X509SHA256=1"] },
        },
        "status": { "conditions": [{ "type": "Approved", "status": "True", "lastUpdateTime": null }] },
    });
    let text = csr.to_string();
    let decoded = kind.decode(Json::Object(text.as_bytes())).unwrap();
    assert_eq!(decoded.version, "7");
    let Change::Request(ObservedRequest::Kubernetes(read)) = decoded.change else {
        panic!("{:?}", decoded.change);
    };
    assert_eq!(
        decode_request(RequestKind::CertificateSigningRequest, text.as_bytes()).unwrap(),
        read.clone().into()
    );
    assert_eq!(read.annotated_duration(), Some("1h"));
    assert_eq!(read.metadata.annotations.as_ref().map(|all| all.len()), Some(1));
    assert_eq!(read.metadata.namespace, None);
    assert_eq!(
        (&*read.spec.username, read.spec.groups.len(), read.spec.extra.len()),
        ("system:node:a", 2, 1)
    );
}

#[test]
fn kinds_are_at_their_paths() {
    let paths = |scope: ListScope| {
        let issuers = IssuerKind::ALL.map(Watched::Issuers);
        let kinds = issuers.into_iter().chain([REQUESTS]);
        let list = |watched| WatchedList {
            watched,
            scope: scope.clone(),
        };
        kinds.map(list).map(|list| list.path()).collect::<Vec<_>>()
    };
    let csrs = WatchedList {
        watched: Watched::Requests(RequestKind::CertificateSigningRequest),
        scope: ListScope::Cluster,
    };
    assert_eq!(csrs.path(), "/apis/certificates.k8s.io/v1/certificatesigningrequests");
    assert_eq!(
        paths(ListScope::Cluster),
        [
            "/apis/vault-issuer.io/v1alpha1/vaultclusterissuers",
            "/apis/vault-issuer.io/v1alpha1/vaultissuers",
            "/apis/cert-manager.io/v1/clusterissuers",
            "/apis/cert-manager.io/v1/issuers",
            "/apis/cert-manager.io/v1/certificaterequests",
        ]
    );
    assert_eq!(
        paths(ListScope::Namespace("team".to_owned()))[1..],
        [
            "/apis/vault-issuer.io/v1alpha1/namespaces/team/vaultissuers",
            "/apis/cert-manager.io/v1/namespaces/team/clusterissuers",
            "/apis/cert-manager.io/v1/namespaces/team/issuers",
            "/apis/cert-manager.io/v1/namespaces/team/certificaterequests",
        ]
    );
}
