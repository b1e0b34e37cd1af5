//! Events about issuers and requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use issuer_core::reconcile::{Event, Key};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as EventObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Error, Resource};
use serde_json::json;
use tokio::time::Instant;

use crate::object::FIELD_MANAGER;

/// The most characters of an object's name in the name of an event: 253 for both and the time.
const EVENT_NAME: usize = 220;

/// The time after which a repeated warning becomes a new event, as in client-go.
const SERIES: Duration = Duration::from_secs(360);

/// The number of warnings that are remembered. One that is forgotten becomes a new event when it is repeated.
const REMEMBERED: usize = 64;

/// Records events. A repeated warning is counted in the event of the first one (`series`).
///
/// The series of kube's `Recorder` is not used: `kube-runtime` comes with thirty more crates.
pub(crate) struct Events {
    client: Client,
    instance: String,
    /// The last warnings, the oldest first.
    warnings: Mutex<VecDeque<Recorded>>,
}

/// A warning that was recorded.
struct Recorded {
    event: Event,
    name: String,
    count: u32,
    last: Instant,
}

impl Events {
    /// Records events through `client`; `instance` is the name of this process.
    pub(crate) fn new(client: Client, instance: String) -> Self {
        Self {
            client,
            instance,
            warnings: Mutex::default(),
        }
    }

