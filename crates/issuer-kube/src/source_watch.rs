//! The watch of one Secret or ConfigMap, by its name: it shows which versions the object gets, and nothing that it holds.

use std::time::Duration;

use http::Request;
use http::header::{ACCEPT, HeaderValue};
use http_body_util::BodyExt;
use issuer_core::access::ReadError;
use issuer_core::reconcile::SourceEvent;
use issuer_core::reference::SourceRef;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use kube::client::Body;
use tokio::time::timeout;

use crate::object::{Json, METADATA_ONLY, event_type};

/// The longest silence of a watch that works: the API server sends a bookmark about every minute. It is for a server that
/// hangs; that nothing arrives from the network is noticed sooner.
const SILENCE: Duration = Duration::from_secs(150);

/// The longest event, in bytes: more than etcd keeps of an object.
const EVENT: usize = 2 << 20;

/// The room that is kept between two events, in bytes: more than an ordinary one takes. There may be a thousand watches.
const ROOM: usize = 4 << 10;

/// A watch that is open.
pub(crate) struct SourceWatch {
    body: Body,
    /// The bytes read so far of the next events.
    read: Vec<u8>,
    /// The number of these bytes that hold no end of a line.
    searched: usize,
}

impl SourceWatch {
    /// Returns the request that opens the watch of an object. It begins with the version that the API server has cached,
    /// and ends when the API server wants it to, after half an hour or more.
    pub(crate) fn request(source: &SourceRef) -> http::Result<Request<Vec<u8>>> {
        let namespace = Some(source.namespace());
        let path = match source {
            SourceRef::ConfigMap(_) => ConfigMap::url_path(&(), namespace),
            SourceRef::Secret(_) => Secret::url_path(&(), namespace),
        };
        // By hand, since kube has no watch that lasts five minutes. A role with `resourceNames` permits just this selector.
        let name = source.name();
        let uri = format!(
            "{path}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion=0&allowWatchBookmarks=true"
        );
        Request::get(uri)
            .header(ACCEPT, HeaderValue::from_static(METADATA_ONLY))
            .body(Vec::new())
    }

    /// Reads the events of a reply.
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            read: Vec::new(),
            searched: 0,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`ReadError::Unavailable`] if the connection breaks or falls silent, or if the API server reports an error.
    pub(crate) async fn next(&mut self) -> Result<SourceEvent, ReadError> {
        loop {
            let rest = self.read.iter().skip(self.searched);
            if let Some(end) = rest.copied().position(|byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=self.searched + end).collect();
                self.searched = 0;
                self.read.shrink_to(ROOM);
                match event(&line) {
                    Ok(None) => continue,
                    Ok(Some(event)) => return Ok(event),
                    Err(_) => return Err(ReadError::Unavailable),
                }
            }
            self.searched = self.read.len();
            let frame = timeout(SILENCE, self.body.frame()).await;
            let data = match frame.map_err(|_| ReadError::Unavailable)? {
                Some(frame) => frame.map_err(|_| ReadError::Unavailable)?.into_data(),
                None => return Ok(SourceEvent::Ended),
            };
            let data = data.unwrap_or_default();
            if self.read.len() + data.len() > EVENT {
                return Err(ReadError::Unavailable);
            }
            self.read.extend_from_slice(&data);
        }
    }
}

