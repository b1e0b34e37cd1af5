//! etcd's JSON gateway: copies of objects that the API server has stored, many at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How copies are stored.
#[derive(Clone, Copy)]
pub(crate) enum Batch {
    /// One by one, each with its own revision, as the API server does.
    One,
    /// Many in one transaction, before a watch is opened: they share a revision, so a watch that ends between two of them and
    /// is opened again would not show the second.
    Many,
}

/// Copies in one transaction, of which etcd admits 128 and 1.5 MB.
const MANY: usize = 100;

/// A client of etcd, on loopback and without credentials.
pub(crate) struct Etcd {
    agent: ureq::Agent,
    base: String,
    /// The number of copies so far, of which each has its own uid.
    copies: AtomicU64,
}

/// An object as the API server has stored it.
pub(crate) struct Stored(Value);

impl Etcd {
    /// Returns a client of the etcd at this port.
    pub(crate) fn new(port: u16) -> Self {
        Self {
            agent: ureq::Agent::new_with_defaults(),
            base: format!("http://127.0.0.1:{port}/v3/kv"),
            copies: AtomicU64::new(1),
        }
    }

    /// Reads the object `name` of a folder, such as `cert-manager.io/certificaterequests/default`.
    pub(crate) async fn read(&self, folder: &str, name: &str) -> anyhow::Result<Stored> {
        let answer = self.call("range", json!({ "key": key(folder, name) })).await?;
        let value = answer["kvs"][0]["value"].as_str();
        let value = value.with_context(|| format!("etcd has no {folder}/{name}"))?;
        Ok(Stored(serde_json::from_slice(&STANDARD.decode(value)?)?))
    }

    /// Stores a copy of an object by each of these names.
    pub(crate) async fn copy(
        &self,
        folder: &str,
        object: &Stored,
        names: &[String],
        batch: Batch,
    ) -> anyhow::Result<()> {
        let put = |name: &String| {
            let mut copy = object.0.clone();
            copy["metadata"]["name"] = json!(name);
            copy["metadata"]["uid"] = json!(self.uid());
            json!({ "requestPut": { "key": key(folder, name), "value": STANDARD.encode(copy.to_string()) } })
        };
        let size = match batch {
            Batch::One => 1,
            Batch::Many => MANY,
        };
        for names in names.chunks(size) {
            let puts: Vec<Value> = names.iter().map(put).collect();
            self.call("txn", json!({ "success": puts })).await?;
        }
        Ok(())
    }

    /// Deletes the objects of a folder whose names begin with `prefix`.
    pub(crate) async fn delete(&self, folder: &str, prefix: &str) -> anyhow::Result<()> {
        // Names are ASCII, so no name with the prefix is above it followed by the last character.
        let (from, to) = (key(folder, prefix), key(folder, &format!("{prefix}\u{7f}")));
        let range = json!({ "key": from, "range_end": to });
        self.call("deleterange", range).await.map(drop)
    }

    fn uid(&self) -> String {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        format!("e2e00000-0000-4000-8000-{number:012x}")
    }

    async fn call(&self, method: &str, body: Value) -> anyhow::Result<Value> {
        let (agent, url) = (self.agent.clone(), format!("{}/{method}", self.base));
        tokio::task::spawn_blocking(move || {
            let mut answer = agent.post(&url).send(body.to_string())?;
            Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
        })
        .await?
    }
}

fn key(folder: &str, name: &str) -> String {
    STANDARD.encode(format!("/registry/{folder}/{name}"))
}
