//! issuer-kube
