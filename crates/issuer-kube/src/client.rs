use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::Config;
use kube::client::{Body, ClientBuilder, DynBody};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::crypto::aws_lc_rs;
use tower::{BoxError, Layer, Service, layer::layer_fn};

/// Time to connect to the API server.
const CONNECT: Duration = Duration::from_secs(10);

/// Time for a whole exchange that is no watch.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Silence on a connection: more than the 290 seconds after which the API server ends a watch.
const SILENCE: Duration = Duration::from_secs(305);

/// Why there is no client.
///
/// None has a source: the text of a kubeconfig's error may quote the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The kubeconfig names credentials that cannot be had.
    #[error("the credentials of the kubeconfig cannot be used")]
    Credentials,
    /// The kubeconfig cannot be used.
    #[error("{}", kubeconfig_message(.0))]
    Kubeconfig(KubeconfigError),
    /// The service account's files cannot be used.
    #[error("the pod's service account cannot be used: {0}")]
    InCluster(kube::config::InClusterError),
    /// What the configuration says cannot be set up.
    #[error("the Kubernetes client cannot be set up: {0}")]
    Setup(kube::Error),
    /// The kubeconfig switches the verification of the API server's certificate off.
    #[error("the kubeconfig sets insecure-skip-tls-verify; give it the API server's CA certificate instead")]
    Unverified,
}

/// Says what is wrong with a kubeconfig, without an excerpt of it: it may hold tokens and keys.
fn kubeconfig_message(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "the kubeconfig is not YAML of kind Config".to_owned(),
        other => format!("the kubeconfig cannot be used: {other}"),
    }
}

/// Connects to the API server that `kubeconfig` names; without one to that of `KUBECONFIG`, of the pod's service
/// account, or of `~/.kube/config`, whichever there is first.
///
/// Nothing is tried twice and no redirect is followed. An exchange other than a watch ends after thirty seconds.
pub async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client, ClientError> {
    build(config(kubeconfig).await?)
}

async fn config(kubeconfig: Option<PathBuf>) -> Result<Config, ClientError> {
    let options = KubeConfigOptions::default();
    if let Some(path) = kubeconfig {
        let file = Kubeconfig::read_from(path).map_err(ClientError::Kubeconfig)?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(ClientError::Kubeconfig);
    }
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("KUBECONFIG") && is_set("KUBERNETES_SERVICE_HOST") {
        return Config::incluster().map_err(ClientError::InCluster);
    }
    Config::from_kubeconfig(&options).await.map_err(ClientError::Kubeconfig)
}

fn build(mut config: Config) -> Result<kube::Client, ClientError> {
    if config.accept_invalid_certs {
        return Err(ClientError::Unverified);
    }
    // The first to come decides for the process; there is no other provider in this one.
    let _ = aws_lc_rs::default_provider().install_default();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(EXCHANGE);
    config.reset_reader_on_write = true;
    let builder = ClientBuilder::try_from(config).map_err(|error| match error {
        // Its text may hold what a credential plugin printed.
        kube::Error::Auth(_) => ClientError::Credentials,
        error => ClientError::Setup(error),
    })?;
    Ok(builder.with_layer(&deadline(EXCHANGE)).build())
}

/// Ends every exchange but a watch after `limit`, its body included.
fn deadline<S>(limit: Duration) -> impl Layer<S, Service = Deadline<S>> {
    layer_fn(move |service| Deadline { limit, service })
}

struct Deadline<S> {
    limit: Duration,
    service: S,
}

impl<S> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = self.limit;
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"));
        let reply = self.service.call(request);
        Box::pin(async move {
            let whole = async {
                let reply = reply.await?;
                if is_watch {
                    return Ok(reply);
                }
                let (parts, body) = reply.into_parts();
                let bytes = body.collect().await?.to_bytes();
                let body = Full::new(bytes).map_err(|never| -> BoxError { match never {} });
                Ok(Response::from_parts(parts, Box::new(body) as Box<DynBody>))
            };
            tokio::time::timeout(limit, whole).await?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http_body_util::Empty;
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::Api;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

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
    async fn nothing_is_tried_twice_and_no_redirect_is_followed() {
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
            let leases: Api<Lease> = Api::namespaced(build(config).unwrap(), "ns");
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

    fn stack(
        reply: impl Fn() -> Box<DynBody> + Send + 'static,
    ) -> impl Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError> {
        let service = tower::service_fn(move |_| {
            let reply = reply();
            async { Ok::<_, BoxError>(Response::new(reply)) }
        });
        deadline(Duration::from_secs(30)).layer(service)
    }

    fn request(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::empty()).unwrap()
    }

    fn endless() -> Box<DynBody> {
        let frames = futures::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>();
        Box::new(http_body_util::StreamBody::new(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up_unless_it_is_a_watch() {
        let error = stack(endless).call(request("/api?watchful=true")).await.err().unwrap();
        assert!(error.is::<tokio::time::error::Elapsed>(), "{error}");
        assert!(stack(endless).call(request("/api?a=b&watch=true")).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_ends_is_handed_on() {
        let whole = || -> Box<DynBody> {
            Box::new(Full::new(Bytes::from_static(b"x")).map_err(|never: Infallible| -> BoxError { match never {} }))
        };
        let reply = stack(whole).call(request("/api")).await.unwrap();
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "x");
        let empty =
            || -> Box<DynBody> { Box::new(Empty::new().map_err(|never: Infallible| -> BoxError { match never {} })) };
        assert!(stack(empty).call(request("/api")).await.is_ok());
    }

    #[test]
    fn a_server_that_is_not_verified_is_refused() {
        let mut config = Config::new("https://127.0.0.1".parse().unwrap());
        config.accept_invalid_certs = true;
        assert!(matches!(build(config), Err(ClientError::Unverified)));
    }

    #[tokio::test]
    async fn a_broken_kubeconfig_is_not_quoted() {
        let path = std::env::temp_dir().join(format!("vault-issuer-kubeconfig-{}", std::process::id()));
        std::fs::write(&path, "users: [{name: a, user: {token: [hvs.canary]}}]").unwrap();
        let error = client(Some(path.clone())).await.err().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(error.to_string(), "the kubeconfig is not YAML of kind Config");
        assert!(std::error::Error::source(&error).is_none());
    }
}
