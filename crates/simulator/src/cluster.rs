//! An API server with a log like etcd's: versions, optimistic conflicts, uids, watches that lag.

mod object;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use issuer_api::CertificateRequest;
use issuer_core::Secret;
use issuer_core::reconcile::Key;
use issuer_core::reference::{RequestKey, SecretRef};
use issuer_core::session::SecretData;
use serde_json::Value;

pub use object::{Kind, Object};

/// Why the API server did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 409: there is one of the name already.
    Exists,
    /// 410: the revision is compacted.
    Gone,
    /// 422: the result is no such object, or would have another uid.
    Invalid,
    /// 404.
    NotFound,
    /// 409: the object has another version.
    Stale,
    /// 409: the object is another one of the same name.
    Uid,
}

impl Refusal {
    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Exists | Self::Stale | Self::Uid => 409,
            Self::Gone => 410,
            Self::Invalid => 422,
        }
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// The revision of the whole cluster that it made.
    pub revision: u64,
    /// What became of the object.
    pub change: Verb,
    /// The object after it; before it, if it is gone.
    pub object: Arc<Object>,
}

impl Hash for WatchEvent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.change, self.object.uid(), self.object.version()).hash(state);
    }
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// It is there.
    Added,
    /// It is gone.
    Deleted,
    /// It is another.
    Modified,
}

/// The objects of one kind and what became of them lately.
#[derive(Clone, Debug, Default)]
struct Store {
    objects: BTreeMap<Key, Arc<Object>>,
    log: VecDeque<WatchEvent>,
    /// Up to which revision the log is forgotten.
    compacted: u64,
}

/// The API server and all it holds.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    stores: [Store; 3],
    secrets: Arc<BTreeMap<SecretRef, SecretData>>,
    /// How often the object of a name was written, its namesakes before it included.
    writes: BTreeMap<Key, u64>,
    revision: u64,
    uids: u32,
}

impl Cluster {
    fn store(&self, kind: Kind) -> &Store {
        let [issuers, cluster_issuers, requests] = &self.stores;
        match kind {
            Kind::Issuers => issuers,
            Kind::ClusterIssuers => cluster_issuers,
            Kind::Requests => requests,
        }
    }

    fn store_mut(&mut self, kind: Kind) -> &mut Store {
        let [issuers, cluster_issuers, requests] = &mut self.stores;
        match kind {
            Kind::Issuers => issuers,
            Kind::ClusterIssuers => cluster_issuers,
            Kind::Requests => requests,
        }
    }

    /// Returns the revision of the whole cluster.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the number that the next object's uid has.
    pub fn next_uid(&self) -> u32 {
        self.uids + 1
    }

    /// Returns an object.
    pub fn get(&self, key: &Key) -> Result<&Arc<Object>, Refusal> {
        self.store(Kind::of(key)).objects.get(key).ok_or(Refusal::NotFound)
    }

    /// Returns a CertificateRequest.
    pub fn request(&self, key: &RequestKey) -> Option<&CertificateRequest> {
        self.get(&Key::Request(key.clone())).ok()?.request()
    }

