//! A pure model of the Kubernetes API server: resource versions, optimistic concurrency, uids, watches with a history.
//!
//! [`FakeKube`] holds the kinds that the controller watches, and the Secrets and labels of namespaces that it reads. Like
//! `fake-vault` it is plain data without IO or clock, so a simulator clones it at every branch. With the feature
//! `conformance` it can be compared with a real API server.

#[cfg(feature = "conformance")]
pub mod conformance;
mod csr;
mod managed;
mod object;
mod patch;
mod status;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use issuer_api::CertificateRequest;
use issuer_core::Secret;
use issuer_core::access::SecretData;
use issuer_core::reconcile::{Key, PatchKind, StatusPatch};
use issuer_core::reference::{RequestKey, SecretRef};
use issuer_core::target::NamespaceLabels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use csr::Subresource;
pub use managed::{CONTROLLER, ready_managers};
pub use object::{Kind, Object, PerKind};
use store::Store;
pub use store::{Verb, WatchEvent};

/// Why the API server refused an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 409: an object of this name exists already.
    Exists,
    /// 410: the revision is compacted.
    Gone,
    /// 422: the result does not fit the schema, or changes the uid.
    Invalid,
    /// 400: the name in the body is not that of the URL.
    Name,
    /// 404.
    NotFound,
    /// 409: another manager owns a field that has another value.
    Owned,
    /// 409: the resourceVersion is not the current one.
    Stale,
    /// 409: the object has another uid.
    Uid,
}

impl Refusal {
    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Name => 400,
            Self::NotFound => 404,
            Self::Exists | Self::Owned | Self::Stale | Self::Uid => 409,
            Self::Gone => 410,
            Self::Invalid => 422,
        }
    }
}

/// The API server and its contents.
#[derive(Clone, Debug, Default)]
pub struct FakeKube {
    stores: PerKind<Arc<Store>>,
    secrets: Arc<BTreeMap<SecretRef, SecretData>>,
    namespaces: Arc<BTreeMap<String, NamespaceLabels>>,
    /// Numbers every name that was ever used; the number is the index into `writes` and `uids`.
    names: Arc<BTreeMap<Key, usize>>,
    /// How often objects of each name were written.
    writes: Vec<u64>,
    /// How many objects of each name were created.
    uids: Vec<u32>,
    revision: u64,
}

impl FakeKube {
    fn store(&self, kind: Kind) -> &Store {
        self.stores.get(kind)
    }

    fn store_mut(&mut self, kind: Kind) -> &mut Store {
        Arc::make_mut(self.stores.get_mut(kind))
    }

    /// Returns the revision of the whole cluster.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the number in the uid of the next object of a name: a thousand times the number of the name, plus a
    /// counter.
    pub fn next_uid(&self, key: &Key) -> u32 {
        let name = self.names.get(key).copied().unwrap_or(self.writes.len());
        let before = self.uids.get(name).copied().unwrap_or_default();
        1000 * u32::try_from(name).unwrap_or_default() + before + 1
    }

    /// Returns an object.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`].
    pub fn get(&self, key: &Key) -> Result<&Arc<Object>, Refusal> {
        self.store(Kind::of(key)).objects.get(key).ok_or(Refusal::NotFound)
    }

    /// Returns a CertificateRequest.
    pub fn request(&self, key: &RequestKey) -> Option<&CertificateRequest> {
        self.get(&Key::Request(key.clone())).ok()?.request()
    }

