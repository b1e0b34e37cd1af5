//! Delivers watch events and lists to the controller.

use std::collections::BTreeSet;
use std::sync::Arc;

use fake_kube::{CONTROLLER, Kind, Object, Verb, ready_managers};
use issuer_api::VaultIssuer;
use issuer_core::reconcile::{Change, Key, ObservedIssuer, ReadyWriters};
use issuer_core::reference::{IssuerKey, IssuerKind, ListScope, RequestKey, RequestKind};

use super::{Checked, World};
use crate::fixture;
use crate::mutant;
use crate::process::Process;
use crate::transition::ProcessId;

impl World {
    /// Delivers the next event of a watch.
    pub(super) fn deliver_event(&mut self, id: ProcessId, process: &mut Process, kind: Kind) -> Checked {
        let event = self
            .cluster
            .watch(kind, process.cursor(kind))
            .ok()
            .and_then(|mut events| events.next().cloned());
        let Some(event) = event else {
            return Ok(());
        };
        process.set_cursor(kind, event.revision);
        let change = match event.change {
            Verb::Added | Verb::Modified => {
                self.record_view(process, &event.object);
                changed(&event.object)
            }
            Verb::Deleted => deleted(&event.object),
        };
        self.observe(process, change);
        if kind == Kind::DropInIssuers && event.change == Verb::Added {
            // Nothing was kept of its requests, so the driver lists them again.
            self.list(process, Kind::Requests);
            if self.setup.config.kubernetes_csrs {
                self.list(process, Kind::Csrs);
            }
        }
        self.run(id, process)
    }

    /// Delivers all events of issuers if only requests are explored.
    pub(super) fn deliver_issuers(&mut self) -> Checked {
        if !self.setup.requests_only {
            return Ok(());
        }
        for kind in [Kind::Issuers, Kind::ClusterIssuers, Kind::DropInIssuers] {
            for id in ProcessId::ALL {
                while self.process(id).is_some_and(|process| self.lags(process, kind)) {
                    self.with_process(id, |world, process| world.deliver_event(id, process, kind))?;
                }
            }
        }
        Ok(())
    }

    /// Starts a watch with a list.
    pub(super) fn list(&mut self, process: &mut Process, kind: Kind) {
        let objects: Vec<_> = self.cluster.list(kind).cloned().collect();
        for object in &objects {
            self.record_view(process, object);
            self.observe(process, changed(object));
        }
        self.observe(process, listed(kind, self.cluster.keys(kind)));
        if kind == Kind::DropInIssuers {
            // The simulated cluster has no ClusterIssuer of cert-manager's.
            self.observe(
                process,
                Change::Issuers(IssuerKind::DropInCluster, ListScope::Cluster, BTreeSet::new()),
            );
        }
        process.set_cursor(kind, self.cluster.revision());
    }

    /// Records that a process has seen an object.
    fn record_view(&mut self, process: &mut Process, object: &Arc<Object>) {
        process.view(object, self.now);
        let (Some(spec), Some(issuer)) = (object.spec(), self.issuer_of(&object.key())) else {
            return;
        };
        let host = fixture::HOSTS.iter().position(|host| spec.server.contains(host));
        process.servers.extend(host.map(|host| (issuer, host)));
        let version = (object.uid().to_owned(), object.meta().generation);
        let before = process.specs.insert(issuer, version.clone());
        if before.is_some_and(|before| before != version) {
            Arc::make_mut(&mut self.record).change(issuer, self.now);
        }
    }

    fn observe(&self, process: &mut Process, change: Change) {
        let now = process.clock.now(self.now);
        let change = match self.setup.mutant {
            Some(mutant) => mutant::observe(mutant, change),
            None => Some(change),
        };
        if let Some(change) = change {
            process.controller.observe(now, change);
        }
    }
}

fn changed(object: &Arc<Object>) -> Change {
    let key = object.key();
    match (Object::clone(object), key) {
        (Object::ClusterIssuer(issuer), Key::Issuer(key)) => Change::Issuer(key, ObservedIssuer::from(issuer)),
        (Object::Issuer(issuer), Key::Issuer(key)) => Change::Issuer(key, ObservedIssuer::from(issuer)),
        (Object::DropInIssuer(issuer), Key::Issuer(key)) => Change::Issuer(key, drop_in(issuer)),
        (Object::Request(request), _) => Change::Request(request.into()),
        (Object::Csr(csr), _) => Change::Request(csr.into()),
        (Object::ClusterIssuer(_) | Object::DropInIssuer(_) | Object::Issuer(_), _) => nothing(),
    }
}

/// Returns one of cert-manager's issuers like the driver, with the writers of its condition Ready.
fn drop_in(issuer: VaultIssuer) -> ObservedIssuer {
    let ready_writers = ReadyWriters {
        ours: ready_managers(&issuer.metadata).any(|manager| manager == CONTROLLER),
        others: ready_managers(&issuer.metadata).any(|manager| manager != CONTROLLER),
    };
    ObservedIssuer {
        ready_writers,
        ..ObservedIssuer::from(issuer)
    }
}

fn deleted(object: &Object) -> Change {
    match object.key() {
        Key::Issuer(key) => Change::IssuerGone(key),
        Key::Request(key) => Change::RequestGone(key),
        Key::Token(_) => nothing(),
    }
}

/// A change that no object makes.
fn nothing() -> Change {
    Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new())
}

fn listed(kind: Kind, keys: BTreeSet<Key>) -> Change {
    let issuers = |keys: BTreeSet<Key>| -> BTreeSet<IssuerKey> {
        keys.into_iter()
            .filter_map(|key| if let Key::Issuer(key) = key { Some(key) } else { None })
            .collect()
    };
    let requests = |keys: BTreeSet<Key>| -> BTreeSet<RequestKey> {
        keys.into_iter()
            .filter_map(|key| if let Key::Request(key) = key { Some(key) } else { None })
            .collect()
    };
    match kind {
        Kind::Issuers => Change::Issuers(IssuerKind::Namespaced, ListScope::Cluster, issuers(keys)),
        Kind::ClusterIssuers => Change::Issuers(IssuerKind::Cluster, ListScope::Cluster, issuers(keys)),
        Kind::DropInIssuers => Change::Issuers(IssuerKind::DropInNamespaced, ListScope::Cluster, issuers(keys)),
        Kind::Requests => Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, requests(keys)),
        Kind::Csrs => Change::Requests(
            RequestKind::CertificateSigningRequest,
            ListScope::Cluster,
            requests(keys),
        ),
    }
}
