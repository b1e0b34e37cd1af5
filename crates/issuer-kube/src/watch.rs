use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use issuer_api::{CertificateRequest, VaultClusterIssuer, VaultIssuer};
use issuer_core::reconcile::{Change, ObservedIssuer};
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey};
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Error, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::Cause;
use crate::driver::Shared;

/// The requests of our group; the API server sends no other.
const SELECTOR: &str = "spec.issuerRef.group=vault-issuer.io";

/// Watches issuers and requests for ever, and tells the core what they are.
pub(crate) async fn watch(client: Client, shared: Arc<Shared>) {
    let requests = async {
        let config = watcher::Config::default();
        let config = match selects(&client).await {
            true => config.fields(SELECTOR),
            false => config,
        };
        follow::<Requests>(&client, config, &shared).await;
    };
    let issuers = follow::<NamespacedIssuers>(&client, watcher::Config::default(), &shared);
    let cluster_issuers = follow::<ClusterIssuers>(&client, watcher::Config::default(), &shared);
    futures::future::join3(requests, issuers, cluster_issuers).await;
}

/// Tells whether the API server can select requests by their issuer's group, as it can since cert-manager 1.20.
async fn selects(client: &Client) -> bool {
    let api: Api<CertificateRequest> = Api::all(client.clone());
    let params = ListParams::default().fields(SELECTOR).limit(1);
    loop {
        match api.list_metadata(&params).await {
            Ok(_) => return true,
            Err(Error::Api(status)) if status.code == 400 => {
                tracing::info!("this cert-manager cannot select requests by issuer group; watching all");
                return false;
            }
            Err(error) => {
                tracing::warn!(error = %Cause(&error), "CertificateRequests cannot be listed; trying again");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
}

/// How the objects of a watch are told to the core.
trait Watched {
    type Object: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static;
    type Key: Ord;

    fn key(object: &Self::Object) -> Self::Key;
    fn there(object: Self::Object) -> Change;
    fn gone(object: &Self::Object) -> Change;
    fn all(keys: BTreeSet<Self::Key>) -> Change;
}

async fn follow<W: Watched>(client: &Client, config: watcher::Config, shared: &Shared) {
    let api: Api<W::Object> = Api::all(client.clone());
    let events = pin!(watcher::watcher(api, config).default_backoff());
    tell::<W>(events, shared).await;
}

async fn tell<W: Watched>(mut events: impl Stream<Item = watcher::Result<Event<W::Object>>> + Unpin, shared: &Shared) {
    let mut seen = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => seen.clear(),
            Ok(Event::InitApply(object)) => {
                seen.insert(W::key(&object));
                shared.observe(W::there(object));
            }
            Ok(Event::InitDone) => shared.observe(W::all(std::mem::take(&mut seen))),
            Ok(Event::Apply(object)) => shared.observe(W::there(object)),
            Ok(Event::Delete(object)) => shared.observe(W::gone(&object)),
            Err(error) => {
                let kind = W::Object::kind(&());
                tracing::warn!(%kind, %error, "a watch broke; it is taken up again");
            }
        }
    }
}

struct Requests;

impl Watched for Requests {
    type Object = CertificateRequest;
    type Key = RequestKey;

    fn key(object: &CertificateRequest) -> RequestKey {
        RequestKey {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }

    fn there(mut object: CertificateRequest) -> Change {
        object.metadata.managed_fields = None;
        Change::Request(object)
    }

    fn gone(object: &CertificateRequest) -> Change {
        Change::RequestGone(Self::key(object))
    }

    fn all(keys: BTreeSet<RequestKey>) -> Change {
        Change::Requests(keys)
    }
}

struct NamespacedIssuers;

impl Watched for NamespacedIssuers {
    type Object = VaultIssuer;
    type Key = IssuerKey;

    fn key(object: &VaultIssuer) -> IssuerKey {
        let namespace = object.namespace().unwrap_or_default();
        IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace,
            name: object.name_any(),
        }
    }

    fn there(object: VaultIssuer) -> Change {
        Change::Issuer(Self::key(&object), ObservedIssuer::from(object))
    }

    fn gone(object: &VaultIssuer) -> Change {
        Change::IssuerGone(Self::key(object))
    }

    fn all(keys: BTreeSet<IssuerKey>) -> Change {
        Change::Issuers(IssuerKind::Namespaced, keys)
    }
}

struct ClusterIssuers;

impl Watched for ClusterIssuers {
    type Object = VaultClusterIssuer;
    type Key = IssuerKey;

    fn key(object: &VaultClusterIssuer) -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::Cluster,
            namespace: String::new(),
            name: object.name_any(),
        }
    }

    fn there(object: VaultClusterIssuer) -> Change {
        Change::Issuer(Self::key(&object), ObservedIssuer::from(object))
    }

    fn gone(object: &VaultClusterIssuer) -> Change {
        Change::IssuerGone(Self::key(object))
    }

    fn all(keys: BTreeSet<IssuerKey>) -> Change {
        Change::Issuers(IssuerKind::Cluster, keys)
    }
}