    /// Returns all objects of a kind as they are now.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        self.store(kind).objects.values()
    }

    /// Returns what happened after a revision, oldest first.
    pub fn watch(&self, kind: Kind, since: u64) -> Result<impl Iterator<Item = &WatchEvent>, Refusal> {
        let store = self.store(kind);
        if since < store.compacted {
            return Err(Refusal::Gone);
        }
        let from = store.log.partition_point(|event| event.revision <= since);
        Ok(store.log.range(from..))
    }

    /// Forgets what happened up to a revision.
    pub fn compact(&mut self, kind: Kind, revision: u64) {
        let store = self.store_mut(kind);
        store.compacted = store.compacted.max(revision);
        while store.log.front().is_some_and(|event| event.revision <= revision) {
            store.log.pop_front();
        }
    }

    /// Tells whether there is anything to forget up to a revision.
    pub fn remembers(&self, kind: Kind, revision: u64) -> bool {
        self.store(kind)
            .log
            .front()
            .is_some_and(|event| event.revision <= revision)
    }

    /// Creates an object. Its status is dropped, as that of any kind with a status subresource.
    pub fn create(&mut self, mut object: Object) -> Result<Arc<Object>, Refusal> {
        let key = object.key();
        if self.get(&key).is_ok() {
            return Err(Refusal::Exists);
        }
        self.uids += 1;
        object.clear_status();
        let meta = object.meta_mut();
        meta.uid = Some(format!("uid-{}", self.uids));
        meta.generation = Some(1);
        Ok(self.put(Verb::Added, key, object))
    }

    /// Deletes an object, if it has this uid where one is given.
    pub fn delete(&mut self, key: &Key, uid: Option<&str>) -> Result<(), Refusal> {
        let object = Arc::clone(self.get(key)?);
        if uid.is_some_and(|uid| uid != object.uid()) {
            return Err(Refusal::Uid);
        }
        self.put(Verb::Deleted, key.clone(), Object::clone(&object));
        self.store_mut(Kind::of(key)).objects.remove(key);
        Ok(())
    }

    /// Applies a JSON merge patch to the `status` subresource. All else in it is ignored, but for the uid and the
    /// resourceVersion, which must be those of the object where they are given.
    pub fn patch_status(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        preconditions(&current, patch)?;
        let Some(status) = patch.get("status") else {
            return Ok(current);
        };
        let next = current.with_status(status).ok_or(Refusal::Invalid)?;
        Ok(self.replace(&current, next))
    }

    /// Applies a JSON merge patch to all but the status.
    pub fn patch(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        preconditions(&current, patch)?;
        let mut next = current.with_patch(patch).ok_or(Refusal::Invalid)?;
        if next.key() != *key {
            return Err(Refusal::Invalid);
        }
        if !next.same_spec(&current) {
            let generation = current.meta().generation.unwrap_or_default();
            next.meta_mut().generation = Some(generation + 1);
        }
        Ok(self.replace(&current, next))
    }

    /// Stores the next state of an object. One that changes nothing makes no new version.
    fn replace(&mut self, current: &Arc<Object>, next: Object) -> Arc<Object> {
        if **current == next {
            return Arc::clone(current);
        }
        self.put(Verb::Modified, next.key(), next)
    }

    fn put(&mut self, change: Verb, key: Key, mut object: Object) -> Arc<Object> {
        self.revision += 1;
        let writes = self.writes.entry(key.clone()).or_default();
        *writes += 1;
        object.set_version(*writes);
        let object = Arc::new(object);
        let revision = self.revision;
        let store = self.store_mut(Kind::of(&key));
        store.log.push_back(WatchEvent {
            revision,
            change,
            object: Arc::clone(&object),
        });
        store.objects.insert(key, Arc::clone(&object));
        object
    }

    /// Returns a Secret.
    pub fn secret(&self, secret: &SecretRef) -> Option<&SecretData> {
        self.secrets.get(secret)
    }

    /// Sets the one key of a Secret.
    pub fn set_secret(&mut self, secret: SecretRef, key: &str, value: &str) {
        let data = BTreeMap::from([(key.to_owned(), Secret::from(value))]);
        Arc::make_mut(&mut self.secrets).insert(
            secret,
            SecretData {
                resource_version: value.to_owned(),
                data,
            },
        );
    }

    /// Returns the names of all objects of a kind.
    pub fn keys(&self, kind: Kind) -> BTreeSet<Key> {
        self.store(kind).objects.keys().cloned().collect()
    }
}

/// Holds a patch against the uid and version of the object that it is for.
///
/// The version comes first: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>. Another
/// uid is no conflict but an invalid change of an immutable field.
fn preconditions(object: &Object, patch: &Value) -> Result<(), Refusal> {
    let given = |field: &str| {
        patch
            .get("metadata")
            .and_then(|meta| meta.get(field))
            .and_then(Value::as_str)
    };
    if given("resourceVersion").is_some_and(|version| !version.is_empty() && version != object.version()) {
        return Err(Refusal::Stale);
    }
    if given("uid").is_some_and(|uid| !uid.is_empty() && uid != object.uid()) {
        return Err(Refusal::Invalid);
    }
    Ok(())
}

impl Hash for Cluster {
    /// Versions stand for contents; what happened counts only as far as a watch has yet to tell it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for store in &self.stores {
            state.write_usize(store.objects.len());
            for object in store.objects.values() {
                (object.uid(), object.version()).hash(state);
            }
        }
        for secret in self.secrets.values() {
            secret.resource_version.hash(state);
        }
        self.uids.hash(state);
    }
}
