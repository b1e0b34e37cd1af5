//! The servers that cases run on, and who runs them.

mod acceptor;
pub(crate) mod audit;
pub(crate) mod aws;
mod cached;
pub(crate) mod certmanager;
pub(crate) mod cluster;
pub(crate) mod components;
pub(crate) mod connect_proxy;
pub(crate) mod controller;
pub(crate) mod env;
pub(crate) mod etcd;
pub(crate) mod kind;
pub(crate) mod local;
pub(crate) mod memory_limit;
pub(crate) mod offline;
mod openbao;
pub(crate) mod plain_proxy;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod proxy;
mod recipe;
pub(crate) mod replicas;
pub(crate) mod vault;

/// Prints a line about the run itself.
pub(crate) fn say(line: &str) {
    println!("e2e: {line}");
}
