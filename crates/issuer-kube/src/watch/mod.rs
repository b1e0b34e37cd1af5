//! Lists and watches: what the API server holds, reported to an [`Observer`].
//!
//! Each kind is listed, then watched from the version of the list; a watch that ends is resumed, and one whose version
//! has expired begins with a list again. Objects are decoded one by one, as they arrive: an object that cannot be
//! decoded counts as absent and stops nothing else. The reflector of kube-runtime fails a list as a whole for that, keeps
//! every object, and would bring some thirty crates.

mod drop_in;
mod observer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;
use std::time::Duration;

use http_body_util::BodyExt;
use issuer_core::reconcile::{Change, Key};
use issuer_core::reference::RequestKind;
use kube::Client;
use kube::api::{ListParams, VersionMatch, WatchParams};
use kube::client::Body;
use kube::core::Request;
use tokio::time::{Instant, sleep, timeout};

use self::drop_in::{Appeared, DropInIssuers, Part};
pub(crate) use self::observer::{Observer, Unreadable};
use crate::Transport;
use crate::client::EXCHANGE;
use crate::failure::Failure;
use crate::items::{Items, Page};
use crate::log::LogThrottle;
use crate::object::{Decoded, Json, RequestHeader, Watched, WatchedList, event_type, gone};

/// The CertificateRequests of our group: where only our own kinds of issuer are served, the API server sends no other.
const SELECTOR: &str = "spec.issuerRef.group=vault-issuer.io";

/// Objects of a page. They are decoded one by one, so their number does not matter to memory.
const PAGE: u32 = 500;

/// Seconds after which the API server ends a watch. A connection that has silently broken is noticed soon after; just
/// before the end the API server sends a bookmark, so the next watch begins where this one ended.
const WATCH: u32 = 50;

/// Time for the end of a watch to arrive.
const MARGIN: Duration = Duration::from_secs(5);

/// The longest wait after failures, as in client-go.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The failures in a row after which a watch that was in sync no longer counts so: half a minute.
const STALE: u32 = 5;

/// The objects of a list.
#[derive(Debug, Default)]
struct Seen {
    readable: BTreeSet<Key>,
    unreadable: BTreeSet<Key>,
}

/// Keeps these lists up to date until it is dropped.
pub(crate) async fn watch(client: &Client, lists: &[WatchedList], observer: &impl Observer) {
    let drop_in = DropInIssuers::new(lists);
    let follow = |list| Reflector::new(client, list, observer, &drop_in).run();
    futures::future::join_all(lists.iter().map(follow)).await;
}

/// Keeps an observer up to date with all objects of one list.
struct Reflector<'a, O> {
    client: &'a Client,
    observer: &'a O,
    list: &'a WatchedList,
    watched: Watched,
    drop_in: &'a DropInIssuers,
    /// Whether the API server can select requests by issuer group, as it can since cert-manager 1.20.
    selects: bool,
    /// The objects that cannot be decoded, and the version in which each was reported.
    unreadable: BTreeMap<Key, String>,
    /// The version from which to watch; `None` if a list is needed.
    version: Option<String>,
    /// Failures since a watch has last shown something.
    failures: u32,
    throttle: LogThrottle,
}

impl<'a, O: Observer> Reflector<'a, O> {
    fn new(client: &'a Client, list: &'a WatchedList, observer: &'a O, drop_in: &'a DropInIssuers) -> Self {
        Self {
            client,
            observer,
            list,
            watched: list.watched,
            drop_in,
            selects: false,
            unreadable: BTreeMap::new(),
            version: None,
            failures: 0,
            throttle: LogThrottle::default(),
        }
    }

    async fn run(mut self) {
        // A request of an issuer that is not known yet is passed over.
        let mut appeared = matches!(self.watched, Watched::Requests(_)).then(|| self.drop_in.subscribe(self.list));
        if let Some(appeared) = &appeared {
            appeared.listed().await;
        }
        loop {
            self.observer
                .alive(self.list, Duration::from_secs(WATCH.into()) + MARGIN);
            let (verb, ended) = match self.version.clone() {
                None => {
                    if let Some(appeared) = &mut appeared {
                        appeared.forget();
                    }
                    ("list", self.list().await)
                }
                Some(version) => tokio::select! {
                    biased;
                    ended = self.watch(&version) => ("watch", ended),
                    (appeared, parts) = next(appeared.as_mut()) => ("list", self.list_again(appeared, parts).await),
                },
            };
            match ended {
                Ok(()) if verb == "watch" => self.succeeded(),
                Ok(()) => {}
                Err(failure) => self.failed(verb, &failure).await,
            }
        }
    }

    /// Records that a watch works.
    fn succeeded(&mut self) {
        if self.throttle.record_success() {
            tracing::info!(
                kind = self.watched.kind(),
                namespace = self.list.scope.namespace(),
                "watch re-established"
            );
        }
        // What a watch misses while it fails, it shows once it goes on.
        if self.failures >= STALE && self.version.is_some() {
            self.observer.synced(self.list);
        }
        self.failures = 0;
    }

