//! The formats of values: what the controller, the API server or Prometheus would refuse, the chart refuses.

use std::process::ExitCode;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::helm::Helm;

/// Where a value is, and texts or numbers for it.
type Row<'a> = (&'a str, Vec<Value>, Vec<Value>);

/// Values that become flags of the controller are accepted exactly where it accepts the flag.
pub(super) fn as_the_controller(helm: &Helm) -> anyhow::Result<()> {
    let servers = [
        "vault.example.com",
        "*.example.com",
        "10.0.0.0/8",
        "::1",
        "fd00::/8",
        "10.0.0.0/33",
        "256.0.0.0/8",
        "fd00::/129",
        "https://vault.example.com",
        "vault.example.com:8200",
        "vault.example.com/8",
        "vault example.com",
        "vault%2eexample.com",
        "",
    ];
    let durations = ["90s", "1h0.5m", "+2m", "60", "1d", "-5s", "60 s", "1_0s", ""];
    let texts = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
    let rows = [
        ("/app/allowedServers/-", "--allowed-servers", texts(&servers)),
        ("/app/allowHttpServers/-", "--allow-http-servers", texts(&servers[..4])),
        ("/app/issuerCheckInterval", "--issuer-check-interval", texts(&durations)),
        ("/app/signTimeout", "--sign-timeout", texts(&durations[..3])),
        (
            "/namespaces/-",
            "--namespace",
            texts(&["team-a", "2024", "Team", "team.a", "team%2da", "-a", "team/a", ""]),
        ),
        (
            "/app/maxLostAnswers",
            "--max-lost-answers",
            vec![json!(1), json!(u32::MAX), json!(0), json!(-1), json!(1_u64 << 32)],
        ),
        (
            "/app/eventRate",
            "--event-rate",
            vec![json!(0), json!(u32::MAX), json!(-1), json!(1_u64 << 32)],
        ),
        (
            "/app/maxCertificateSize",
            "--max-certificate-size",
            vec![json!(1), json!(-1)],
        ),
        ("/app/logFormat", "--log-format", texts(&["json", "JSON", ""])),
    ];
    let column = |index: usize| {
        rows.iter()
            .filter_map(move |(path, flag, values)| Some((*path, *flag, values.get(index)?)))
    };
    for index in 0..longest(rows.iter().map(|(.., values)| values)) {
        let errors = helm.errors(&merged(column(index).map(|(path, _, value)| (path, value))))?;
        ensure!(errors.is_empty() || errors.contains("at '/"), "{errors}");
        for (path, flag, value) in column(index) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // An error in a flag is reported before the help is.
            let args = ["vault-issuer", "controller", &format!("{flag}={text}"), "--help"];
            let is_flag = vault_issuer::run(args, &mut Vec::new(), &mut Vec::new()) == ExitCode::SUCCESS;
            ensure!(
                is_flag != has_error(&errors, path),
                "{flag}={text} is accepted by the controller: {is_flag}; the chart says: {errors}"
            );
        }
    }
    Ok(())
}

/// Values of which objects are made are accepted only in the form that the API server, or Prometheus, accepts.
pub(super) fn as_the_api_server(helm: &Helm) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = names().into_iter().chain(maps()).chain(settings()).collect();
    for index in 0..longest(rows.iter().map(|(_, good, _)| good)) {
        let column = rows
            .iter()
            .filter_map(|(path, good, _)| Some((*path, good.get(index)?)));
        helm.template(&merged(column))?;
    }
    for index in 0..longest(rows.iter().map(|(.., bad)| bad)) {
        let column = || rows.iter().filter_map(|(path, _, bad)| Some((*path, bad.get(index)?)));
        let errors = helm.refusal(&merged(column()))?;
        for (path, value) in column() {
            ensure!(
                has_error(&errors, path),
                "{path}: {value} is accepted, not among: {errors}"
            );
        }
    }
    Ok(())
}

