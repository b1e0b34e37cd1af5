//! The objects that exist while something is measured.

use issuer_api::{CertificateRequest, VaultIssuer};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::Point;
use crate::bench::stop_others;
use crate::pki::{Csr, Names};
use crate::servers::etcd::{Batch, Etcd, Stored};
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// Objects of a namespace, each a copy of one that the servers have made.
pub(super) struct Population<'a> {
    /// The namespace.
    pub(super) test: &'a TestNamespace<'a>,
    etcd: Etcd,
    requests: String,
    issuers: String,
    templates: Templates,
    now: Point,
}

/// The objects that are copied.
struct Templates {
    /// An issuer that is ready.
    issuer: Stored,
    /// An issuer whose server is out of reach.
    unready: Stored,
    /// A request that can be signed.
    approved: Stored,
    /// A request whose issuer is not ready, which its status says.
    waiting: Stored,
    /// A request that was signed.
    finished: Stored,
}

/// The issuer whose server is out of reach.
const UNREADY: &str = "unready";

impl<'a> Population<'a> {
    /// Makes the objects to be copied, and stops the controllers.
    pub(super) async fn prepare(test: &'a TestNamespace<'a>) -> anyhow::Result<Self> {
        test.permit_watch("approle").await?;
        let path = test.signer(json!({ "no_store": true })).await?;
        let auth = json!({ "path": "approle", "roleId": "none", "secretRef": { "name": "approle" } });
        let mut spec = test.spec(&path, json!({ "appRole": auth }));
        spec["server"] = json!("https://127.0.0.1:1");
        test.issuer(UNREADY, spec).await?;
        let csr = Csr::new(&Names::common("scale.example.com"))?;
        test.request("finished", &csr.pem, Ask::default()).await?;
        let of_unready = Ask {
            issuer: UNREADY,
            ..Ask::default()
        };
        test.request("waiting", &csr.pem, of_unready).await?;
        test.issued("finished", &csr, SOON).await?;
        test.pending("waiting").await?;
        test.unready(UNREADY, "VaultUnreachable", SOON).await?;
        stop_others(test.env).await?;
        test.request("approved", &csr.pem, Ask::default()).await?;

        let mut local = test.env.local_servers().await?;
        let [controller_manager, ..] = local.cluster.processes();
        // Its garbage collector would watch all the copies.
        controller_manager.stop()?;
        let etcd = local.cluster.etcd();
        drop(local);
        let requests = format!("cert-manager.io/certificaterequests/{}", test.namespace);
        let issuers = format!("vault-issuer.io/vaultissuers/{}", test.namespace);
        let templates = Templates {
            issuer: etcd.read(&issuers, "vault").await?,
            unready: etcd.read(&issuers, UNREADY).await?,
            approved: etcd.read(&requests, "approved").await?,
            waiting: etcd.read(&requests, "waiting").await?,
            finished: etcd.read(&requests, "finished").await?,
        };
        let all = test.api::<CertificateRequest>();
        all.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        test.api::<VaultIssuer>()
            .delete(UNREADY, &DeleteParams::default())
            .await?;
        let now = Point {
            issuers: 1,
            ..Point::default()
        };
        Ok(Self {
            test,
            etcd,
            requests,
            issuers,
            templates,
            now,
        })
    }

    /// Makes so many objects exist.
    pub(super) async fn set(&mut self, point: Point) -> anyhow::Result<()> {
        let Templates {
            issuer,
            unready,
            waiting,
            finished,
            ..
        } = &self.templates;
        let now = std::mem::replace(&mut self.now, point);
        let of_unready = |count: usize| usize::from(count > 0);
        self.adjust(&self.issuers, issuer, "copy", (now.issuers - 1, point.issuers - 1))
            .await?;
        let unready_ones = (of_unready(now.waiting), of_unready(point.waiting));
        if unready_ones.0 != unready_ones.1 {
            self.etcd.delete(&self.issuers, UNREADY).await?;
            let names = vec![UNREADY.to_owned(); unready_ones.1];
            self.etcd.copy(&self.issuers, unready, &names, Batch::Many).await?;
        }
        self.adjust(&self.requests, waiting, "waiting", (now.waiting, point.waiting))
            .await?;
        self.adjust(&self.requests, finished, "finished", (now.finished, point.finished))
            .await?;
        // The cache of the API server follows etcd.
        let requests = self.test.api::<CertificateRequest>();
        eventually(LATER, async || {
            Ok(requests.list(&ListParams::default().limit(1)).await?)
        })
        .await
        .map(drop)
    }

    async fn adjust(
        &self,
        folder: &str,
        object: &Stored,
        prefix: &str,
        (now, then): (usize, usize),
    ) -> anyhow::Result<()> {
        let begin = if then < now {
            self.etcd.delete(folder, &format!("{prefix}-")).await?;
            0
        } else {
            now
        };
        self.etcd
            .copy(folder, object, &names(prefix, begin..then), Batch::Many)
            .await
    }

    /// Makes so many requests exist that can be signed.
    pub(super) async fn approve(&self, prefix: &str, count: usize, batch: Batch) -> anyhow::Result<()> {
        let approved = &self.templates.approved;
        self.etcd
            .copy(&self.requests, approved, &names(prefix, 0..count), batch)
            .await
    }

    /// Deletes the requests with this prefix.
    pub(super) async fn delete(&self, prefix: &str) -> anyhow::Result<()> {
        self.etcd.delete(&self.requests, &format!("{prefix}-")).await
    }
}

fn names(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{prefix}-{number:06}")).collect()
}
