//! An API server with a log like etcd's: versions, optimistic conflicts, uids, watches that lag.

pub mod conformance;
mod object;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use issuer_api::CertificateRequest;
use issuer_core::Secret;
use issuer_core::access::SecretData;
use issuer_core::reconcile::Key;
use issuer_core::reference::{RequestKey, SecretRef};
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
    /// 400: the result would have another name.
    Name,
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
            Self::Name => 400,
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
    /// The number of each name that ever was, and how often the objects of that name were written.
    names: Arc<BTreeMap<Key, usize>>,
    writes: Vec<u64>,
    /// How many objects of each name there were.
    uids: Vec<u32>,
    revision: u64,
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

    /// Returns the number that the uid of the next object of a name has: a thousand times the name's number, and how
    /// many there were.
    pub fn next_uid(&self, key: &Key) -> u32 {
        let name = self.names.get(key).copied().unwrap_or(self.writes.len());
        let before = self.uids.get(name).copied().unwrap_or_default();
        1000 * u32::try_from(name).unwrap_or_default() + before + 1
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
        let uid = self.next_uid(&key);
        let name = self.number(&key);
        self.uids.get_mut(name).into_iter().for_each(|count| *count += 1);
        object.clear_status();
        let meta = object.meta_mut();
        meta.uid = Some(format!("uid-{uid}"));
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

    /// Applies a JSON merge patch to the `status` subresource. All else in it is ignored, the uid too, but for the
    /// resourceVersion, which must be that of the object where it is given.
    pub fn patch_status(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        of_version(&current, patch)?;
        let Some(status) = patch.get("status") else {
            return Ok(current);
        };
        let next = current.with_status(status).ok_or(Refusal::Invalid)?;
        Ok(self.replace(&current, next))
    }

    /// Applies a JSON merge patch to all but the status.
    pub fn patch(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        of_version(&current, patch)?;
        of_uid(&current, patch)?;
        let mut next = current.with_patch(patch).ok_or(Refusal::Invalid)?;
        if next.key() != *key {
            return Err(Refusal::Name);
        }
        let meta = next.meta_mut();
        meta.uid.clone_from(&current.meta().uid);
        meta.generation = current.meta().generation;
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
        let name = self.number(&key);
        let writes = self.writes.get_mut(name);
        let count = writes.map_or(0, |count| {
            *count += 1;
            *count
        });
        object.set_version(name, count);
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

    /// Returns the number of a name.
    fn number(&mut self, key: &Key) -> usize {
        if let Some(number) = self.names.get(key) {
            return *number;
        }
        let number = self.writes.len();
        Arc::make_mut(&mut self.names).insert(key.clone(), number);
        self.writes.push(0);
        self.uids.push(0);
        number
    }

    /// Returns how many objects of each name there were, and how often they were written.
    pub(crate) fn history(&self) -> (&[u32], &[u64]) {
        (&self.uids, &self.writes)
    }

    /// Lets the first thing that happened after a revision never have been seen.
    pub(crate) fn coalesce(&mut self, kind: Kind, revision: u64) {
        let log = &mut self.store_mut(kind).log;
        let first = log.partition_point(|event| event.revision <= revision);
        if log.len() > first + 1 {
            log.remove(first);
        }
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

/// Holds a patch against the version of the object that it is for
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>). An empty one is invalid.
fn of_version(object: &Object, patch: &Value) -> Result<(), Refusal> {
    match given(patch, "resourceVersion") {
        None => Ok(()),
        Some("") => Err(Refusal::Invalid),
        Some(version) if version == object.version() => Ok(()),
        Some(_) => Err(Refusal::Stale),
    }
}

/// Holds a patch against the uid of the object that it is for. Another uid is no conflict but an invalid change of an
/// immutable field; none is no change.
fn of_uid(object: &Object, patch: &Value) -> Result<(), Refusal> {
    match given(patch, "uid") {
        None | Some("") => Ok(()),
        Some(uid) if uid == object.uid() => Ok(()),
        Some(_) => Err(Refusal::Invalid),
    }
}

fn given<'p>(patch: &'p Value, field: &str) -> Option<&'p str> {
    patch.get("metadata")?.get(field)?.as_str()
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
    }
}
