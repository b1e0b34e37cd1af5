//! The faults: how each is injected, and how the servers recover.

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
use crate::test_namespace::{LATER, TestNamespace};

/// How long a controller waits for a reply of Vault at the very least; its timeout is longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A failure while signatures are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The leader is killed and restarted.
    LeaderKilled,
    /// The API server is killed and restarted at once.
    ApiServerKilled,
    /// The API server is killed and restarted after the leader's lease has expired.
    ApiServerDown,
    /// The leader is stopped (SIGSTOP) until another controller has led for a while.
    LeaderStopped,
    /// Vault is sealed and unsealed.
    VaultSealed,
    /// Vault is killed before its replies have arrived, and restarted.
    VaultKilled,
}

impl Fault {
    /// All faults, first those after which a claim may have to expire.
    pub(super) const ALL: [Self; 6] = [
        Self::LeaderKilled,
        Self::ApiServerDown,
        Self::ApiServerKilled,
        Self::LeaderStopped,
        Self::VaultKilled,
        Self::VaultSealed,
    ];

    /// Returns the name for the report.
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

    /// Returns `true` if a signature in flight can be lost, with the process that requested it or with the reply. A
    /// process that continues or shuts down in order saves its signatures.
    fn loses(self) -> bool {
        match self {
            Self::LeaderKilled | Self::VaultKilled | Self::VaultSealed => true,
            Self::ApiServerDown | Self::ApiServerKilled | Self::LeaderStopped => false,
        }
    }
}

/// An injected fault, from its beginning to the last moment at which it may have had an effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Injected {
    /// The fault.
    pub(super) fault: Fault,
    /// The number of signatures whose replies were held.
    pub(super) under_way: usize,
    /// The beginning.
    pub(super) begun: Timestamp,
    /// The end.
    pub(super) ended: Timestamp,
    /// Whether signatures may have been lost.
    pub(super) loses: bool,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ended.duration_since(self.begun).as_secs_f64();
        let loses = if self.loses { "may be lost" } else { "to be saved" };
        let (name, under_way) = (self.fault.name(), self.under_way);
        write!(
            f,
            "{name:<18}{seconds:>5.1} s, {under_way} signatures in flight, {loses}"
        )
    }
}

/// The servers that faults are injected into.
pub(super) struct Servers<'s> {
    /// The test whose requests are signed.
    pub(super) test: &'s TestNamespace<'s>,
    /// The servers, except our controllers.
    pub(super) local: &'s mut Local,
    /// Our controllers.
    pub(super) replicas: &'s Replicas,
    /// The proxy through which they reach Vault.
    pub(super) to_vault: Proxy,
}

impl Servers<'_> {
    /// Injects a fault and waits for recovery. `failed` is set after the fault.
    ///
    /// Vault's replies are held until the fault has been applied, so that signatures are in flight.
    pub(super) async fn inject(&mut self, fault: Fault, failed: &Cell<bool>) -> anyhow::Result<Injected> {
        let (begun, held) = (Timestamp::now(), Instant::now());
        let under_way = self.hold_signatures().await?;
        let leader = self.leader().await?;
        self.apply(fault, leader).await?;
        self.to_vault.hold_replies(false);
        failed.set(true);
        let mut silent = held.elapsed();
        self.recover(fault, leader).await?;
        // A stopped process receives no reply either.
        if fault == Fault::LeaderStopped {
            silent = held.elapsed();
        }
        Ok(Injected {
            fault,
            under_way,
            begun,
            ended: Timestamp::now(),
            loses: fault.loses() || silent > PATIENCE,
        })
    }

    /// Applies the fault.
    async fn apply(&mut self, fault: Fault, leader: u32) -> anyhow::Result<()> {
        match fault {
            Fault::LeaderKilled => self.replicas.kill(leader).await,
            Fault::LeaderStopped => self.replicas.signal(leader, Signal::STOP).await,
            Fault::ApiServerDown | Fault::ApiServerKilled => self.local.cluster.kill_apiserver(),
            Fault::VaultKilled => {
                self.local.vault.process().kill()?;
                self.to_vault.cut();
                Ok(())
            }
            Fault::VaultSealed => self.test.env.vault.admin.write("sys/seal", json!({})).await.map(drop),
        }
    }

    /// Restores the failed server.
    async fn recover(&mut self, fault: Fault, leader: u32) -> anyhow::Result<()> {
        let while_down = Duration::from_secs(5);
        match fault {
            Fault::LeaderKilled => self.follows(leader).await,
            Fault::LeaderStopped => {
                self.follows(leader).await?;
                tokio::time::sleep(while_down).await;
                self.replicas.signal(leader, Signal::CONT).await?;
                eventually(LATER, async || {
                    ensure!(self.replicas.is_gone(leader).await, "the former leader still runs");
                    Ok(())
                })
                .await
            }
            Fault::ApiServerDown => {
                tokio::time::sleep(while_down).await;
                self.local.cluster.start_apiserver().await?;
                self.follows(leader).await
            }
            Fault::ApiServerKilled => self.local.cluster.start_apiserver().await,
            Fault::VaultKilled => self.local.vault.restart(&self.test.env.vault.admin).await,
            Fault::VaultSealed => {
                tokio::time::sleep(while_down).await;
                self.test.env.vault.admin.unseal(self.local.vault.keys()).await
            }
        }
    }

    /// Holds Vault's replies until it has signed something; returns the number of signatures held.
    async fn hold_signatures(&self) -> anyhow::Result<usize> {
        eventually(LATER, async || {
            self.to_vault.hold_replies(true);
            let before = self.signed()?;
            let some = eventually(Duration::from_secs(5), async || {
                ensure!(self.signed()? > before, "nothing is signed");
                Ok(())
            });
            if let Err(error) = some.await {
                // A new leader has to log in first, for which it needs replies.
                self.to_vault.hold_replies(false);
                return Err(error);
            }
            // The other requests of the group are signed at about the same time.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(self.signed()? - before)
        })
        .await
    }

    fn signed(&self) -> anyhow::Result<usize> {
        let paths = ISSUERS.map(|issuer| path(self.test, issuer));
        let answers = self.test.env.vault.audit.answered()?;
        let ours = |answer: &&Answered| answer.done && paths.contains(&answer.path);
        Ok(answers.iter().filter(ours).count())
    }

    async fn leader(&self) -> anyhow::Result<u32> {
        eventually(LATER, async || self.replicas.leader().await).await
    }

    /// Waits until another controller leads.
    async fn follows(&self, leader: u32) -> anyhow::Result<()> {
        eventually(LATER, async || {
            ensure!(self.replicas.leader().await? != leader, "it still leads");
            Ok(())
        })
        .await
    }
}
