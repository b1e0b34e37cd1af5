//! The client of the API server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::crypto::aws_lc_rs;

use crate::Metrics;
use crate::connection::connections;
use crate::deadline::deadline;
use crate::measured::measured;

/// Time for a whole exchange that is no watch.
pub(crate) const EXCHANGE: Duration = Duration::from_secs(30);

/// The proxy of a cluster for which the kubeconfig names none: kube would take `HTTPS_PROXY`, whatever `NO_PROXY` says.
const NO_PROXY: &str = "http://no-proxy.invalid";

/// Why there is no client.
///
/// None has a source: the text of a kubeconfig's error may quote the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The kubeconfig names credentials that cannot be obtained.
    #[error("the credentials of the kubeconfig cannot be used")]
    Credentials,
    /// The kubeconfig cannot be used.
    #[error("{}", kubeconfig_message(.0))]
    Kubeconfig(KubeconfigError),
    /// The service account's files cannot be used.
    #[error("the pod's service account cannot be used: {0}")]
    InCluster(kube::config::InClusterError),
    /// The kubeconfig names a proxy.
    #[error("the kubeconfig sets proxy-url, which is not supported: the API server is always connected to directly")]
    Proxy,
    /// No client can be built from the configuration.
    #[error("the Kubernetes client cannot be set up: {0}")]
    Setup(kube::Error),
    /// The kubeconfig disables the verification of the API server's certificate.
    #[error("the kubeconfig sets insecure-skip-tls-verify; give it the API server's CA certificate instead")]
    Unverified,
}

/// Describes an error of a kubeconfig without quoting the file, which may hold tokens and keys.
fn kubeconfig_message(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "the kubeconfig is not YAML of kind Config".to_owned(),
        other => format!("the kubeconfig cannot be used: {other}"),
    }
}

/// Connects to the API server of `context` in `kubeconfig`. Without a file it is that of `KUBECONFIG`, of the pod's
/// service account (unless a context is given), or of `~/.kube/config`, the first that exists.
///
/// Requests are not retried, redirects are not followed, and no proxy is used. An exchange ends after thirty seconds, but
/// for the events of a watch, whose reader limits them. Every exchange is counted in `metrics`.
///
/// # Errors
///
/// [`ClientError`] if there is no usable configuration; the API server is not contacted.
pub async fn client(
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    metrics: Arc<Metrics>,
) -> Result<kube::Client, ClientError> {
    build(config(kubeconfig, context).await?, metrics)
}

async fn config(kubeconfig: Option<PathBuf>, context: Option<String>) -> Result<Config, ClientError> {
    if let Some(path) = kubeconfig {
        return direct(Kubeconfig::read_from(path), context).await;
    }
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if context.is_none() && !is_set("KUBECONFIG") && is_set("KUBERNETES_SERVICE_HOST") {
        return Config::incluster().map_err(ClientError::InCluster);
    }
    let file = match Kubeconfig::from_env() {
        Ok(None) => Kubeconfig::read(),
        Ok(Some(file)) => Ok(file),
        Err(error) => Err(error),
    };
    direct(file, context).await
}

/// Returns the configuration of a kubeconfig, without the proxy of the environment.
async fn direct(
    kubeconfig: Result<Kubeconfig, KubeconfigError>,
    context: Option<String>,
) -> Result<Config, ClientError> {
    let mut kubeconfig = kubeconfig.map_err(ClientError::Kubeconfig)?;
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut())
    {
        cluster.proxy_url.get_or_insert_with(|| NO_PROXY.to_owned());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(ClientError::Kubeconfig)?;
    match config.proxy_url.take() {
        Some(proxy) if proxy.host() != NO_PROXY.strip_prefix("http://") => Err(ClientError::Proxy),
        _ => Ok(config),
    }
}

