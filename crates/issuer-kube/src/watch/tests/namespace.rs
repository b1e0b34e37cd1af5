//! Lists and watches of one namespace.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_namespace_is_listed_and_watched_alone() {
    let server = Server::new([list(&[request("a", "1")], "2", ""), open(&[])]);
    let scope = ListScope::Namespace("ns".to_owned());
    let lines = server.follow_in(scope, REQUESTS).await.lines();
    assert_eq!(lines[..3], ["a at 1", "all: a", "CertificateRequest in ns synced"]);
    let path = "/apis/cert-manager.io/v1/namespaces/ns/certificaterequests?";
    let asked = server.asked();
    assert!(
        asked.len() > 1 && asked.iter().all(|uri| uri.starts_with(path)),
        "{asked:?}"
    );
}

/// The lists of all other namespaces are there, and the controller waits for none.
#[tokio::test(start_paused = true)]
async fn a_forbidden_namespace_counts_as_empty() {
    let scope = || ListScope::Namespace("ns".to_owned());
    let server = Server::new([refuse(403, None), list(&[request("a", "1")], "2", "")]);
    let lines = server.follow_in(scope(), REQUESTS).await.lines();
    assert!(lines[0].starts_with("out of sync: "), "{lines:?}");
    assert_eq!(lines[1..4], ["all: ", "a at 1", "all: a"], "{lines:?}");
    // What was seen before is not forgotten.
    let server = Server::new([list(&[request("a", "1")], "2", ""), refuse(403, None)]);
    let lines = server.follow_in(scope(), REQUESTS).await.lines();
    assert!(!lines.contains(&"all: ".to_owned()), "{lines:?}");
    // Where the whole cluster is watched, the list decides.
    let server = Server::new([refuse(403, None)]);
    let lines = server.follow(REQUESTS).await.lines();
    assert!(!lines.contains(&"all: ".to_owned()), "{lines:?}");
}