/// Returns the length of the longest of the lists.
fn longest<'a>(lists: impl Iterator<Item = &'a Vec<Value>>) -> usize {
    lists.map(Vec::len).max().unwrap_or_default()
}

/// Returns `true` if Helm's message has an error at or below this path.
fn has_error(errors: &str, path: &str) -> bool {
    let place = path.replace("/-", "/0");
    let mut places = errors.split("at '").skip(1).filter_map(|rest| rest.split('\'').next());
    places.any(|found| {
        found
            .strip_prefix(&place)
            .is_some_and(|below| below.is_empty() || below.starts_with('/'))
    })
}

/// Returns the values with each of these at its path; `-` stands for the only item of a list. Helm names every place that
/// is at fault, so one call is enough for all of them.
fn merged<'a>(column: impl Iterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut all = json!({});
    for (path, value) in column {
        let (list, item) = match path.strip_suffix("/-") {
            Some(list) => (list, json!([value])),
            None => (path, value.clone()),
        };
        let place = list.split('/').skip(1).fold(&mut all, |place, key| &mut place[key]);
        *place = item;
    }
    all
}

/// Names of objects, and what is made of them.
fn names() -> Vec<Row<'static>> {
    let namespace = || (vec![json!("2024")], vec![json!("Team A"), json!("team.a"), json!(1)]);
    let mut rows: Vec<Row<'static>> = [
        "/clusterResourceNamespace",
        "/app/leaderElection/namespace",
        "/app/metrics/podmonitor/namespace",
        "/credentials/namespaces/-",
        "/dropIn/clusterResourceNamespace",
        "/prometheusRule/namespace",
    ]
    .into_iter()
    .map(|path| (path, namespace().0, namespace().1))
    .collect();
    rows.extend([
        (
            "/fullnameOverride",
            vec![json!("vault")],
            vec![json!("Vault"), json!("1st"), json!("a.b")],
        ),
        (
            "/serviceAccount/name",
            vec![json!("a.b")],
            vec![json!("a..b"), json!("a_b")],
        ),
        (
            "/credentials/secrets/-",
            vec![json!({ "namespace": "a", "name": "b.c" })],
            vec![
                json!({ "namespace": "a", "name": "B" }),
                json!({ "namespace": "a/b", "name": "c" }),
            ],
        ),
        (
            "/imagePullSecrets/-",
            vec![json!({ "name": "registry" })],
            vec![json!({ "name": "" }), json!("registry")],
        ),
        (
            "/priorityClassName",
            vec![json!("system-cluster-critical")],
            vec![json!("high priority")],
        ),
        (
            "/approval/subjects/-",
            vec![json!({ "kind": "User", "name": "Jane Doe" })],
            vec![
                json!({ "kind": "ServiceAccount", "name": "a" }),
                json!({ "kind": "Robot", "name": "a" }),
            ],
        ),
    ]);
    rows
}

/// Labels, annotations, environment variables, resources.
fn maps() -> Vec<Row<'static>> {
    vec![
        (
            "/podLabels",
            vec![json!({ "example.com/team": "a" }), json!({ "a": "" })],
            vec![
                json!({ "a": 1 }),
                json!({ "a": true }),
                json!({ "a": "b c" }),
                json!({ "a b": "c" }),
            ],
        ),
        (
            "/nodeSelector",
            vec![json!({ "disk": "ssd" })],
            vec![json!({ "disk": 1 })],
        ),
        (
            "/podAnnotations",
            vec![json!({ "example.com/note": "b c" })],
            vec![json!({ "a": 1 }), json!({ "a/b/c": "" })],
        ),
        (
            "/app/extraEnv/-",
            vec![json!({ "name": "A", "value": "1" })],
            vec![
                json!("A=1"),
                json!({ "name": "A", "value": 1 }),
                json!({ "name": "A=1" }),
                json!({ "value": "1" }),
            ],
        ),
        (
            "/resources/limits",
            vec![json!({ "cpu": 1, "memory": "1.5Gi" })],
            vec![
                json!({ "memory": "128 Mi" }),
                json!({ "memory": "128MB" }),
                json!({ "memory": "-1" }),
                json!({ "cpu": -1 }),
            ],
        ),
        (
            "/app/healthProbe/liveness",
            vec![json!({ "failureThreshold": 5 })],
            vec![
                json!({ "httpGet": {} }),
                json!({ "periodSeconds": 0 }),
                json!({ "periodSeconds": "5s" }),
            ],
        ),
        (
            "/tolerations/-",
            vec![json!({ "operator": "Exists" })],
            vec![json!("all")],
        ),
    ]
}