    /// Reports a failure and waits before the next attempt.
    async fn failed(&mut self, verb: &str, failure: &Failure) {
        // A watch cannot select any more once cert-manager is replaced by a version before 1.20; the list finds out.
        let is_unselectable = self.selects && failure.code == Some(400);
        if failure.is_expired() || is_unselectable {
            self.version = None;
        }
        let now = Transport::now();
        let wait = wait(self.failures, now.unix.subsec_nanos());
        let wait = wait.max(failure.retry_after.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        let error = failure.to_string();
        let is_synced = self.version.is_some() && self.failures < STALE;
        self.observer.failed(self.list, &error, is_synced);
        if self.throttle.record_failure(&error, now.monotonic) {
            tracing::warn!(
                kind = self.watched.kind(),
                namespace = self.list.scope.namespace(),
                error,
                "failed to {verb}; it is retried"
            );
        }
        self.pass_over(failure);
        self.observer.alive(self.list, wait);
        sleep(wait).await;
    }

    /// Reports a namespace as empty that may not be listed, and was not before: it has been deleted or its rights are
    /// missing, and the other namespaces must not wait for it.
    fn pass_over(&self, failure: &Failure) {
        let is_one_of_several = self.list.scope.namespace().is_some();
        if is_one_of_several && self.version.is_none() && matches!(failure.code, Some(403 | 404)) {
            let none = BTreeSet::new();
            self.drop_in.listed(self.list, &none);
            self.observer.observe(self.list.all(none));
        }
    }

    /// Lists all objects, page by page.
    async fn list(&mut self) -> Result<(), Failure> {
        let can_select = self.watched == Watched::Requests(RequestKind::CertificateRequest);
        self.selects = can_select && !self.drop_in.is_served();
        let mut seen = Seen::default();
        let mut next = None;
        loop {
            let params = ListParams {
                continue_token: next.take(),
                field_selector: self.selector(),
                ..ListParams::default()
            };
            let page = match self.page(&self.list.path(), params, &mut seen).await {
                // Asked again without the selector; a later list tries it anew, for cert-manager may be upgraded.
                Err(failure) if self.selects && failure.code == Some(400) => {
                    tracing::info!("this cert-manager cannot select requests by issuer group; listing all");
                    self.selects = false;
                    continue;
                }
                page => page?,
            };
            if page.next.is_empty() {
                self.unreadable.retain(|key, _| seen.unreadable.contains(key));
                self.drop_in.listed(self.list, &seen.readable);
                self.observer.observe(self.list.all(seen.readable));
                self.version = Some(page.resource_version);
                self.observer.synced(self.list);
                return Ok(());
            }
            next = Some(page.next);
        }
    }

    /// Lists parts again, so that requests are seen which were passed over.
    async fn list_again(&mut self, appeared: &mut Appeared<'_>, parts: Vec<Part>) -> Result<(), Failure> {
        for part in parts {
            let (path, selector) = match &part {
                Part::All => {
                    appeared.part_listed(part);
                    self.version = None;
                    return Ok(());
                }
                Part::Namespace(namespace) => (self.list.within(namespace).path(), self.selector()),
                Part::Signer(signer) => (self.list.path(), Some(format!("spec.signerName={signer}"))),
            };
            match self.list_part(&path, selector).await {
                Ok(()) => appeared.part_listed(part),
                Err(failure) => {
                    appeared.part_failed(part);
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Lists a part, as it was in the version from which the watch goes on: a request must not be seen in a version
    /// that is older than one that was seen before.
    async fn list_part(&mut self, path: &str, field_selector: Option<String>) -> Result<(), Failure> {
        let mut params = ListParams {
            field_selector,
            resource_version: self.version.clone(),
            version_match: Some(VersionMatch::Exact),
            ..ListParams::default()
        };
        loop {
            let page = self.page(path, params.clone(), &mut Seen::default()).await?;
            if page.next.is_empty() {
                return Ok(());
            }
            params.continue_token = Some(page.next);
        }
    }

    async fn page(&mut self, path: &str, params: ListParams, seen: &mut Seen) -> Result<Page, Failure> {
        self.observer.alive(self.list, EXCHANGE);
        let params = ListParams {
            limit: Some(PAGE),
            ..params
        };
        let request = Request::new(path).list(&params);
        let mut body = self.send(request.map_err(Failure::new)?).await?;
        let mut items = Items::default();
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            items.push(&data, |item| {
                // An item without metadata costs that item only.
                let _ = self.take(Json::Object(item), seen);
            });
            // The pieces may be there already, and decoding them takes a while.
            tokio::task::yield_now().await;
        }
        items.finish().map_err(Failure::new)
    }

    /// Watches from `version` until the watch ends.
    async fn watch(&mut self, version: &str) -> Result<(), Failure> {
        let params = WatchParams {
            field_selector: self.selector(),
            timeout: Some(WATCH),
            ..WatchParams::default()
        };
        let request = Request::new(self.list.path()).watch(&params, version);
        let request = request.map_err(Failure::new)?;
        let limit = Duration::from_secs(WATCH.into()) + MARGIN;
        let begun = Instant::now();
        let ended = timeout(limit, self.events(request)).await;
        ended.unwrap_or_else(|_| Err(Failure::new("no reply in time")))?;
        if begun.elapsed() < MARGIN && self.version.as_deref() == Some(version) {
            return Err(Failure::new("the watch ended at once"));
        }
        Ok(())
    }

    async fn events(&mut self, request: http::Request<Vec<u8>>) -> Result<(), Failure> {
        let mut body = self.send(request).await?;
        let mut line = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            let mut rest = &*data;
            while !rest.is_empty() {
                // Reading from memory does not fail.
                rest.read_until(b'\n', &mut line).unwrap_or_default();
                if line.ends_with(b"\n") {
                    self.event(&line)?;
                    line.clear();
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn event(&mut self, line: &[u8]) -> Result<(), Failure> {
        let json = Json::Event(line);
        let version = match &*event_type(line).map_err(Failure::new)? {
            "ERROR" => return Err(Failure::of(&json.decode().map_err(Failure::new)?)),
            "BOOKMARK" => json.meta().map_err(Failure::new)?.resource_version,
            "DELETED" => {
                let meta = json.meta().map_err(Failure::new)?;
                self.gone(self.watched.key(&meta));
                meta.resource_version
            }
            _ => self.take(json, &mut Seen::default()).map_err(Failure::new)?,
        };
        self.version = Some(version);
        self.succeeded();
        Ok(())
    }

    /// Passes an object on, and adds it to those seen; returns its version.
    ///
    /// # Errors
    ///
    /// Returns an error if the object has no metadata.
    fn take(&mut self, json: Json<'_>, seen: &mut Seen) -> serde_json::Result<String> {
        if let Some(version) = self.unneeded(json) {
            return Ok(version);
        }
        let error = match self.watched.decode(json) {
            Ok(Decoded { key, version, change }) => {
                self.unreadable.remove(&key);
                // The controller drops a finished request when it sees it, so there is no need to tell that it exists.
                let is_finished = matches!(&change, Change::Request(request) if request.is_terminal());
                let is_absent = matches!(&change, Change::IssuerGone(_) | Change::RequestGone(_));
                if !is_finished && !is_absent {
                    seen.readable.insert(key.clone());
                }
                self.observer.observe(change);
                if self.watched.is_drop_in() {
                    self.drop_in.note(key, !is_absent);
                }
                return Ok(version);
            }
            Err(error) => error,
        };
        let meta = json.meta().inspect_err(|_| {
            tracing::warn!(kind = self.watched.kind(), error, "ignored an object without metadata");
        })?;
        let key = self.watched.key(&meta);
        seen.unreadable.insert(key.clone());
        let version = meta.resource_version;
        if self.unreadable.get(&key) == Some(&version) {
            return Ok(version);
        }
        self.gone(key.clone());
        self.unreadable.insert(key.clone(), version.clone());
        self.observer.unreadable(Unreadable {
            watched: self.watched,
            key,
            uid: meta.uid,
            error,
        });
        Ok(version)
    }

    /// Returns the version of a request that nothing depends on. Only where cert-manager's issuers are served are there
    /// many such.
    fn unneeded(&self, json: Json<'_>) -> Option<String> {
        let Watched::Requests(kind) = self.watched else {
            return None;
        };
        if !self.drop_in.is_served() {
            return None;
        }
        let header = RequestHeader::read(kind, json).ok()?;
        (!self.observer.needs(&header)).then(|| header.into_version())
    }

    fn gone(&mut self, key: Key) {
        self.unreadable.remove(&key);
        if self.watched.is_drop_in() {
            self.drop_in.note(key.clone(), false);
        }
        if let Some(change) = gone(key) {
            self.observer.observe(change);
        }
    }

    fn selector(&self) -> Option<String> {
        self.selects.then(|| SELECTOR.to_owned())
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Body, Failure> {
        let response = self.client.send(request.map(Body::from)).await?;
        if response.status().is_success() {
            Ok(response.into_body())
        } else {
            Err(Failure::refused(response).await)
        }
    }
}

/// Resolves when parts of a list are due, if its objects depend on the drop-in issuers.
async fn next<'a, 'b>(appeared: Option<&'a mut Appeared<'b>>) -> (&'a mut Appeared<'b>, Vec<Part>) {
    match appeared {
        Some(appeared) => {
            let parts = appeared.next().await;
            (appeared, parts)
        }
        None => std::future::pending().await,
    }
}

/// Returns the time to wait after `failures` earlier ones: exponential, with `nanos` of a second as jitter.
fn wait(failures: u32, nanos: u32) -> Duration {
    let full = Duration::from_secs(1 << failures.min(5)).min(MAX_WAIT);
    full / 2 + full.mul_f64(f64::from(nanos) / 2e9)
}

#[cfg(test)]
mod tests;
