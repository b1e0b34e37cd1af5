//! States are told apart by a digest, in which time counts relative to now.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Where every simulated clock begins. Whatever is as large as this in a state is a moment, not a span of time.
pub const EPOCH: Duration = Duration::from_secs(1_000_000_000);

/// A digest of 128 bits that any state can be written into by its `Hash`.
///
/// A moment, which is a `Duration` of [`EPOCH`] or more, counts by its distance from now within a factor of two: the
/// same state an hour later is the same state. All else counts as it is.
#[derive(Clone, Debug)]
pub struct Digest {
    lanes: [u64; 2],
    now: u64,
    /// Whether the nanoseconds of a moment come next.
    nanos: bool,
}

impl Digest {
    /// Begins a digest of what is as it is at `now` by its own clock.
    pub fn new(now: Duration) -> Self {
        Self {
            lanes: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
            now: now.as_secs(),
            nanos: false,
        }
    }

    /// Returns the digest of one value in which no time counts.
    pub fn of(value: &impl Hash) -> u128 {
        let mut digest = Self::new(EPOCH);
        value.hash(&mut digest);
        digest.value()
    }

    /// Returns all 128 bits.
    pub fn value(&self) -> u128 {
        let [a, b] = self.lanes;
        u128::from(a) << 64 | u128::from(b)
    }

    fn mix(&mut self, word: u64) {
        let [a, b] = self.lanes;
        self.lanes = [
            fold(a ^ word, 0x9e37_79b9_7f4a_7c15),
            fold(b.rotate_left(29) ^ word, 0xd6e8_feb8_6659_fd93),
        ];
        self.nanos = false;
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or_default() ^ a.rotate_left(17)
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.lanes[0]
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(chunk.try_into().map_or(0, u64::from_le_bytes));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let word = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.mix(word << 8 | u64::try_from(rest.len()).unwrap_or_default());
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        if !std::mem::take(&mut self.nanos) {
            self.mix(n.into());
        }
    }

    fn write_u64(&mut self, n: u64) {
        let epoch = EPOCH.as_secs();
        if (epoch..2 * epoch).contains(&n) {
            let distance = match n.checked_sub(self.now) {
                Some(ahead) => u64::from(octave(ahead)),
                None => 0x100 + u64::from(octave(self.now - n)),
            };
            self.mix(distance);
            self.nanos = true;
        } else {
            self.mix(n);
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(u64::try_from(n).unwrap_or(u64::MAX));
    }

    fn write_isize(&mut self, n: isize) {
        self.mix(u64::from_ne_bytes((n as i64).to_ne_bytes()));
    }
}

/// Returns the number of binary digits of a count of seconds.
fn octave(seconds: u64) -> u32 {
    u64::BITS - seconds.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(now: u64, value: &impl Hash) -> u128 {
        let mut digest = Digest::new(EPOCH + Duration::from_secs(now));
        value.hash(&mut digest);
        digest.value()
    }

    fn at(seconds: u64, millis: u64) -> Duration {
        EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
    }

    #[test]
    fn moments_count_by_their_distance() {
        assert_eq!(digest(10, &at(15, 0)), digest(1000, &at(1005, 7)));
        assert_ne!(digest(10, &at(15, 0)), digest(10, &at(30, 0)));
        assert_ne!(digest(10, &at(5, 0)), digest(10, &at(15, 0)));
        assert_ne!(digest(10, &(at(15, 0), 1_u32)), digest(10, &(at(15, 0), 2_u32)));
    }

    #[test]
    fn spans_and_all_else_count_as_they_are() {
        let second = Duration::from_secs(1);
        assert_ne!(digest(0, &second), digest(0, &(second + Duration::from_nanos(1))));
        assert_eq!(digest(0, &second), digest(99, &second));
        assert_ne!(digest(0, &"ab"), digest(0, &"ba"));
        assert_ne!(digest(0, &["a", "b"]), digest(0, &["ab", ""]));
        assert_ne!(digest(0, &Some(0_u8)), digest(0, &None::<u8>));
    }
}