/// Other texts.
fn settings() -> Vec<Row<'static>> {
    vec![
        (
            "/image/tag",
            vec![json!("v1.0")],
            vec![json!(1.1), json!("v1 #"), json!("a:b")],
        ),
        (
            "/image/repository",
            vec![json!("localhost:5000/a/b"), json!("vault-issuer")],
            vec![json!("A/B"), json!("https://a/b"), json!("")],
        ),
        (
            "/app/logLevel",
            vec![
                json!("info,issuer_core=debug"),
                json!("DEBUG"),
                json!("warn,[task{key=\"a: b\"}]=trace"),
            ],
            vec![json!("loud"), json!("info,a=loud"), json!(""), json!("a=b=c")],
        ),
        (
            "/https_proxy",
            vec![
                json!("http://user:a%20b@proxy:3128"),
                json!("proxy:3128"),
                json!("http://[::1]:3128/"),
            ],
            vec![
                json!("https://proxy:3128"),
                json!("socks5://proxy"),
                json!("http://proxy/path"),
                json!("a b"),
            ],
        ),
        (
            "/app/traces/endpoint",
            vec![
                json!("http://otel-collector.monitoring:4318"),
                json!("https://[fd00::1]:4318/otlp/"),
            ],
            vec![
                json!("otel-collector:4318"),
                json!("grpc://otel-collector:4317"),
                json!("http://user:password@otel-collector"),
                json!("http://otel-collector/?a=b"),
                json!("http://otel collector"),
            ],
        ),
        (
            "/app/allowAudiences/-",
            vec![json!("https://vault: a")],
            vec![json!("a,b"), json!("")],
        ),
        (
            "/app/metrics/podmonitor/interval",
            vec![json!("1m30s"), json!("1d")],
            vec![json!("1.5m"), json!("60"), json!("s")],
        ),
        (
            "/podDisruptionBudget/minAvailable",
            vec![json!("50%"), json!(1)],
            vec![json!("50"), json!("150%"), json!(-1)],
        ),
        (
            "/app/metrics/service/ipFamilies",
            vec![json!(["IPv6", "IPv4"])],
            vec![json!(["IPv4", "IPv4"])],
        ),
    ]
}

/// Names that YAML would read as numbers stay texts.
pub(super) fn numeric_names(helm: &Helm) -> anyhow::Result<()> {
    let values = json!({
        "clusterResourceNamespace": "456",
        "credentials": { "namespaces": ["0x1f"], "secrets": [{ "namespace": "789", "name": "1e3" }] },
        "priorityClassName": "1e3",
        "serviceAccount": { "name": "0123" },
    });
    let objects = helm.template_as("123", &values)?;
    for object in objects.iter() {
        let metadata = &object["metadata"];
        let of_subjects = object["subjects"].as_array().into_iter().flatten();
        let names = of_subjects.flat_map(|subject| [&subject["name"], &subject["namespace"]]);
        let labels = metadata["labels"]
            .as_object()
            .into_iter()
            .flat_map(|labels| labels.values());
        for text in names.chain(labels).chain([&metadata["name"], &metadata["namespace"]]) {
            ensure!(text.is_string() || text.is_null(), "{text} in {object}");
        }
    }
    let pod = &objects.deployment()?["template"]["spec"];
    ensure!(
        pod["serviceAccountName"] == "0123" && pod["priorityClassName"] == "1e3",
        "{pod}"
    );
    Ok(())
}
