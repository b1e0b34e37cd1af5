//! The choice of faults: by a script, by chance, or for good.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use issuer_core::Operation;

use super::kind::Fault;
use crate::call::Call;
use crate::dice::Dice;

/// The faults that requests meet.
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
    /// Injects a fault into the next request of a kind, or into the next request of any kind. Faults are used in order.
    pub fn script(&mut self, operation: impl Into<Option<Operation>>, fault: Fault) {
        self.script.push_back((operation.into(), fault));
    }

    /// Injects faults at random, each into so many of a thousand requests. Equal seeds make equal runs.
    pub fn randomize(&mut self, seed: u64, rates: impl IntoIterator<Item = (Fault, u16)>) {
        self.rates = rates.into_iter().collect();
        self.dice = Dice::new(seed);
    }

    /// Injects each of [`Fault::TRANSIENT`] into so many of a thousand requests.
    pub fn hostile(&mut self, seed: u64, per_mille: u16) {
        self.randomize(seed, Fault::TRANSIENT.map(|fault| (fault, per_mille)));
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the number of faults that the script still has.
    pub fn scripted(&self) -> usize {
        self.script.len()
    }

    /// Returns `true` if no request can meet a fault.
    pub(crate) fn is_empty(&self) -> bool {
        self.script.is_empty() && self.rates.is_empty()
    }

    /// Returns the fault that a request meets; `None` as the request if it cannot be parsed.
    pub(crate) fn draw(&mut self, call: Option<&Call>) -> Option<Fault> {
        let operation = call.and_then(Call::operation);
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
