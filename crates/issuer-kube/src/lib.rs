//! issuer-kube

mod transport;

pub use transport::Transport;
