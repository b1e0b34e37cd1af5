//! TLS: versions, certificates of both sides, failed handshakes.

use issuer_core::{Connect, Roots, TlsError};
use rustls::version::{TLS12, TLS13};

use super::Event::{Call, Ended};
use super::{CASE, Case, origin, tls};
use crate::server::ServerStep::{Hang, Send};
use crate::server::{PKI, SHORT_RSA_ROOT, Shown, Speaks};

const OLD: Speaks = Speaks::Tls {
    versions: &[&TLS12],
    shows: Shown::Good,
    client_auth: false,
};
const NEW: Speaks = Speaks::Tls {
    versions: &[&TLS13],
    shows: Shown::Good,
    client_auth: false,
};
const EXPIRED: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    shows: Shown::Expired,
    client_auth: false,
};
const POLICIES: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    shows: Shown::UnderPolicies,
    client_auth: false,
};
const POLICY_CONSTRAINTS: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    shows: Shown::UnderPolicyConstraints,
    client_auth: false,
};
const SHORT_RSA: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    shows: Shown::UnderShortRsa,
    client_auth: false,
};
const OLD_MUTUAL: Speaks = Speaks::Tls {
    versions: &[&TLS12],
    shows: Shown::Good,
    client_auth: true,
};
const NEW_MUTUAL: Speaks = Speaks::Tls {
    versions: &[&TLS13],
    shows: Shown::Good,
    client_auth: true,
};

pub(in crate::drivers) const CERTIFICATES: &[Case] = &[
    Case {
        name: "TLS 1.2 only",
        server: OLD,
        ..CASE
    },
    Case {
        name: "TLS 1.3 only",
        server: NEW,
        ..CASE
    },
    Case {
        name: "unknown CA",
        client: |connect| connect.roots = Roots::bundle(PKI.stranger()),
        events: &[Call(tls(TlsError::UnknownIssuer))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "unknown CA of the same name",
        client: |connect| connect.roots = Roots::bundle(PKI.namesake()),
        events: &[Call(tls(TlsError::Signature))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "one known CA among others",
        client: |connect| connect.roots = Roots::bundle([PKI.stranger(), PKI.ca()].concat()),
        ..CASE
    },
    Case {
        name: "the server's own certificate",
        client: |connect| connect.roots = Roots::bundle(PKI.servers()),
        ..CASE
    },
    Case {
        name: "the server's own certificate, of another name",
        client: |connect| {
            connect.roots = Roots::bundle(PKI.servers());
            connect.server_name = Some("other.test".into());
        },
        events: &[Call(tls(TlsError::Name))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "the server's own certificate, expired",
        server: EXPIRED,
        client: |connect| connect.roots = Roots::bundle(PKI.servers()),
        events: &[Call(tls(TlsError::Expired))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "wrong name",
        client: |connect| connect.origin = origin("https", "localhost", connect.origin.port()),
        events: &[Call(tls(TlsError::Name))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "another name asked for, and found",
        client: |connect| {
            connect.origin = origin("https", "localhost", connect.origin.port());
            connect.server_name = Some("vault.test".into());
        },
        ..CASE
    },
    Case {
        name: "another name asked for, and not found",
        client: |connect| connect.server_name = Some("other.test".into()),
        events: &[Call(tls(TlsError::Name))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "expired",
        server: EXPIRED,
        events: &[Call(tls(TlsError::Expired))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "a CA with critical certificatePolicies",
        server: POLICIES,
        events: &[Call(tls(TlsError::CriticalExtension))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "a CA with critical policyConstraints",
        server: POLICY_CONSTRAINTS,
        events: &[Call(tls(TlsError::CriticalExtension))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "a CA with a key of RSA-1024",
        server: SHORT_RSA,
        client: |connect| connect.roots = Roots::bundle(SHORT_RSA_ROOT),
        events: &[Call(tls(TlsError::Signature))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "client certificate, TLS 1.2",
        server: OLD_MUTUAL,
        client: known,
        ..CASE
    },
    Case {
        name: "client certificate, TLS 1.3",
        server: NEW_MUTUAL,
        client: known,
        ..CASE
    },
    Case {
        name: "client certificate not asked for",
        client: known,
        ..CASE
    },
    Case {
        name: "no client certificate, TLS 1.2",
        server: OLD_MUTUAL,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "no client certificate, TLS 1.3",
        server: NEW_MUTUAL,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "another CA's client certificate, TLS 1.2",
        server: OLD_MUTUAL,
        client: unknown,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "another CA's client certificate, TLS 1.3",
        server: NEW_MUTUAL,
        client: unknown,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "client certificate of a CA of the same name, TLS 1.2",
        server: OLD_MUTUAL,
        client: |connect| connect.identity = Some(PKI.namesake_client()),
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "client certificate of a CA of the same name, TLS 1.3",
        server: NEW_MUTUAL,
        client: |connect| connect.identity = Some(PKI.namesake_client()),
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "plain text where TLS is expected",
        server: Speaks::Plain,
        scripts: &[&[Send("HTTP/1.0 400 Bad Request\r\n\r\n"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "a server that wants TLS 1.1",
        server: Speaks::Plain,
        scripts: &[&[Send("\x15\x03\x01\0\x02\x02\x46"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "no cipher suite in common",
        server: Speaks::Plain,
        scripts: &[&[Send("\x15\x03\x03\0\x02\x02\x28"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "no application protocol in common",
        server: Speaks::Plain,
        scripts: &[&[Send("\x15\x03\x03\0\x02\x02\x78"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "closed during the handshake",
        server: Speaks::Plain,
        scripts: &[&[]],
        events: &[Call(tls(TlsError::Handshake))],
        seen: 0,
        ..CASE
    },
];

fn known(connect: &mut Connect) {
    connect.identity = Some(PKI.client());
}

fn unknown(connect: &mut Connect) {
    connect.identity = Some(PKI.strange_client());
}
