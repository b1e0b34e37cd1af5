//! The connections to the API server.

use std::io;
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::{Body, ConfigExt, DynBody};
use tokio::time::timeout;
use tower::util::{BoxService, option_layer};
use tower::{BoxError, Layer, ServiceExt, service_fn};

/// Time to connect to the API server.
const CONNECT: Duration = Duration::from_secs(10);

/// Silence after which TCP probes a connection, the time between probes, and the number of those without a reply after
/// which the connection is broken: a network that drops packets is noticed within fifty seconds. A watch may be silent for
/// longer than that, and to open it more often would cost requests.
const KEEPALIVE: Duration = Duration::from_secs(20);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Returns a service that sends requests to the API server of `config`, with its credentials. Requests are not retried,
/// but for one that a connection has never taken, since it was closed before.
///
/// By hand, since kube has no keepalive.
///
/// # Errors
///
/// [`kube::Error`] if the certificates or credentials cannot be used.
pub(crate) fn connections(
    config: &Config,
) -> kube::Result<BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>> {
    let tls = config.rustls_https_connector_with_connector(tcp())?;
    let connector = service_fn(move |server: Uri| {
        let connecting = timeout(CONNECT, tls.clone().oneshot(server));
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "not connected in time");
            connecting.await.map_err(late)?
        })
    });
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceExt::<Request<Body>>::map_err(client, BoxError::from);
    let service = config.extra_headers_layer()?.layer(service);
    let service = option_layer(config.auth_layer()?).layer(service);
    let service = config.base_uri_layer().layer(service);
    let boxed = |body: hyper::body::Incoming| Box::new(body.map_err(BoxError::from)) as Box<DynBody>;
    Ok(service.map_response(move |reply| reply.map(boxed)).boxed())
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(PROBE_INTERVAL));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn silent_network_is_noticed_within_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let stream = tcp()
            .oneshot(server.parse::<Uri>().unwrap())
            .await
            .unwrap()
            .into_inner();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let interval = socket.tcp_keepalive_interval().unwrap();
        let noticed = socket.tcp_keepalive_time().unwrap() + interval * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(noticed.as_secs(), 50);
    }
}
