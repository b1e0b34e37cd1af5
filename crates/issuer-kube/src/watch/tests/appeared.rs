//! Requests that are listed again because an issuer of cert-manager's has appeared.

use super::*;

const ISSUERS: Watched = Watched::Issuers(IssuerKind::DropInNamespaced);

const CLUSTER_ISSUERS: Watched = Watched::Issuers(IssuerKind::DropInCluster);

/// Follows issuers of a kind, whose watch shows `shown`, and a list of requests; returns what is asked about the requests.
async fn asked_after(issuers: Watched, requests: WatchedList, shown: &[(&str, Value)]) -> Vec<String> {
    let issuer_server = Server::new([list(&[], "2", ""), open(shown)]);
    let replies = [list(&[], "1", ""), open(&[]), list(&[], "5", ""), open(&[])];
    let request_server = Server::new(replies);
    let lists = [requests, everywhere(issuers)];
    let (drop_in, record) = (DropInIssuers::new(&lists), Record::default());
    let clients = [request_server.client(), issuer_server.client()];
    let follow = |index: usize| Reflector::new(&clients[index], &lists[index], &record, &drop_in).run();
    let both = futures::future::join(follow(0), follow(1));
    assert!(timeout(Duration::from_secs(20), both).await.is_err());
    request_server.asked()
}

/// Returns what is asked about CertificateRequests of the whole cluster.
async fn lists_after(issuers: Watched, shown: &[(&str, Value)]) -> Vec<String> {
    asked_after(issuers, everywhere(REQUESTS), shown).await
}

fn path(uri: &str) -> &str {
    uri.split('?').next().unwrap()
}

fn cluster_issuer(name: &str) -> Value {
    let mut issuer = issuer(name, "vault");
    issuer["metadata"].as_object_mut().unwrap().remove("namespace");
    issuer
}

