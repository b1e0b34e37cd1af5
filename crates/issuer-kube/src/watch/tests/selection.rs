//! Requests that the API server selects by the group of their issuer.

use super::*;

#[tokio::test(start_paused = true)]
async fn requests_are_selected_where_that_can_be_done() {
    let server = Server::new([
        refuse(400, None),
        list(&[request("a", "1")], "2", ""),
        refuse(410, None),
        list(&[], "3", ""),
    ]);
    server.follow(REQUESTS).await;
    let asked = server.asked();
    let selected: Vec<_> = asked.iter().take(5).map(|uri| uri.contains("fieldSelector")).collect();
    assert_eq!(selected, [true, false, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn requests_are_seen_after_selection_ends() {
    let server = Server::new([
        list(&[request("a", "1")], "2", ""),
        refuse(400, None),
        refuse(400, None),
        list(&[request("b", "3")], "4", ""),
    ]);
    let lines = server.follow(REQUESTS).await.lines();
    assert!(lines.contains(&"all: b".to_owned()), "{lines:?}");
    let asked = server.asked();
    let selected: Vec<_> = asked.iter().take(5).map(|uri| uri.contains("fieldSelector")).collect();
    assert_eq!(selected, [true, true, true, false, false]);
}
