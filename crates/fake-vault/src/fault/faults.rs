//! Which requests meet which fault: by a script or by chance.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use issuer_core::Operation;

use super::Fault;
use crate::dice::Dice;

/// Which requests meet which fault.
#[derive(Clone)]
pub struct Faults {
    script: VecDeque<(Option<Operation>, Fault)>,
    rates: Arc<[(Fault, u16)]>,
    dice: Dice,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("script", &self.script)
            .field("rates", &self.rates)
            .finish()
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            script: VecDeque::new(),
            rates: Arc::new([]),
            dice: Dice::new(0),
        }
    }
}

impl Faults {
    /// Lets a fault meet the next request of a kind, or the next request at all. Several wait in line.
    pub fn script(&mut self, operation: impl Into<Option<Operation>>, fault: Fault) {
        self.script.push_back((operation.into(), fault));
    }

    /// Lets faults meet requests by chance: each its so many of a thousand. Equal seeds make equal runs.
    pub fn randomize(&mut self, seed: u64, rates: impl IntoIterator<Item = (Fault, u16)>) {
        self.rates = rates.into_iter().collect();
        self.dice = Dice::new(seed);
    }

    /// Lets each of [`Fault::TRANSIENT`] meet so many of a thousand requests.
    pub fn hostile(&mut self, seed: u64, per_mille: u16) {
        self.randomize(seed, Fault::TRANSIENT.map(|fault| (fault, per_mille)));
    }

    /// Goes back to honesty.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns how many faults of the script are still to come.
    pub fn scripted(&self) -> usize {
        self.script.len()
    }

    /// Tells whether no request can meet a fault.
    pub(crate) fn are_none(&self) -> bool {
        self.script.is_empty() && self.rates.is_empty()
    }

    /// Returns the fault that is due for a request.
    pub(crate) fn draw(&mut self, operation: Option<Operation>) -> Option<Fault> {
        let due = |(wanted, _): &(Option<Operation>, Fault)| wanted.is_none() || *wanted == operation;
        if let Some(index) = self.script.iter().position(due) {
            return self.script.remove(index).map(|(_, fault)| fault);
        }
        if self.rates.is_empty() {
            return None;
        }
        let mut roll = self.dice.roll() % 1_000;
        self.rates.iter().find_map(|(fault, rate)| {
            let hit = roll < u64::from(*rate);
            roll = roll.saturating_sub(u64::from(*rate));
            hit.then_some(*fault)
        })
    }
}
