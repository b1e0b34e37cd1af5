//! Random numbers for scenarios.

use std::time::Duration;

/// A random number generator. Equal seeds give equal runs.
#[derive(Clone, Debug)]
pub(crate) struct Dice(fake_vault::Dice);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fake_vault::Dice::new(seed))
    }

    /// Returns a number below `end`; zero if there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.0.roll()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// Returns `true` with a probability of `rate` in a thousand.
    pub(crate) fn chance(&mut self, rate: u64) -> bool {
        self.below(1000) < rate
    }

    /// Returns a span from `least` up to `most`.
    pub(crate) fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let width = nanos(most.saturating_sub(least));
        least + Duration::from_nanos(self.below(width.saturating_add(1)))
    }

    /// Returns a span from `least` up to `most` whose magnitude is uniform: between one and two minutes as often as between
    /// one and two hours.
    pub(crate) fn magnitude(&mut self, least: Duration, most: Duration) -> Duration {
        let octave = |span: Duration| u64::from(span.as_millis().max(1).ilog2());
        let octaves = octave(most).saturating_sub(octave(least));
        let octave = u32::try_from(self.below(octaves + 1)).unwrap_or_default();
        let from = least.saturating_mul(1 << octave);
        self.span(from, from * 2).min(most)
    }

    /// Returns one of the values; `None` if there are none.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let at = self.below(u64::try_from(of.len()).unwrap_or_default());
        of.get(usize::try_from(at).unwrap_or_default()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_range_and_repeatable() {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let throw = |seed| {
            let mut dice = Dice::new(seed);
            let below: Vec<_> = (0..1000).map(|_| dice.below(6)).collect();
            let spans: Vec<_> = (0..1000).map(|_| dice.magnitude(second, day)).collect();
            (below, spans)
        };
        let (below, spans) = throw(7);
        assert!((0..6).all(|face| below.contains(&face)) && below.iter().all(|face| *face < 6));
        assert!(spans.iter().all(|span| (second..=day).contains(span)));
        assert!(spans.iter().any(|span| *span < 60 * second) && spans.iter().any(|span| *span > day / 4));
        assert_eq!(throw(7), (below, spans));
        assert_ne!(throw(7), throw(8));
    }
}
