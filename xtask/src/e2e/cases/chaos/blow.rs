//! What is done to the servers.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;

use super::super::super::env::Local;
use super::super::super::process::{Signal, eventually};
use super::super::super::replicas::Replicas;
use super::super::super::stage::SOON;
use super::super::super::vault::Admin;

/// A failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// The leader is killed, and started again.
    LeaderKilled,
    /// The API server is killed, and started again.
    ApiServerKilled,
    /// The leader is stopped until another leads, and goes on.
    LeaderStopped,
    /// Vault is sealed, and unsealed.
    VaultSealed,
    /// Vault is killed, and started again.
    VaultKilled,
}

impl Blow {
    /// Every one, those first after which a claim may have to run out.
    pub(super) const ALL: [Self; 5] = [
        Self::LeaderKilled,
        Self::ApiServerKilled,
        Self::LeaderStopped,
        Self::VaultSealed,
        Self::VaultKilled,
    ];

    /// Returns what it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LeaderKilled => "leader killed",
            Self::ApiServerKilled => "API server killed",
            Self::LeaderStopped => "leader stopped",
            Self::VaultSealed => "Vault sealed",
            Self::VaultKilled => "Vault killed",
        }
    }
}

/// What can become of a signature because of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing.
    None,
    /// It ends with the process, or the reply is lost.
    Lost,
    /// Another leader signs too.
    Overlap,
}

/// A failure that was, from its first moment to the last that it may have had a consequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// What it was.
    pub(super) blow: Blow,
    /// When it began.
    pub(super) begun: Timestamp,
    /// When it was over.
    pub(super) ended: Timestamp,
    /// What a signature can have come to.
    pub(super) loss: Loss,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ended.duration_since(self.begun).as_secs_f64();
        let loss = match self.loss {
            Loss::None => "none",
            Loss::Lost => "signatures may be lost",
            Loss::Overlap => "two may have signed",
        };
        write!(f, "{:<18}{seconds:>5.1} s, {loss}", self.blow.name())
    }
}

/// What can fail.
pub(super) struct Servers<'s> {
    /// Vault's administrator.
    pub(super) vault: &'s Admin,
    /// The servers but our controllers.
    pub(super) local: &'s mut Local,
    /// Our controllers.
    pub(super) replicas: &'s Replicas,
}

impl Servers<'_> {
    /// Lets something fail, and brings it back.
    pub(super) async fn strike(&mut self, blow: Blow) -> anyhow::Result<Fault> {
        let leader = eventually(SOON, async || self.replicas.leader().await).await?;
        let begun = Timestamp::now();
        match blow {
            Blow::LeaderKilled => {
                self.amid_signatures(leader, Signal::KILL).await?;
                self.follows(leader).await?;
            }
            Blow::LeaderStopped => self.stop(leader).await?,
            Blow::ApiServerKilled => self.local.cluster.restart_apiserver().await?,
            Blow::VaultSealed => {
                self.vault.write("sys/seal", json!({})).await?;
                tokio::time::sleep(Duration::from_secs(5)).await;
                self.vault.unseal(self.local.vault.keys()).await?;
            }
            Blow::VaultKilled => {
                self.local.vault.process().kill()?;
                self.local.vault.restart(self.vault).await?;
            }
        }
        let now = eventually(SOON, async || self.replicas.leader().await).await?;
        let loss = match blow {
            Blow::LeaderKilled | Blow::VaultKilled | Blow::VaultSealed => Loss::Lost,
            Blow::LeaderStopped => Loss::Overlap,
            // A leader that could not renew its Lease ends.
            Blow::ApiServerKilled if now != leader => Loss::Overlap,
            Blow::ApiServerKilled => Loss::None,
        };
        let ended = Timestamp::now();
        Ok(Fault {
            blow,
            begun,
            ended,
            loss,
        })
    }

    /// Stops the leader until another has led for a while.
    async fn stop(&mut self, leader: u32) -> anyhow::Result<()> {
        self.amid_signatures(leader, Signal::STOP).await?;
        self.follows(leader).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.replicas.signal(leader, Signal::CONT).await?;
        // Long enough to do what it was about to do.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    /// Signals the leader while Vault has its requests and has not answered them: Vault stands still for a second.
    async fn amid_signatures(&mut self, leader: u32, signal: Signal) -> anyhow::Result<()> {
        self.local.vault.process().signal(Signal::STOP)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let signalled = self.replicas.signal(leader, signal).await;
        self.local.vault.process().signal(Signal::CONT)?;
        signalled
    }

    /// Waits until another leads.
    async fn follows(&self, leader: u32) -> anyhow::Result<()> {
        eventually(SOON, async || {
            ensure!(self.replicas.leader().await? != leader, "it still leads");
            Ok(())
        })
        .await
    }
}
