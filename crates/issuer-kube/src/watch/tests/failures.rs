//! Lists and watches that fail, and the waits that follow.

use super::*;

#[tokio::test(start_paused = true)]
async fn lasting_failure_ends_the_sync() {
    let refused = (0..6).map(|_| refuse(403, None));
    let shown = open(&[("ADDED", request("a", "2"))]);
    let server = Server::new([list(&[], "1", "")].into_iter().chain(refused).chain([shown]));
    let lines = server.follow(REQUESTS).await.lines();
    let (within, out) = ("in sync: No (403): no", "out of sync: No (403): no");
    let synced = "CertificateRequest synced";
    let expected = [
        "all: ", synced, within, within, within, within, out, out, "a at 2", synced,
    ];
    assert_eq!(lines[..expected.len()], expected);
}

#[tokio::test(start_paused = true)]
async fn failing_list_backs_off() {
    let server = Server::new((0..9).map(|_| refuse(403, None)));
    server.follow(REQUESTS).await;
    let times = server.times();
    for (failures, pair) in times.windows(2).enumerate() {
        let full = Duration::from_secs(1 << failures.min(5)).min(MAX_WAIT);
        let waited = pair[1] - pair[0];
        assert!(
            full / 2 <= waited && waited <= full + Duration::from_millis(2),
            "{failures}: {waited:?}"
        );
    }
    assert_eq!(times.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_the_api_server_counts() {
    let server = Server::new([refuse(429, Some("45")), refuse(503, Some("soon")), list(&[], "1", "")]);
    server.follow(REQUESTS).await;
    let times = server.times();
    assert!(times[1] - times[0] >= Duration::from_secs(45), "{times:?}");
    assert!(times[2] - times[1] <= Duration::from_secs(3), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn any_retry_after_is_bounded() {
    for asked in ["86400", "18446744073709551615"] {
        let server = Server::new([refuse(429, Some(asked)), list(&[], "1", "")]);
        server.follow(REQUESTS).await;
        let times = server.times();
        assert_eq!((times[1] - times[0]).as_secs(), 60, "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_given_up() {
    let server = Server::new([list(&[], "1", ""), open(&[]), open(&[])]);
    server.follow(Watched::Issuers(IssuerKind::Cluster)).await;
    let times = server.times();
    let silent = times[2] - times[1];
    assert!(
        silent > Duration::from_secs(WATCH.into()) && silent < Duration::from_secs(60),
        "{silent:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn short_watch_is_repeated_after_a_wait() {
    let server = Server::new([list(&[], "1", "")].into_iter().chain((0..5).map(|_| ok(""))));
    server.follow(Watched::Issuers(IssuerKind::Namespaced)).await;
    assert!(server.times()[6] > Duration::from_secs(15), "{:?}", server.times());
}
