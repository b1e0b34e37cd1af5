//! The servers that the operator permits issuers to name. These cases run alone: they start our controller with other flags.

use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::{Context, ensure};
use issuer_api::VaultIssuer;
use serde_json::{Value, json};

use super::auth::signs;
use crate::servers::controller::Launch;
use crate::servers::plain_proxy::PlainProxy;
use crate::test_namespace::{SOON, TestNamespace};

/// Names that every resolver knows without a name server, which are no addresses by their form: two of loopback addresses and
/// a link-local one.
const RESOLVED: [&str; 3] = ["127.1", "2130706433", "169.254.43518"];

/// By default no server at a loopback or link-local address is asked, however an issuer writes the address and whatever its
/// name resolves to; with a list, none that is not on it.
pub(super) async fn local_servers(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    test.secret("token", &[("token", "hvs.never-to-be-sent")]).await?;
    test.env.local_servers().await?.stop_controller()?;
    for (allowed, names) in [
        (
            None,
            &[
                "127.0.0.1",
                "127.1.2.3",
                "localhost",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "169.254.169.254",
                "0.0.0.0",
                RESOLVED[0],
                RESOLVED[1],
                RESOLVED[2],
            ][..],
        ),
        (
            Some("203.0.113.0/24,*.example.com"),
            &["127.0.0.1", "localhost", RESOLVED[0]][..],
        ),
    ] {
        let local = test.env.local_servers().await?;
        let launch = Launch {
            allowed_servers: allowed,
            ..local.launch(local.cluster.port)?
        };
        let mut controller = launch.start("vault-issuer-strict", &[]).await?;
        drop(local);
        for (number, host) in names.iter().enumerate() {
            let name = format!("local-{number}-{}", allowed.is_some());
            let mut spec = test.spec("pki/sign/web", json!({ "tokenSecretRef": { "name": "token" } }));
            spec["server"] = json!(format!("https://{host}:{port}"));
            let mut reason = "InvalidSpec";
            if RESOLVED.contains(host) {
                // No certificate is for such a name.
                spec["serverName"] = json!("vault.example.com");
                reason = "VaultUnreachable";
            }
            test.issuer(&name, spec).await?;
            test.unready(&name, reason, SOON)
                .await
                .with_context(|| format!("a server at {host}"))?;
            says(test, &name, "--allowed-servers").await?;
        }
        controller.process().stop()?;
    }
    // Before the controller of the other cases runs, which may ask them.
    let asked = listener.accept().map(drop).map_err(|error| error.kind());
    ensure!(asked == Err(ErrorKind::WouldBlock), "a server was asked: {asked:?}");
    test.env.local_servers().await?.start_controller().await
}

/// With `--allow-http-servers`, issuers may name that host with `http://`, and no other.
pub(super) async fn http_servers(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let vault = &test.env.vault;
    let proxy = PlainProxy::start(vault.port()?, &vault.ca).await?;
    let mut local = test.env.local_servers().await?;
    local
        .restart_controller_with(&["--allow-http-servers=127.0.0.1"])
        .await?;
    drop(local);
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let plain = |host: &str| {
        let mut spec = test.spec(&path, auth.clone());
        spec["server"] = json!(format!("http://{host}:{}", proxy.port()));
        spec["caBundle"] = Value::Null;
        spec
    };
    test.issuer("other", plain("127.0.0.2")).await?;
    test.unready("other", "InvalidSpec", SOON).await?;
    says(test, "other", "https").await?;
    signs(test, plain("127.0.0.1")).await?;

    // Without the flag it is over.
    test.env.local_servers().await?.restart_controller_with(&[]).await?;
    test.unready("vault", "InvalidSpec", SOON).await
}

/// Checks that the message of an issuer's condition names `hint`.
async fn says(test: &TestNamespace<'_>, name: &str, hint: &str) -> anyhow::Result<()> {
    let status = test.api::<VaultIssuer>().get(name).await?.status.context("no status")?;
    let message = &status.ready().context("no Ready condition")?.message;
    ensure!(message.contains(hint), "{name}: {message}");
    Ok(())
}