    /// Returns all objects of a kind.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        self.store(kind).objects.values()
    }

    /// Returns the names of all objects of a kind.
    pub fn keys(&self, kind: Kind) -> BTreeSet<Key> {
        self.store(kind).objects.keys().cloned().collect()
    }

    /// Returns the events after a revision, oldest first.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`] if the revision is compacted.
    pub fn watch(&self, kind: Kind, since: u64) -> Result<impl Iterator<Item = &WatchEvent>, Refusal> {
        self.store(kind).since(since)
    }

    /// Forgets the events up to a revision.
    pub fn compact(&mut self, kind: Kind, revision: u64) {
        self.store_mut(kind).compact(revision);
    }

    /// Returns `true` if compaction up to a revision would forget an event.
    pub fn would_forget(&self, kind: Kind, revision: u64) -> bool {
        self.store(kind).would_forget(revision)
    }

    /// Drops the first event after a revision if a later one follows, as if the watch had started between them.
    pub fn coalesce(&mut self, kind: Kind, revision: u64) {
        self.store_mut(kind).coalesce(revision);
    }

    /// Creates an object. Its status is dropped, because every kind here has a status subresource.
    ///
    /// # Errors
    ///
    /// [`Refusal::Exists`], [`Refusal::Invalid`].
    pub fn create(&mut self, mut object: Object) -> Result<Arc<Object>, Refusal> {
        let key = object.key();
        if self.get(&key).is_ok() {
            return Err(Refusal::Exists);
        }
        // Built-in kinds whose spec does not change have no generation.
        let generation = match &object {
            Object::Csr(csr) if !csr::is_valid(csr) => return Err(Refusal::Invalid),
            Object::Csr(_) => None,
            Object::ClusterIssuer(_) | Object::DropInIssuer(_) | Object::Issuer(_) | Object::Request(_) => Some(1),
        };
        let uid = self.next_uid(&key);
        let name = self.number(&key);
        self.uids.get_mut(name).into_iter().for_each(|count| *count += 1);
        object.clear_status();
        managed::create(&mut object);
        let meta = object.meta_mut();
        meta.uid = Some(format!("uid-{uid}"));
        meta.generation = generation;
        Ok(self.put(Verb::Added, key, object))
    }

    /// Deletes an object, with a precondition on its uid if one is given.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::Uid`].
    pub fn delete(&mut self, key: &Key, uid: Option<&str>) -> Result<(), Refusal> {
        let object = Arc::clone(self.get(key)?);
        if uid.is_some_and(|uid| uid != object.uid()) {
            return Err(Refusal::Uid);
        }
        self.put(Verb::Deleted, key.clone(), Object::clone(&object));
        Ok(())
    }

    /// Applies a JSON merge patch to the `status` subresource. Everything else in the patch is ignored, the uid
    /// included, except the resourceVersion, which must be the current one where it is given. A CertificateSigningRequest
    /// has stricter rules.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::Stale`], [`Refusal::Invalid`].
    pub fn patch_status(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        let next = status::patched(&current, patch)?;
        Ok(self.replace(&current, next))
    }

    /// Applies a JSON merge patch to the `approval` subresource of a CertificateSigningRequest.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::Stale`], [`Refusal::Invalid`].
    pub fn patch_approval(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        let next = csr::patched(&current, patch, Subresource::Approval)?;
        Ok(self.replace(&current, next))
    }

    /// Replaces the status: a PUT to the `status` subresource. Everything else in the object is ignored, except the uid and
    /// the resourceVersion, which must be the current ones; the uid may be missing.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::Stale`], [`Refusal::Uid`], [`Refusal::Invalid`].
    pub fn replace_status(&mut self, key: &Key, object: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        patch::check_replacement(&current, object)?;
        let mut next = Object::clone(&current);
        next.clear_status();
        if let Some(status) = object.get("status") {
            next = next.with_status(status).ok_or(Refusal::Invalid)?;
        }
        Ok(self.replace(&current, next))
    }

    /// Applies a status by server-side apply, as the field manager [`CONTROLLER`]: of an issuer's conditions, it sets `Ready`
    /// and keeps all others. Everything else is ignored, the uid included, except the resourceVersion, which must be the
    /// current one where it is given.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::Stale`], [`Refusal::Invalid`], and [`Refusal::Owned`] unless
    /// `force`.
    pub fn apply_status(&mut self, key: &Key, body: &Value, force: bool) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        patch::check_version(&current, body)?;
        let next = managed::apply(&current, body, force)?;
        Ok(self.replace(&current, next))
    }

    /// Applies a merge patch to the status like [`patch_status`](Self::patch_status), as another field manager at this time:
    /// the managed fields of the object show it, unless it is a CertificateSigningRequest without managers, or only its
    /// conditions change.
    ///
    /// # Errors
    ///
    /// Those of [`patch_status`](Self::patch_status).
    pub fn patch_status_as(
        &mut self,
        key: &Key,
        patch: &Value,
        (manager, at): (&str, Time),
    ) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        let next = status::patched(&current, patch)?;
        let next = managed::update(&current, next, manager, at);
        Ok(self.replace(&current, next))
    }

    /// Writes a status as the controller asks for it.
    ///
    /// # Errors
    ///
    /// Those of [`patch_status`](Self::patch_status), [`replace_status`](Self::replace_status) and
    /// [`apply_status`](Self::apply_status).
    pub fn write_status(&mut self, write: &StatusPatch) -> Result<Arc<Object>, Refusal> {
        let body = write.value();
        match write.kind {
            PatchKind::Apply { force } => self.apply_status(&write.of, &body, force),
            PatchKind::Merge => self.patch_status(&write.of, &body),
            PatchKind::Replace => self.replace_status(&write.of, &body),
        }
    }

    /// Applies a JSON merge patch to everything but the status; the spec of a CertificateSigningRequest does not change.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`], [`Refusal::Stale`], [`Refusal::Invalid`], [`Refusal::Name`].
    pub fn patch(&mut self, key: &Key, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let current = Arc::clone(self.get(key)?);
        patch::check_version(&current, patch)?;
        patch::check_uid(&current, patch)?;
        let mut next = current.with_patch(patch).ok_or(Refusal::Invalid)?;
        if let (Object::Csr(next), Object::Csr(current)) = (&mut next, &*current) {
            next.spec = current.spec.clone();
        }
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
        let managers = managed::digest(object.meta());
        object.set_version(name, count, managers);
        let object = Arc::new(object);
        let event = WatchEvent {
            revision: self.revision,
            change,
            object: Arc::clone(&object),
        };
        self.store_mut(Kind::of(&key)).apply(key, event);
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

    /// Returns, by the number of each name, how many objects were created and how often they were written.
    pub fn history(&self) -> (&[u32], &[u64]) {
        (&self.uids, &self.writes)
    }

    /// Returns all Secrets.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretRef, &SecretData)> {
        self.secrets.iter()
    }

    /// Returns a Secret.
    pub fn secret(&self, secret: &SecretRef) -> Option<&SecretData> {
        self.secrets.get(secret)
    }

    /// Returns all namespaces that were created.
    pub fn namespaces(&self) -> impl Iterator<Item = (&String, &NamespaceLabels)> {
        self.namespaces.iter()
    }

    /// Returns the labels of a namespace; `None` if it was never created.
    pub fn namespace(&self, name: &str) -> Option<&NamespaceLabels> {
        self.namespaces.get(name)
    }

    /// Creates a namespace, or replaces its labels.
    pub fn set_namespace(&mut self, name: &str, labels: NamespaceLabels) {
        Arc::make_mut(&mut self.namespaces).insert(name.to_owned(), labels);
    }

    /// Creates or replaces a Secret with a single key.
    pub fn set_secret(&mut self, secret: SecretRef, key: &str, value: &str) {
        let data = SecretData {
            resource_version: value.to_owned(),
            data: BTreeMap::from([(key.to_owned(), Secret::from(value))]),
            servers: None,
        };
        Arc::make_mut(&mut self.secrets).insert(secret, data);
    }
}
