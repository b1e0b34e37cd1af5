//! The time limit of requests to the API server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use kube::client::{Body, DynBody};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tower::{BoxError, Layer, Service, layer::layer_fn};

/// Ends every exchange after `limit`, its body included, but for the events of a watch.
pub(crate) fn deadline<S>(limit: Duration) -> impl Layer<S, Service = Deadline<S>> {
    layer_fn(move |service| Deadline { limit, service })
}

pub(crate) struct Deadline<S> {
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
        let end = Instant::now() + self.limit;
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"));
        let reply = self.service.call(request);
        Box::pin(async move {
            let whole = async move {
                let reply = reply.await?;
                if is_watch && reply.status().is_success() {
                    return Ok(reply);
                }
                // The body is not collected: that of a list may be large, and is decoded as it arrives.
                Ok(reply.map(|body| {
                    Box::new(Timed {
                        body,
                        deadline: Box::pin(sleep_until(end)),
                    }) as Box<DynBody>
                }))
            };
            timeout_at(end, whole).await?
        })
    }
}

/// A body that breaks off at its deadline.
struct Timed {
    body: Box<DynBody>,
    deadline: Pin<Box<Sleep>>,
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.deadline.as_mut().poll(context).is_ready() => {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the reply was not complete in time");
                Poll::Ready(Some(Err(late.into())))
            }
            polled => polled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Empty, Full};

    use super::*;

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
        let frames = futures::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        Box::new(http_body_util::StreamBody::new(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_watch_may_be_endless() {
        let begun = Instant::now();
        let reply = stack(endless).call(request("/api?watchful=true")).await.unwrap();
        let error = reply.into_body().collect().await.err().unwrap();
        assert_eq!(error.to_string(), "the reply was not complete in time");
        assert_eq!(begun.elapsed().as_secs(), 30);
        let watch = stack(endless).call(request("/api?a=b&watch=true")).await.unwrap();
        let collected = tokio::time::timeout(Duration::from_secs(600), watch.into_body().collect());
        assert!(collected.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_of_a_watch_ends_in_time() {
        let service = tower::service_fn(|_| async {
            let mut refusal = Response::new(endless());
            *refusal.status_mut() = http::StatusCode::FORBIDDEN;
            Ok::<_, BoxError>(refusal)
        });
        let mut stack = deadline(Duration::from_secs(30)).layer(service);
        let refusal = stack.call(request("/api?watch=true")).await.unwrap();
        let begun = Instant::now();
        assert!(refusal.into_body().collect().await.is_err());
        assert_eq!(begun.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_must_begin_in_time() {
        let service = tower::service_fn(|_| futures::future::pending::<Result<Response<Box<DynBody>>, BoxError>>());
        let call = deadline(Duration::from_secs(30)).layer(service).call(request("/api"));
        assert!(call.await.err().unwrap().is::<tokio::time::error::Elapsed>());
    }

    #[tokio::test]
    async fn a_body_that_ends_is_complete() {
        let whole = || -> Box<DynBody> {
            Box::new(Full::new(Bytes::from_static(b"x")).map_err(|never: Infallible| -> BoxError { match never {} }))
        };
        let reply = stack(whole).call(request("/api")).await.unwrap();
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "x");
        let empty =
            || -> Box<DynBody> { Box::new(Empty::new().map_err(|never: Infallible| -> BoxError { match never {} })) };
        assert!(stack(empty).call(request("/api")).await.is_ok());
    }
}
