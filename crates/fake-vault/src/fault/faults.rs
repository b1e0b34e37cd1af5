//! The choice of faults: scripted, permanent or random.

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
    rules: Arc<[(Target, Fault)]>,
    rates: Arc<[(Fault, u16)]>,
    dice: Dice,
}

/// The requests that a permanent fault meets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Those to sign this CSR.
    Csr(Arc<str>),
    /// Those of this kind.
    Operation(Operation),
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("script", &self.script)
            .field("rules", &self.rules)
            .field("rates", &self.rates)
            .finish()
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            script: VecDeque::new(),
            rules: Arc::new([]),
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

    /// Injects a fault into every request of a kind: `Fault::Late` into signatures is a slow signer,
    /// `Fault::InternalError` into probes an engine that fails without a CSR, `Fault::NotJson` into health requests a
    /// proxy that answers them itself.
    pub fn always(&mut self, operation: Operation, fault: Fault) {
        self.rule(Target::Operation(operation), fault);
    }

    /// Injects a fault into every request to sign a CSR, PEM, and into no other request.
    pub fn for_csr(&mut self, csr: &str, fault: Fault) {
        self.rule(Target::Csr(csr.trim().into()), fault);
    }

    fn rule(&mut self, target: Target, fault: Fault) {
        self.rules = self.rules.iter().cloned().chain([(target, fault)]).collect();
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
        self.script.is_empty() && self.rules.is_empty() && self.rates.is_empty()
    }

    /// Returns the fault that a request meets; `None` as the request if it cannot be parsed.
    pub(crate) fn draw(&mut self, call: Option<&Call>) -> Option<Fault> {
        let operation = call.and_then(Call::operation);
        let due = |(wanted, _): &(Option<Operation>, Fault)| wanted.is_none() || *wanted == operation;
        if let Some(index) = self.script.iter().position(due) {
            return self.script.remove(index).map(|(_, fault)| fault);
        }
        let met = |(target, _): &&(Target, Fault)| match target {
            Target::Csr(csr) => call.is_some_and(|call| call.fields.text("csr").trim() == &**csr),
            Target::Operation(target) => operation == Some(*target),
        };
        if let Some((_, fault)) = self.rules.iter().find(met) {
            return Some(*fault);
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