/// Reads an event; `None` if nothing follows from it.
fn event(line: &[u8]) -> serde_json::Result<Option<SourceEvent>> {
    match &*event_type(line)? {
        "ADDED" | "MODIFIED" => {
            let meta = Json::Event(line).meta()?;
            Ok(Some(SourceEvent::Version(meta.resource_version)))
        }
        "BOOKMARK" => Ok(Some(SourceEvent::Bookmark)),
        // The token that was made from it works on, so an object that is gone changes nothing.
        "DELETED" => Ok(None),
        _ => Err(serde::de::Error::custom("the watch has failed")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::StreamExt;
    use http::{Response, StatusCode};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use issuer_core::reference::{ConfigMapRef, SecretRef};
    use kube::Client;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::ApiServer;

    fn secret() -> SourceRef {
        SourceRef::Secret(SecretRef {
            namespace: "team".to_owned(),
            name: "app.role".to_owned(),
        })
    }

    fn shown(kind: &str, version: &str) -> String {
        let metadata = json!({ "name": "app.role", "resourceVersion": version, "annotations": { "a": "b" } });
        format!("{}\n", json!({ "type": kind, "object": { "metadata": metadata } }))
    }

    /// Opens a watch that is answered with this status and text, piece by piece, and then ends or falls silent.
    async fn open(status: StatusCode, text: String, ends: bool) -> Result<SourceWatch, ReadError> {
        let service = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(
                request.uri().to_string(),
                "/api/v1/namespaces/team/secrets?watch=true&fieldSelector=metadata.name%3Dapp.role&resourceVersion=0\
                 &allowWatchBookmarks=true"
            );
            assert_eq!(request.headers()[ACCEPT], METADATA_ONLY);
            let pieces: Vec<_> = text
                .as_bytes()
                .chunks(7.max(text.len() / 1000))
                .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
                .collect();
            let rest = if ends {
                futures::stream::empty().left_stream()
            } else {
                futures::stream::pending().right_stream()
            };
            let mut reply = Response::new(StreamBody::new(futures::stream::iter(pieces).chain(rest)));
            *reply.status_mut() = status;
            async move { Ok::<_, Infallible>(reply) }
        });
        let api = ApiServer::new(Client::new(service, "default"), String::new());
        api.open_watch(&secret()).await
    }

    #[tokio::test]
    async fn versions_are_shown_one_by_one() {
        let kinds = [("ADDED", "1"), ("BOOKMARK", "2"), ("DELETED", "3"), ("MODIFIED", "4")];
        let text = kinds.map(|(kind, version)| shown(kind, version)).concat();
        let mut watch = open(StatusCode::OK, text, true).await.unwrap();
        let version = |version: &str| Ok(SourceEvent::Version(version.to_owned()));
        for expected in [
            version("1"),
            Ok(SourceEvent::Bookmark),
            version("4"),
            Ok(SourceEvent::Ended),
        ] {
            assert_eq!(watch.next().await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_watch_is_given_up() {
        let mut watch = open(StatusCode::OK, shown("ADDED", "1"), false).await.unwrap();
        assert!(watch.next().await.is_ok());
        let began = Instant::now();
        assert_eq!(watch.next().await, Err(ReadError::Unavailable));
        assert_eq!(began.elapsed(), SILENCE);
    }

    #[tokio::test]
    async fn room_for_a_large_event_is_given_back() {
        let metadata = json!({ "name": "app.role", "resourceVersion": "1", "labels": { "a": "x".repeat(1 << 20) } });
        let event = json!({ "type": "ADDED", "object": { "metadata": metadata } });
        let mut watch = open(StatusCode::OK, format!("{event}\n"), false).await.unwrap();
        assert_eq!(watch.next().await, Ok(SourceEvent::Version("1".to_owned())));
        assert!(watch.read.capacity() < 8 << 10, "{}", watch.read.capacity());
    }

    #[tokio::test]
    async fn broken_events_end_the_watch() {
        let error = json!({ "type": "ERROR", "object": { "kind": "Status", "code": 410 } });
        for text in [
            format!("{error}\n"),
            "{}\n".to_owned(),
            "{\"type\":\"ADDED\",\"object\":[]}\n".to_owned(),
            "x".repeat(EVENT + 1),
        ] {
            let mut watch = open(StatusCode::OK, text, false).await.unwrap();
            assert_eq!(watch.next().await, Err(ReadError::Unavailable));
        }
    }

    #[tokio::test]
    async fn refusal_is_told_from_failure() {
        for (status, expected) in [
            (StatusCode::FORBIDDEN, ReadError::Forbidden),
            (StatusCode::SERVICE_UNAVAILABLE, ReadError::Unavailable),
        ] {
            let refused = open(status, "{}".to_owned(), true).await;
            assert_eq!(refused.err(), Some(expected));
        }
    }

    #[test]
    fn config_maps_have_their_own_path() {
        let source = SourceRef::ConfigMap(ConfigMapRef {
            namespace: "team".to_owned(),
            name: "ca".to_owned(),
        });
        let request = SourceWatch::request(&source).unwrap();
        assert_eq!(request.uri().path(), "/api/v1/namespaces/team/configmaps");
    }
}