    /// Records an event.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not accept it.
    pub(crate) async fn record(&self, event: Event) -> Result<(), Error> {
        let Some(regarding) = reference(&event) else {
            return Ok(());
        };
        let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = MicroTime(since_epoch(since));
        if let Some(mut again) = self.take(&event) {
            let series = json!({ "series": { "count": again.count + 1, "lastObservedTime": now } });
            match self.count(&namespace, &again.name, &series).await {
                Ok(()) => {
                    again.count += 1;
                    self.remember(again);
                    return Ok(());
                }
                // It has expired, or was deleted.
                Err(Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let name = event_name(regarding.name.as_deref().unwrap_or_default(), since);
        let object = self.object(&event, &name, &namespace, regarding, now);
        self.create(&namespace, &object).await?;
        if event.warning {
            self.remember(Recorded {
                event,
                name,
                count: 1,
                last: Instant::now(),
            });
        }
        Ok(())
    }

    async fn create(&self, namespace: &str, object: &EventObject) -> Result<(), Error> {
        let request = Request::new(EventObject::url_path(&(), Some(namespace)));
        let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
        let request = request
            .create(&PostParams::default(), body)
            .map_err(Error::BuildRequest)?;
        self.client.request_text(request).await.map(drop)
    }

    async fn count(&self, namespace: &str, name: &str, series: &serde_json::Value) -> Result<(), Error> {
        let request = Request::new(EventObject::url_path(&(), Some(namespace)));
        let request = request.patch(name, &PatchParams::default(), &Patch::Merge(series));
        self.client
            .request_text(request.map_err(Error::BuildRequest)?)
            .await
            .map(drop)
    }

    /// Takes a warning out that was recorded lately and is the same.
    fn take(&self, event: &Event) -> Option<Recorded> {
        let mut warnings = self.warnings();
        warnings.retain(|recorded| recorded.last.elapsed() < SERIES);
        let at = warnings.iter().position(|recorded| recorded.event == *event)?;
        warnings.remove(at)
    }

    fn remember(&self, mut recorded: Recorded) {
        recorded.last = Instant::now();
        let mut warnings = self.warnings();
        if warnings.len() >= REMEMBERED {
            warnings.pop_front();
        }
        warnings.push_back(recorded);
    }

    fn warnings(&self) -> MutexGuard<'_, VecDeque<Recorded>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(
        &self,
        event: &Event,
        name: &str,
        namespace: &str,
        regarding: ObjectReference,
        now: MicroTime,
    ) -> EventObject {
        let is_issuer = matches!(event.regarding, Key::Issuer(_));
        EventObject {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(if is_issuer { "Check" } else { "Sign" }.to_owned()),
            event_time: Some(now),
            note: Some(event.note.chars().take(1000).collect()),
            reason: Some(event.reason.to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            ..EventObject::default()
        }
    }
}

fn since_epoch(since: Duration) -> Timestamp {
    let nanos = i128::try_from(since.as_nanos()).unwrap_or_default();
    Timestamp::from_nanosecond(nanos).unwrap_or_default()
}

fn reference(event: &Event) -> Option<ObjectReference> {
    let object = |kind: &str, version: String, namespace: &str, name: &str| ObjectReference {
        api_version: Some(version),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        uid: Some(event.uid.clone()),
        ..ObjectReference::default()
    };
    match &event.regarding {
        Key::Issuer(key) => Some(object(
            key.kind.as_str(),
            key.kind.api_version(),
            &key.namespace,
            &key.name,
        )),
        Key::Request(key) => Some(object(
            key.kind.as_str(),
            key.kind.api_version().to_owned(),
            &key.namespace,
            &key.name,
        )),
        Key::Token(_) => None,
    }
}

/// Returns the name of an event about the object `name`, unique by its time.
fn event_name(name: &str, since: Duration) -> String {
    let name: String = name.chars().take(EVENT_NAME).collect();
    // A name may not end in a dot or dash, but part of a name may.
    let name = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{name}.{:x}", since.as_nanos())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use bytes::Bytes;
    use http::{Method, Response};
    use http_body_util::{BodyExt, Full};
    use issuer_core::reference::{RequestKey, RequestKind};
    use kube::client::Body;
    use serde_json::Value;
    use tower::BoxError;

    use super::*;

    /// Returns a recorder, what it has sent, and the status that patches are answered with.
    fn recorder() -> (Events, Arc<Mutex<Vec<String>>>, Arc<AtomicU16>) {
        let (sent, status) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicU16::new(200)));
        let (log, answer) = (Arc::clone(&sent), Arc::clone(&status));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
                let is_patch = parts.method == Method::PATCH;
                log.lock().unwrap().push(if is_patch {
                    format!("count {}", body["series"]["count"])
                } else {
                    format!("{} {}", parts.method, body["reason"].as_str().unwrap())
                });
                let code = if is_patch { answer.load(Ordering::SeqCst) } else { 201 };
                let body =
                    format!("{{\"kind\":\"Status\",\"status\":\"\",\"message\":\"\",\"reason\":\"\",\"code\":{code}}}");
                let mut reply = Response::new(Full::new(Bytes::from(body)));
                *reply.status_mut() = code.try_into()?;
                Ok::<_, BoxError>(reply)
            }
        });
        (
            Events::new(Client::new(service, "default"), String::new()),
            sent,
            status,
        )
    }

    fn event(warning: bool, reason: &'static str) -> Event {
        Event {
            regarding: Key::Request(RequestKey {
                kind: RequestKind::CertificateRequest,
                namespace: "team".into(),
                name: "web".into(),
            }),
            uid: "uid".to_owned(),
            warning,
            reason,
            note: "why".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_warning_is_a_series() {
        let (events, sent, status) = recorder();
        let taken = || std::mem::take(&mut *sent.lock().unwrap());
        for reason in ["Throttled", "Throttled", "Refused", "Throttled"] {
            events.record(event(true, reason)).await.unwrap();
        }
        assert_eq!(taken(), ["POST Throttled", "count 2", "POST Refused", "count 3"]);

        tokio::time::advance(SERIES).await;
        events.record(event(true, "Throttled")).await.unwrap();
        assert_eq!(taken(), ["POST Throttled"]);

        status.store(404, Ordering::SeqCst);
        events.record(event(true, "Throttled")).await.unwrap();
        status.store(200, Ordering::SeqCst);
        events.record(event(true, "Throttled")).await.unwrap();
        assert_eq!(taken(), ["count 2", "POST Throttled", "count 2"]);

        for _ in 0..2 {
            events.record(event(false, "CertificateIssued")).await.unwrap();
        }
        assert_eq!(taken(), ["POST CertificateIssued", "POST CertificateIssued"]);
    }

    #[tokio::test(start_paused = true)]
    async fn remembered_warnings_are_bounded() {
        let (events, ..) = recorder();
        for number in 0..2 * REMEMBERED {
            let mut event = event(true, "Refused");
            event.note = number.to_string();
            events.record(event).await.unwrap();
        }
        assert_eq!(events.warnings().len(), REMEMBERED);
    }

    #[test]
    fn an_event_has_a_valid_name() {
        let since = Duration::from_nanos(0x18a5_0000_0000_0001);
        assert_eq!(event_name("web", since), "web.18a5000000000001");
        let long = format!("{}.{}", "a".repeat(EVENT_NAME - 1), "b".repeat(253 - EVENT_NAME));
        assert_eq!(long.len(), 253);
        let name = event_name(&long, since);
        assert_eq!(name, format!("{}.18a5000000000001", "a".repeat(EVENT_NAME - 1)));
        assert!(event_name(&"a".repeat(253), Duration::from_secs(u64::MAX)).len() <= 253);
    }
}
