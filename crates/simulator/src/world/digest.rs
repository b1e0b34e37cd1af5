//! The digest by which the explorer recognizes a state.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher as _};

use fake_kube::{Kind, Object};

use super::{Slot, World};
use crate::digest::{Digest, EPOCH};
use crate::fixture;
use crate::record;

impl World {
    /// Returns a digest of the state without the number of faults on the way to it. Two worlds with equal digests have equal
    /// futures, apart from exact times.
    pub fn digest(&self) -> u128 {
        let mut digest = self.new_digest();
        self.add_present(&mut digest);
        (self.done, self.idle, self.built_in).hash(&mut digest);
        self.add_record(&mut digest);
        digest.value()
    }

    /// Returns a digest of the state without its record.
    pub fn digest_without_record(&self) -> u128 {
        let mut digest = self.new_digest();
        self.add_present(&mut digest);
        digest.value()
    }

    fn new_digest(&self) -> Digest<'_> {
        Digest::new(EPOCH + self.now).within(self.cluster.history())
    }

    /// Adds the records of all requests that exist or that a process has seen.
    fn add_record(&self, digest: &mut Digest<'_>) {
        let views = self.running().flat_map(|(_, process)| process.views.values());
        let all: BTreeSet<&str> = views.chain(self.requests()).map(|object| object.uid()).collect();
        for uid in all {
            uid.hash(digest);
            let record = self.record.request(uid);
            record
                .map(|request| {
                    let parts = (request.number, request.fixture, request.credit);
                    (parts, request.refused, request.unadmitted, request.unselected)
                })
                .hash(digest);
            let signs = record::number(uid).map(|csr| self.vaults.each_ref().map(|vault| vault.signs_of(csr)));
            signs.hash(digest);
        }
        self.record.namespaces_read.hash(digest);
        self.record.untold.hash(digest);
        self.record.kept.hash(digest);
        self.record.wrapping.hash(digest);
    }

    fn add_present(&self, digest: &mut Digest<'_>) {
        self.add_cluster(digest);
        self.vaults.iter().for_each(|vault| vault.digest(digest));
        // Processes are interchangeable, so their order does not count.
        let mut slots = self.slots.each_ref().map(|slot| self.digest_of_slot(slot));
        slots.sort_unstable();
        slots.hash(digest);
    }

    /// Adds the objects and Secrets. Versions stand for contents, and past events count only where a watch has yet to deliver
    /// them: see [`digest_of_slot`](Self::digest_of_slot).
    fn add_cluster(&self, digest: &mut Digest<'_>) {
        for kind in Kind::ALL {
            digest.write_usize(self.cluster.list(kind).count());
            for object in self.cluster.list(kind) {
                (object.uid(), object.version()).hash(digest);
                add_write_times(object, digest);
            }
        }
        for (_, secret) in self.cluster.secrets() {
            secret.resource_version.hash(digest);
        }
        for namespace in self.cluster.namespaces() {
            namespace.hash(digest);
        }
    }

    fn digest_of_slot(&self, slot: &Slot) -> u128 {
        let mut digest = self.new_digest();
        match slot {
            Ok(process) => {
                process.digest(self.now, self.cluster.history(), &mut digest);
                for kind in Kind::ALL {
                    let undelivered = self.cluster.watch(kind, process.cursor(kind));
                    for event in undelivered.into_iter().flatten() {
                        (event.change, event.object.uid(), event.object.version()).hash(&mut digest);
                        add_write_times(&event.object, &mut digest);
                    }
                }
            }
            Err(down) => down.hash(&mut digest),
        }
        digest.value()
    }
}

/// Adds the times of the last write and failure of the built-in controller, and of a write that is forged, which decide what
/// they mean to a process.
fn add_write_times(object: &Object, digest: &mut Digest<'_>) {
    let failure = match object {
        Object::Csr(csr) => fixture::built_in_failure(csr),
        Object::ClusterIssuer(_) | Object::DropInIssuer(_) | Object::Issuer(_) | Object::Request(_) => None,
    };
    let times = [fixture::built_in_write(object), fixture::forged_write(object), failure];
    for at in times.into_iter().flatten() {
        (EPOCH + at).hash(digest);
    }
}
