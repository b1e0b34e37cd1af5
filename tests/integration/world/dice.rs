//! Random numbers for the tests.

/// Random numbers: equal seeds give equal runs.
pub(crate) struct Dice(fake_vault::Dice);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fake_vault::Dice::new(seed))
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    /// Returns one of the items.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