fn build(config: Config, metrics: Arc<Metrics>) -> Result<kube::Client, ClientError> {
    if config.accept_invalid_certs {
        return Err(ClientError::Unverified);
    }
    // Only the first call has an effect; there is no other provider in this process.
    let _ = aws_lc_rs::default_provider().install_default();
    let connections = connections(&config).map_err(|error| match error {
        // Its text may hold what a credential plugin printed.
        kube::Error::Auth(_) => ClientError::Credentials,
        error => ClientError::Setup(error),
    })?;
    let authority = config.cluster_url.authority();
    let server = authority.map_or("", |authority| authority.as_str()).into();
    let builder = ClientBuilder::new(connections, config.default_namespace);
    let builder = builder.with_layer(&deadline(EXCHANGE));
    Ok(builder.with_layer(&measured(server, metrics)).build())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::coordination::v1::Lease;
    use kube::Api;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::TextFormat;
    use crate::failure::chain;

    /// Answers each request with `reply` and counts them.
    async fn server(reply: &'static str) -> (Config, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                counter.fetch_add(1, Ordering::SeqCst);
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        (Config::new(url.parse().unwrap()), count)
    }

    #[tokio::test]
    async fn no_retry_and_no_redirect() {
        for (reply, code) in [
            (
                "HTTP/1.1 429 X\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                429,
            ),
            ("HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 503),
            ("HTTP/1.1 504 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 504),
            (
                "HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                307,
            ),
        ] {
            let (config, count) = server(reply).await;
            let leases: Api<Lease> = Api::namespaced(build(config, Arc::default()).unwrap(), "ns");
            let error = leases.get("x").await.unwrap_err();
            let status = if let kube::Error::Api(status) = &error {
                Some(status.code)
            } else {
                None
            };
            assert!(code == 307 || status == Some(code), "{error}");
            assert_eq!(count.load(Ordering::SeqCst), 1, "{code}");
        }
    }

    #[test]
    fn an_unverified_server_is_refused() {
        let mut config = Config::new("https://127.0.0.1".parse().unwrap());
        config.accept_invalid_certs = true;
        assert!(matches!(build(config, Arc::default()), Err(ClientError::Unverified)));
    }

    #[tokio::test]
    async fn error_names_the_server_and_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let metrics = Arc::new(Metrics::new());
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let leases: Api<Lease> = Api::namespaced(build(config, Arc::clone(&metrics)).unwrap(), "ns");
        let error = chain(&leases.get("x").await.unwrap_err());
        let named = format!("no reply from the API server at {address}");
        assert!(error.contains(&named) && error.contains("refused"), "{error}");
        let counted = format!(r#"rest_client_requests_total{{code="<error>",host="{address}",method="GET"}} 1"#);
        let text = metrics.encode(TextFormat::Prometheus);
        assert!(text.contains(&counted), "{text}");
    }

    fn kubeconfig(proxy: &str) -> Kubeconfig {
        let cluster = format!("[{{name: a, cluster: {{server: 'https://127.0.0.1:6443'{proxy}}}}}]");
        let contexts = "[{name: a, context: {cluster: a}}]";
        Kubeconfig::from_yaml(&format!(
            "clusters: {cluster}\ncontexts: {contexts}\ncurrent-context: a"
        ))
        .unwrap()
    }

    #[tokio::test]
    async fn a_proxy_must_be_asked_for() {
        let own = direct(Ok(kubeconfig(", proxy-url: 'http://proxy:3128'")), None).await;
        assert!(matches!(own, Err(ClientError::Proxy)));
        assert_eq!(direct(Ok(kubeconfig("")), None).await.unwrap().proxy_url, None);
    }

    #[tokio::test]
    async fn a_context_must_exist() {
        let config = |context: &str| direct(Ok(kubeconfig("")), Some(context.to_owned()));
        assert_eq!(config("a").await.unwrap().cluster_url.host(), Some("127.0.0.1"));
        assert!(matches!(config("b").await, Err(ClientError::Kubeconfig(_))));
    }

    /// Runs the test of proxies in a process with proxies in its environment.
    #[test]
    fn proxies_of_the_environment_are_ignored() {
        let test = "client::tests::a_proxy_must_be_asked_for";
        for proxy in ["http://proxy:3128", "socks5://proxy", "no url at all"] {
            let mut run = std::process::Command::new(std::env::current_exe().unwrap());
            run.args(["--exact", test])
                .env("HTTPS_PROXY", proxy)
                .env("NO_PROXY", "[");
            let ended = run.output().unwrap();
            let out = String::from_utf8_lossy(&ended.stdout);
            assert!(ended.status.success() && out.contains("1 passed"), "{proxy}: {out}");
        }
    }

    /// Returns the configuration of a kubeconfig whose credentials are what a shell script prints.
    async fn with_plugin(server: &str, script: &str) -> Config {
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "interactiveMode": "Never",
        });
        let kubeconfig = serde_json::json!({
            "clusters": [{ "name": "a", "cluster": { "server": server } }],
            "users": [{ "name": "a", "user": { "exec": exec } }],
            "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
            "current-context": "a",
        });
        direct(Ok(serde_json::from_value(kubeconfig).unwrap()), None)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn credentials_of_a_plugin_are_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let credential = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": { "token": "of-the-plugin" },
        });
        let config = with_plugin(&server, &format!("echo '{credential}'")).await;
        let leases: Api<Lease> = Api::namespaced(build(config, Arc::default()).unwrap(), "ns");
        let seen = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            String::from_utf8(head).unwrap()
        };
        let (_, head) = tokio::join!(leases.get("x"), seen);
        assert!(head.contains("authorization: Bearer of-the-plugin\r\n"), "{head}");
    }

    #[tokio::test]
    async fn a_failing_plugin_is_not_quoted() {
        let script = "echo hvs.canary; echo hvs.canary >&2; exit 1";
        let config = with_plugin("http://127.0.0.1", script).await;
        let error = build(config, Arc::default()).err().unwrap();
        assert!(matches!(error, ClientError::Credentials));
        assert!(std::error::Error::source(&error).is_none() && !error.to_string().contains("canary"));
    }

    #[tokio::test]
    async fn a_broken_kubeconfig_is_not_quoted() {
        let path = std::env::temp_dir().join(format!("vault-issuer-kubeconfig-{}", std::process::id()));
        std::fs::write(&path, "users: [{name: a, user: {token: [hvs.canary]}}]").unwrap();
        let error = client(Some(path.clone()), None, Arc::default()).await.err().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(error.to_string(), "the kubeconfig is not YAML of kind Config");
        assert!(std::error::Error::source(&error).is_none());
    }
}
