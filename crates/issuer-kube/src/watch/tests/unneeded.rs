//! Requests of other controllers' issuers, which are not decoded.

use issuer_core::Now;
use issuer_core::reconcile::{Config, Controller, DropIn, IssuerStatusMode};

use super::*;
use crate::fixture::config;

/// A controller that serves cert-manager's issuers, and the names of the requests that were decoded for it.
struct Serving {
    controller: Mutex<Controller>,
    decoded: Mutex<Vec<String>>,
}

impl Serving {
    fn new() -> Self {
        let drop_in = DropIn {
            cluster_resource_namespace: String::new(),
            issuer_status: IssuerStatusMode::Leave,
        };
        let config = Config {
            drop_in: Some(drop_in),
            kubernetes_csrs: true,
            ..config()
        };
        Self {
            controller: Mutex::new(Controller::new(config, 0)),
            decoded: Mutex::default(),
        }
    }

    /// Follows cert-manager's Issuer `vault`, and these requests of a kind.
    async fn follow(self, watched: Watched, requests: &[Value]) -> (Controller, Vec<String>) {
        let servers = [
            Server::new([list(requests, "1", "")]),
            Server::new([list(&[issuer("vault", "vault")], "2", "")]),
        ];
        let lists = [watched, Watched::Issuers(IssuerKind::DropInNamespaced)].map(everywhere);
        let (drop_in, clients) = (DropInIssuers::new(&lists), servers.each_ref().map(Server::client));
        let follow = |index: usize| Reflector::new(&clients[index], &lists[index], &self, &drop_in).run();
        let both = futures::future::join(follow(0), follow(1));
        assert!(timeout(Duration::from_secs(20), both).await.is_err());
        (
            self.controller.into_inner().unwrap(),
            self.decoded.into_inner().unwrap(),
        )
    }
}

impl Observer for Serving {
    fn observe(&self, change: Change) {
        if let Change::Request(request) = &change {
            self.decoded.lock().unwrap().push(request.key().name.to_string());
        }
        self.controller.lock().unwrap().observe(Now::default(), change);
    }

    fn needs(&self, request: &RequestHeader) -> bool {
        let controller = self.controller.lock().unwrap();
        controller.needs(&request.key(), request.uid(), request.issuer())
    }

    fn unreadable(&self, object: Unreadable) {
        panic!("{object:?}");
    }

    fn alive(&self, _: &WatchedList, _: Duration) {}

    fn synced(&self, _: &WatchedList) {}

    fn failed(&self, _: &WatchedList, error: &str, _: bool) {
        panic!("{error}");
    }
}

/// Most requests of a cluster may be of ACME issuers.
#[tokio::test(start_paused = true)]
async fn requests_of_other_issuers_are_not_decoded() {
    let of_acme = |number: usize| {
        // What is decoded of this would be an error.
        let mut request = odd(&format!("acme-{number}"), "1");
        request["spec"]["issuerRef"] = json!({ "name": "acme", "kind": "Issuer", "group": "cert-manager.io" });
        request
    };
    let ours = request("web", "1");
    let mut all: Vec<_> = (0..10_000).map(of_acme).collect();
    all.insert(5_000, ours.clone());
    let (alone, _) = Serving::new().follow(REQUESTS, &[ours]).await;
    let (among_others, decoded) = Serving::new().follow(REQUESTS, &all).await;
    assert_eq!(decoded, ["web"]);
    assert_eq!(among_others.tracked(), 1);
    assert_eq!(among_others, alone, "something is kept of another issuer's request");
}

#[tokio::test(start_paused = true)]
async fn csrs_of_other_issuers_are_not_decoded() {
    let csr = |name: &str, signer: &str, request: Value| {
        json!({
            "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1" },
            "spec": { "request": request, "signerName": signer },
        })
    };
    // What is decoded of 7 would be an error.
    let all = [
        csr("acme", "issuers.cert-manager.io/ns.acme", json!(7)),
        csr("web", "issuers.cert-manager.io/ns.vault", json!("QQ==")),
        csr("node", "kubernetes.io/kubelet-serving", json!(7)),
        csr("cluster", "clusterissuers.cert-manager.io/vault", json!(7)),
    ];
    let (controller, decoded) = Serving::new().follow(CSRS, &all).await;
    assert_eq!(decoded, ["web"]);
    assert_eq!(controller.tracked(), 1);
}