#[tokio::test(start_paused = true)]
async fn issuer_costs_list_of_its_namespace() {
    let asked = lists_after(ISSUERS, &[("ADDED", issuer("vault", "vault"))]).await;
    let all = "/apis/cert-manager.io/v1/certificaterequests";
    let own = "/apis/cert-manager.io/v1/namespaces/ns/certificaterequests";
    let paths: Vec<_> = asked.iter().map(|uri| path(uri)).collect();
    assert_eq!(paths, [all, all, own, all], "{asked:?}");
    assert!(asked.iter().all(|uri| !uri.contains("fieldSelector")), "{asked:?}");
    // As of the version that the watch had reached, and from which it goes on: nothing is seen twice or backwards.
    assert!(
        asked[2].contains("resourceVersion=1&resourceVersionMatch=Exact"),
        "{asked:?}"
    );
    assert!(
        asked[3].contains("watch=true") && asked[3].contains("resourceVersion=1"),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn cluster_issuer_costs_whole_list() {
    let asked = lists_after(CLUSTER_ISSUERS, &[("ADDED", cluster_issuer("vault"))]).await;
    let lists: Vec<_> = asked.iter().map(|uri| uri.contains("limit=")).collect();
    assert_eq!(lists, [true, false, true, false], "{asked:?}");
    let is_whole = |uri: &String| path(uri) == "/apis/cert-manager.io/v1/certificaterequests";
    assert!(asked.iter().all(is_whole), "{asked:?}");
    assert!(asked[3].contains("resourceVersion=5"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn csrs_are_listed_by_signer() {
    for (issuers, shown, signer) in [
        (ISSUERS, issuer("vault", "vault"), "issuers.cert-manager.io%2Fns.vault"),
        (
            CLUSTER_ISSUERS,
            cluster_issuer("vault"),
            "clusterissuers.cert-manager.io%2Fvault",
        ),
    ] {
        let asked = asked_after(issuers, everywhere(CSRS), &[("ADDED", shown)]).await;
        let selected: Vec<_> = asked.iter().map(|uri| uri.contains("fieldSelector=")).collect();
        assert_eq!(selected, [false, false, true, false], "{asked:?}");
        let selector = format!("fieldSelector=spec.signerName%3D{signer}&");
        assert!(asked[2].contains(&selector), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn issuers_elsewhere_cause_no_list() {
    let other = WatchedList {
        watched: REQUESTS,
        scope: ListScope::Namespace("other".to_owned()),
    };
    let asked = asked_after(ISSUERS, other, &[("ADDED", issuer("vault", "vault"))]).await;
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn other_types_of_issuer_cause_no_list() {
    let shown = [("ADDED", issuer("acme", "acme")), ("DELETED", issuer("acme", "acme"))];
    let asked = lists_after(ISSUERS, &shown).await;
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn expired_version_leads_to_whole_list() {
    let issuer_server = Server::new([list(&[], "2", ""), open(&[("ADDED", issuer("vault", "vault"))])]);
    let request_server = Server::new([list(&[], "1", ""), open(&[]), refuse(410, None), list(&[], "5", "")]);
    let lists = [REQUESTS, ISSUERS].map(everywhere);
    let (drop_in, record) = (DropInIssuers::new(&lists), Record::default());
    let clients = [request_server.client(), issuer_server.client()];
    let follow = |index: usize| Reflector::new(&clients[index], &lists[index], &record, &drop_in).run();
    let both = futures::future::join(follow(0), follow(1));
    assert!(timeout(Duration::from_secs(20), both).await.is_err());
    let asked = request_server.asked();
    assert!(asked[2].contains("namespaces/ns/"), "{asked:?}");
    assert!(
        asked[3].contains("limit=") && !asked[3].contains("namespaces"),
        "{asked:?}"
    );
    assert!(asked[4].contains("resourceVersion=5"), "{asked:?}");
    assert_eq!(asked.len(), 5, "{asked:?}");
}

/// The issuer `vault` of a namespace.
fn key(namespace: &str) -> Key {
    Key::Issuer(issuer_core::reference::IssuerKey {
        kind: IssuerKind::DropInNamespaced,
        namespace: namespace.into(),
        name: "vault".into(),
    })
}

fn appears(drop_in: &DropInIssuers, namespace: &str) {
    drop_in.note(key(namespace), false);
    drop_in.note(key(namespace), true);
}

#[tokio::test(start_paused = true)]
async fn issuer_that_comes_and_goes_costs_ever_less() {
    let (drop_in, requests) = (DropInIssuers::new(&[everywhere(ISSUERS)]), everywhere(REQUESTS));
    let mut appeared = drop_in.subscribe(&requests);
    let mut begun = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        appears(&drop_in, "loop");
        for part in appeared.next().await {
            appeared.part_listed(part);
        }
        pauses.push(begun.elapsed().as_secs());
        begun = Instant::now();
    }
    assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 32, 64, 64]);

    // Another namespace does not wait for it, nor does this one once it has been quiet.
    appears(&drop_in, "loop");
    appears(&drop_in, "quiet");
    let parts = appeared.next().await;
    assert_eq!(parts, [Part::Namespace("quiet".into())]);
    assert_eq!(begun.elapsed().as_secs(), 1);
    for part in parts {
        appeared.part_listed(part);
    }
    for part in appeared.next().await {
        appeared.part_listed(part);
    }
    sleep(Duration::from_secs(200)).await;
    begun = Instant::now();
    appears(&drop_in, "loop");
    appeared.next().await;
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_namespaces_are_listed_in_rounds() {
    let (drop_in, requests) = (DropInIssuers::new(&[everywhere(ISSUERS)]), everywhere(REQUESTS));
    let mut appeared = drop_in.subscribe(&requests);
    for number in 0..70 {
        appears(&drop_in, &format!("team-{number}"));
    }
    let begun = Instant::now();
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let parts = appeared.next().await;
        rounds.push((begun.elapsed().as_secs(), parts.len()));
        for part in parts {
            appeared.part_listed(part);
        }
    }
    // The watch goes on in between.
    assert_eq!(rounds, [(1, 32), (2, 32), (3, 6)]);
}

#[tokio::test(start_paused = true)]
async fn part_that_fails_lets_watch_go_on() {
    let (drop_in, requests) = (DropInIssuers::new(&[everywhere(ISSUERS)]), everywhere(REQUESTS));
    let mut appeared = drop_in.subscribe(&requests);
    appears(&drop_in, "ns");
    let begun = Instant::now();
    let mut tries = Vec::new();
    for _ in 0..4 {
        for part in appeared.next().await {
            appeared.part_failed(part);
        }
        tries.push(begun.elapsed().as_secs());
    }
    assert_eq!(tries, [1, 2, 4, 8]);
    for part in appeared.next().await {
        appeared.part_listed(part);
    }
    let again = timeout(Duration::from_secs(600), appeared.next()).await;
    assert!(again.is_err(), "{again:?}");
}
