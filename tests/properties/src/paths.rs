//! Properties of server URLs, signing paths and mounts.

use issuer_api::{AppRole, Auth, SecretKeySelector, VaultSpec};
use issuer_core::target::{Method, Mount, SignPath, Target};
use issuer_core::{Operation, Origin, Request};

use crate::issuer::{issuer, permissive};
use crate::secret::requests;

/// The server's URL, the signing path and the mount of a login, one line each: accepted values give URLs on that server
/// with exactly that path, and parse again to themselves.
pub fn paths(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (server, path, mount) = (line(), line(), line());
    if let Some(origin) = Origin::parse(server) {
        assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
    }
    if let Some(parsed) = SignPath::parse(path) {
        // A mount may itself be called `v1`.
        assert_eq!(SignPath::parse(&format!("/v1/{}", parsed.as_str())), Some(parsed));
    }
    if let Some(parsed) = Mount::parse(mount) {
        let printed = parsed.to_string();
        assert_eq!(Mount::parse(&format!("/v1/auth/{printed}")), Some(parsed));
    }
    let spec = VaultSpec {
        server: server.to_owned(),
        path: path.to_owned(),
        auth: Auth {
            app_role: Some(AppRole {
                path: Some(mount.to_owned()),
                role_id: Some("web".to_owned()),
                secret_ref: Some(SecretKeySelector {
                    name: "approle".to_owned(),
                    key: None,
                }),
                ..AppRole::default()
            }),
            ..Auth::default()
        },
        ..issuer()
    };
    if let Ok(target) = Target::parse(&spec, &crate::issuer::key(), "team", &permissive()) {
        let sent = requests(&target).expect("a good issuer");
        assert!(sent.len() == 3, "health, login and probe: {sent:?}");
        sent.iter().for_each(|request| assert_within(&target, request));
    }
}

/// Asserts that a request goes to the target's server, below its path, and to an endpoint of the issuer.
pub(crate) fn assert_within(target: &Target, request: &Request) {
    let (origin, uri) = (&target.origin, request.http.uri());
    if let Method::Aws { sts, .. } = &target.method
        && uri.path() == "/"
    {
        assert_eq!(request.connect.origin, sts.origin);
        assert_eq!(uri.to_string(), format!("{}/", sts.origin));
        assert!(request.http.headers().get("x-vault-token").is_none());
        return;
    }
    assert_eq!(request.connect.origin, *origin);
    let scheme = if origin.is_tls() { "https" } else { "http" };
    assert_eq!(uri.scheme_str(), Some(scheme), "{uri}");
    assert_eq!(uri.host(), Some(origin.host()));
    let authority = uri.authority().expect("an absolute URL").as_str();
    match authority[origin.host().len()..].strip_prefix(':') {
        None => assert_eq!(origin.port(), if origin.is_tls() { 443 } else { 80 }, "{uri}"),
        Some(port) => assert_eq!(port.parse(), Ok(origin.port()), "{uri}"),
    }
    assert_eq!(uri.query(), None);
    let bad = |segment: &str| matches!(segment, "." | "..") || segment.contains(['%', '?', '#', '\\']);
    assert!(!uri.path().split('/').any(bad), "{uri}");
    let path = uri
        .to_string()
        .strip_prefix(&format!("{origin}/v1/"))
        .expect("below the origin")
        .to_owned();
    assert!(!path.split('/').any(str::is_empty), "{uri}");
    match request.operation {
        Operation::Health => assert_eq!(path, "sys/health"),
        Operation::Login => {
            let is_login = path.starts_with("auth/") && path.ends_with("/login");
            let unwraps = target.method.is_wrapped() && path.starts_with("sys/wrapping/");
            assert!(is_login || unwraps, "{uri}");
        }
        Operation::Lookup => assert_eq!(path, "auth/token/lookup-self"),
        Operation::Probe => assert_eq!(path, target.path.as_str()),
        other => panic!("{other:?}"),
    }
}
