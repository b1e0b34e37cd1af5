//! The time from Approved to Issued, one request at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::StreamExt as _;
use kube::Api;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use serde_json::Value;

use super::loader::Loader;
use crate::test_namespace::TestNamespace;

/// The longest time for one request.
const LIMIT: Duration = Duration::from_secs(60);

/// Approves the request `name` and returns the time from Approved to Issued, both as a watch sees them.
///
/// The loader, if there is one, signs on the event that says Approved.
pub(super) async fn approved_to_issued(
    test: &TestNamespace<'_>,
    requests: &Api<DynamicObject>,
    name: &str,
    loader: Option<&Loader>,
) -> anyhow::Result<Duration> {
    let version = requests.get(name).await?.metadata.resource_version.unwrap_or_default();
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = requests.watch(&only, &version).await?.boxed();
    let watch = async {
        let mut approved: Option<Instant> = None;
        while let Some(event) = events.next().await {
            let WatchEvent::Modified(request) = event? else {
                continue;
            };
            ensure!(!is(&request, "Ready", "Failed"), "{name} has failed");
            match approved {
                None if has(&request, "Approved") => {
                    approved = Some(Instant::now());
                    if let Some(loader) = loader {
                        loader.sign(request).await?;
                    }
                }
                Some(begun) if is(&request, "Ready", "Issued") => return Ok(begun.elapsed()),
                _ => {}
            }
        }
        bail!("the watch has ended");
    };
    let both = async { tokio::try_join!(test.decide(name, "Approved"), watch) };
    let ((), elapsed) = tokio::time::timeout(LIMIT, both)
        .await
        .with_context(|| format!("{name} is not issued within {} s", LIMIT.as_secs()))??;
    Ok(elapsed)
}

fn has(request: &DynamicObject, kind: &str) -> bool {
    conditions(request).any(|condition| condition["type"] == kind)
}

/// Returns `true` if the condition of this type has this reason.
pub(super) fn is(request: &DynamicObject, kind: &str, reason: &str) -> bool {
    conditions(request).any(|condition| condition["type"] == kind && condition["reason"] == reason)
}

fn conditions(request: &DynamicObject) -> impl Iterator<Item = &Value> {
    request
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
