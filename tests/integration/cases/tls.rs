//! CA bundles as people paste them.

use issuer_core::target::AllowedServers;
use issuer_core::{Connect, DialError, Limits, Origin, Roots};

use super::{assert_complete, files};

#[test]
fn bundles_are_read_as_go_reads_them() {
    let table = [
        ("bundle-bom", false),
        ("bundle-broken-first", true),
        ("bundle-comments", true),
        ("bundle-crlf", true),
        ("bundle-double-base64", false),
        ("bundle-duplicate", true),
        ("bundle-indented", false),
        ("bundle-single-line", true),
        ("bundle-torn-first", true),
    ];
    let files = files("tls", "pem");
    assert_complete(&files, table.iter().map(|(name, _)| *name));
    for (name, is_usable) in table {
        let connect = Connect {
            origin: Origin::parse("https://vault.example.com:8200").unwrap(),
            allowed_servers: AllowedServers::All,
            proxy: None,
            server_name: None,
            roots: Roots::bundle(files[name].clone()),
            identity: None,
            limits: Limits::default(),
        };
        let outcome = issuer_tls::client_config(&connect).map(drop);
        let expected = if is_usable { Ok(()) } else { Err(DialError::Roots) };
        assert_eq!(outcome, expected, "{name}");
    }
}
