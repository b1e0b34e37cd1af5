//! What is done to the servers.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;

use super::{ISSUERS, path};
use crate::servers::audit::Answered;
use crate::servers::local::Local;
use crate::servers::process::{Signal, eventually};
use crate::servers::proxy::Proxy;
use crate::servers::replicas::Replicas;
use crate::test_namespace::{LATER, Stage};

/// How long the controller certainly waits for an answer of Vault: it gives up after thirty seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A failure, in the midst of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// The leader is killed, and started again.
    LeaderKilled,
    /// The API server is killed, and started again at once.
    ApiServerKilled,
    /// The API server is killed, and started again when the leader's lease is over.
    ApiServerDown,
    /// The leader is stopped until another has led for a while.
    LeaderStopped,
    /// Vault is sealed, and unsealed.
    VaultSealed,
    /// Vault is killed with its answers on the way, and started again.
    VaultKilled,
}

impl Blow {
    /// Every one, those first after which a claim may have to run out.
    pub(super) const ALL: [Self; 6] = [
        Self::LeaderKilled,
        Self::ApiServerDown,
        Self::ApiServerKilled,
        Self::LeaderStopped,
        Self::VaultKilled,
        Self::VaultSealed,
    ];

    /// Returns what it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LeaderKilled => "leader killed",
            Self::ApiServerKilled => "API server killed",
            Self::ApiServerDown => "API server down",
            Self::LeaderStopped => "leader stopped",
            Self::VaultSealed => "Vault sealed",
            Self::VaultKilled => "Vault killed",
        }
    }

    /// Tells whether a signature that is under way can be lost: with the process that asked for it, or with the reply.
    /// Those of a process that goes on, or that ends in order, are saved.
    fn loses(self) -> bool {
        match self {
            Self::LeaderKilled | Self::VaultKilled | Self::VaultSealed => true,
            Self::ApiServerDown | Self::ApiServerKilled | Self::LeaderStopped => false,
        }
    }
}

/// A failure that was, from its first moment to the last that it may have had a consequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// What it was.
    pub(super) blow: Blow,
    /// How many signatures there were in Vault that nobody had got.
    pub(super) under_way: usize,
    /// When it began.
    pub(super) begun: Timestamp,
    /// When it was over.
    pub(super) ended: Timestamp,
    /// Whether signatures can have been lost by it.
    pub(super) loses: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ended.duration_since(self.begun).as_secs_f64();
        let loses = if self.loses { "may be lost" } else { "to be saved" };
        let (name, under_way) = (self.blow.name(), self.under_way);
        write!(
            f,
            "{name:<18}{seconds:>5.1} s, {under_way} signatures under way, {loses}"
        )
    }
}

/// What can fail.
pub(super) struct Servers<'s> {
    /// Whose requests are signed.
    pub(super) stage: &'s Stage<'s>,
    /// The servers but our controllers.
    pub(super) local: &'s mut Local,
    /// Our controllers.
    pub(super) replicas: &'s Replicas,
    /// The way that they take to Vault.
    pub(super) to_vault: Proxy,
}

impl Servers<'_> {
    /// Lets something fail, and brings it back. `struck` becomes true when it has failed.
    ///
    /// Vault's answers are held before, so that there are signatures under way; they pass on when it has failed.
    pub(super) async fn strike(&mut self, blow: Blow, struck: &Cell<bool>) -> anyhow::Result<Fault> {
        let (begun, held) = (Timestamp::now(), Instant::now());
        let under_way = self.hold_signatures().await?;
        let leader = self.leader().await?;
        self.hit(blow, leader).await?;
        self.to_vault.hold_replies(false);
        struck.set(true);
        let mut silent = held.elapsed();
        self.recover(blow, leader).await?;
        // A process that stands still hears nothing.
        if blow == Blow::LeaderStopped {
            silent = held.elapsed();
        }
        Ok(Fault {
            blow,
            under_way,
            begun,
            ended: Timestamp::now(),
            loses: blow.loses() || silent > PATIENCE,
        })
    }

    /// Fails something.
    async fn hit(&mut self, blow: Blow, leader: u32) -> anyhow::Result<()> {
        match blow {
            Blow::LeaderKilled => self.replicas.kill(leader).await,
            Blow::LeaderStopped => self.replicas.signal(leader, Signal::STOP).await,
            Blow::ApiServerDown | Blow::ApiServerKilled => self.local.cluster.kill_apiserver(),
            Blow::VaultKilled => {
                self.local.vault.process().kill()?;
                self.to_vault.cut();
                Ok(())
            }
            Blow::VaultSealed => self.stage.env.vault.admin.write("sys/seal", json!({})).await.map(drop),
        }
    }

    /// Brings it back.
    async fn recover(&mut self, blow: Blow, leader: u32) -> anyhow::Result<()> {
        let while_down = Duration::from_secs(5);
        match blow {
            Blow::LeaderKilled => self.follows(leader).await,
            Blow::LeaderStopped => {
                self.follows(leader).await?;
                tokio::time::sleep(while_down).await;
                self.replicas.signal(leader, Signal::CONT).await?;
                eventually(LATER, async || {
                    ensure!(self.replicas.is_gone(leader).await, "who has lost the lease goes on");
                    Ok(())
                })
                .await
            }
            Blow::ApiServerDown => {
                tokio::time::sleep(while_down).await;
                self.local.cluster.start_apiserver().await?;
                self.follows(leader).await
            }
            Blow::ApiServerKilled => self.local.cluster.start_apiserver().await,
            Blow::VaultKilled => self.local.vault.restart(&self.stage.env.vault.admin).await,
            Blow::VaultSealed => {
                tokio::time::sleep(while_down).await;
                self.stage.env.vault.admin.unseal(self.local.vault.keys()).await
            }
        }
    }

    /// Holds what Vault answers until it has signed something that nobody has got; how much.
    async fn hold_signatures(&self) -> anyhow::Result<usize> {
        eventually(LATER, async || {
            self.to_vault.hold_replies(true);
            let before = self.signed()?;
            let some = eventually(Duration::from_secs(5), async || {
                ensure!(self.signed()? > before, "nothing is signed");
                Ok(())
            });
            if let Err(error) = some.await {
                // Another may have begun to lead, which has to log in first.
                self.to_vault.hold_replies(false);
                return Err(error);
            }
            // For those that were asked for at once.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(self.signed()? - before)
        })
        .await
    }

    fn signed(&self) -> anyhow::Result<usize> {
        let paths = ISSUERS.map(|issuer| path(self.stage, issuer));
        let answers = self.stage.env.vault.audit.answered()?;
        let ours = |answer: &&Answered| answer.done && paths.contains(&answer.path);
        Ok(answers.iter().filter(ours).count())
    }

    async fn leader(&self) -> anyhow::Result<u32> {
        eventually(LATER, async || self.replicas.leader().await).await
    }

    /// Waits until another leads.
    async fn follows(&self, leader: u32) -> anyhow::Result<()> {
        eventually(LATER, async || {
            ensure!(self.replicas.leader().await? != leader, "it still leads");
            Ok(())
        })
        .await
    }
}
