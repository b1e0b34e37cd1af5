//! issuer-tls
