//! issuer-ureq
