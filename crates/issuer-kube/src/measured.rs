//! Counts and times requests to the API server.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::{Body, DynBody};
use tower::{BoxError, Layer, Service, layer::layer_fn};

use crate::Metrics;

/// A request to the API server that got no reply.
#[derive(Debug, thiserror::Error)]
#[error("no reply from the API server at {server}")]
struct NoReply {
    server: Arc<str>,
    source: BoxError,
}

/// Counts and times the requests to the API server `server`, and names it in their errors.
pub(crate) fn measured<S>(server: Arc<str>, metrics: Arc<Metrics>) -> impl Layer<S, Service = Measured<S>> {
    layer_fn(move |service| Measured {
        metrics: Arc::clone(&metrics),
        server: Arc::clone(&server),
        service,
    })
}

pub(crate) struct Measured<S> {
    metrics: Arc<Metrics>,
    server: Arc<str>,
    service: S,
}

impl<S> Service<Request<Body>> for Measured<S>
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
        let (metrics, server) = (Arc::clone(&self.metrics), Arc::clone(&self.server));
        let method = request.method().clone();
        let began = Instant::now();
        let reply = self.service.call(request);
        Box::pin(async move {
            let reply = reply.await;
            let status = reply.as_ref().ok().map(Response::status);
            metrics.api_request(&server, &method, status, began.elapsed());
            reply.map_err(|source| {
                // One of kube's own, as for credentials: there was no request.
                if source.is::<kube::Error>() {
                    source
                } else {
                    NoReply { server, source }.into()
                }
            })
        })
    }
}
