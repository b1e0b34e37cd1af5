//! Requests at a steady pace while something happens to the controller.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::TryStreamExt as _;
use issuer_api::CertificateRequest;
use kube::ResourceExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};

use crate::issued::Issued;
use crate::pki::{Csr, Names};
use crate::servers::say;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// The time between two requests.
const PACE: Duration = Duration::from_millis(250);

/// How long requests are made before and after the event.
const CALM: Duration = Duration::from_secs(2);

/// The requests that were made during an event; all of them are issued.
pub(super) struct Load {
    requests: usize,
    signatures: usize,
    longest: Duration,
}

impl Load {
    /// Checks that no request waited longer.
    pub(super) fn ensure_within(&self, limit: Duration) -> anyhow::Result<()> {
        ensure!(
            self.longest <= limit,
            "a request waited for {:.1} s",
            self.longest.as_secs_f64()
        );
        Ok(())
    }

    /// Checks that each request was signed once.
    pub(super) fn ensure_signed_once(&self) -> anyhow::Result<()> {
        self.ensure_signed_again(0)
    }

    /// Checks that at most so many requests were signed once more, because the first signature was lost.
    pub(super) fn ensure_signed_again(&self, limit: usize) -> anyhow::Result<()> {
        ensure!(
            (self.requests..=self.requests + limit).contains(&self.signatures),
            "{} signatures for {} requests",
            self.signatures,
            self.requests
        );
        Ok(())
    }
}

/// Makes requests to the issuer `vault`, which signs on `path`, before, during and after `event`, and waits until all
/// are issued; fails if one is refused or `event` fails. The names of the requests begin with `name`.
pub(super) async fn under_load(
    test: &TestNamespace<'_>,
    path: &str,
    name: &str,
    event: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Load> {
    let csr = Csr::new(&Names::common("load.example.com"))?;
    let signed_before = test.signatures(path)?;
    let requests = Requests::default();
    let surrounded = async {
        tokio::time::sleep(CALM).await;
        event.await?;
        tokio::time::sleep(CALM).await;
        requests.over.set(true);
        anyhow::Ok(())
    };
    tokio::try_join!(
        requests.make(test, name, &csr),
        requests.observe(test, &csr),
        surrounded
    )?;
    let load = Load {
        requests: requests.made.borrow().len(),
        signatures: test.signatures(path)? - signed_before,
        longest: requests.longest(),
    };
    say(&format!(
        "{name}: {} requests, {} signatures, the longest wait {:.1} s",
        load.requests,
        load.signatures,
        load.longest.as_secs_f64()
    ));
    Ok(load)
}

#[derive(Default)]
struct Requests {
    /// When each was made.
    made: RefCell<BTreeMap<String, Instant>>,
    /// When each was seen to be issued.
    issued: RefCell<BTreeMap<String, Instant>>,
    /// Whether no more are made.
    over: Cell<bool>,
}

impl Requests {
    async fn make(&self, test: &TestNamespace<'_>, name: &str, csr: &Csr) -> anyhow::Result<()> {
        let mut pace = tokio::time::interval(PACE);
        while !self.over.get() {
            pace.tick().await;
            let request = format!("{name}-{}", self.made.borrow().len());
            self.made.borrow_mut().insert(request.clone(), Instant::now());
            test.request(&request, &csr.pem, Ask::default()).await?;
        }
        Ok(())
    }

    /// Watches the requests until all are issued.
    async fn observe(&self, test: &TestNamespace<'_>, csr: &Csr) -> anyhow::Result<()> {
        let api = test.api::<CertificateRequest>();
        let version = api
            .list_metadata(&ListParams::default())
            .await?
            .metadata
            .resource_version;
        let params = WatchParams::default();
        let mut events = pin!(
            api.watch(&params, &version.context("a list without a version")?)
                .await?
        );
        let mut deadline = None;
        while !self.over.get() || self.waiting() > 0 {
            if self.over.get() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + SOON);
                ensure!(Instant::now() < deadline, "{} requests are not issued", self.waiting());
            }
            // Without an event, the time has to be looked at again.
            let Ok(event) = tokio::time::timeout(PACE, events.try_next()).await else {
                continue;
            };
            match event?.context("the watch of the requests has ended")? {
                WatchEvent::Added(request) | WatchEvent::Modified(request) => self.note(&request, csr)?,
                WatchEvent::Error(status) => bail!("the watch of the requests: {}", status.message),
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
            }
        }
        Ok(())
    }

    fn note(&self, request: &CertificateRequest, csr: &Csr) -> anyhow::Result<()> {
        let name = request.name_any();
        let ready = request.condition("Ready").cloned();
        let reason = ready
            .as_ref()
            .and_then(|ready| ready.reason.as_deref())
            .unwrap_or_default();
        ensure!(
            !["Failed", "Denied"].contains(&reason),
            "request {name} is {reason}: {:?}",
            ready.as_ref().and_then(|ready| ready.message.as_deref())
        );
        if reason == "Issued" && self.made.borrow().contains_key(&name) {
            Issued::of(request)?.verify(&csr.spki)?;
            self.issued.borrow_mut().entry(name).or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.made.borrow().len() - self.issued.borrow().len()
    }

    fn longest(&self) -> Duration {
        let (made, issued) = (self.made.borrow(), self.issued.borrow());
        let times = issued
            .iter()
            .filter_map(|(name, at)| Some(at.duration_since(*made.get(name)?)));
        times.max().unwrap_or_default()
    }
}
