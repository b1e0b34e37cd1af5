//! Digests that identify states. Times count relative to now.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// The reading of every simulated clock at the start. Any `Duration` in a state that is as large is a point in time, not
/// a span.
pub const EPOCH: Duration = Duration::from_secs(1_000_000_000);

/// A 128-bit digest of a state, fed through `Hash`.
///
/// A point in time, which is a `Duration` of [`EPOCH`] or more, counts by its distance from now, rounded to a power of two:
/// the same state an hour later has the same digest. Uids and versions assigned by `fake-kube` count by the number of later
/// ones. Everything else counts as it is.
#[derive(Clone, Debug)]
pub struct Digest<'a> {
    lanes: [u64; 2],
    now: u64,
    /// Set if the nanoseconds of a point in time follow.
    nanos: bool,
    /// The history of the cluster: objects created and writes, by name.
    uids: &'a [u32],
    writes: &'a [u64],
}

impl<'a> Digest<'a> {
    /// Returns an empty digest for a state whose own clock shows `now`.
    pub fn new(now: Duration) -> Self {
        Self {
            lanes: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
            now: now.as_secs(),
            nanos: false,
            uids: &[],
            writes: &[],
        }
    }

    /// Makes uids and versions count relative to the history of the cluster.
    pub(crate) fn within(self, (uids, writes): (&'a [u32], &'a [u64])) -> Self {
        Self { uids, writes, ..self }
    }

    /// Returns the word that stands for a uid or a version; `None` if the bytes are neither.
    fn relative(&self, bytes: &[u8]) -> Option<u64> {
        let number = |text: &str| text.parse::<u64>().ok();
        match bytes.first()? {
            b'u' if !self.uids.is_empty() => {
                let uid = number(std::str::from_utf8(bytes.strip_prefix(b"uid-")?).ok()?)?;
                let (name, count) = (uid / 1000, uid % 1000);
                let last = *self.uids.get(usize::try_from(name).ok()?)?;
                Some(fold(name, 0xe703_7ed1_a0b4_28db) ^ u64::from(last).wrapping_sub(count))
            }
            b'r' if !self.writes.is_empty() => {
                let mut parts = std::str::from_utf8(bytes.strip_prefix(b"rv")?).ok()?.split('.');
                let (name, count, content) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
                let last = *self.writes.get(usize::try_from(name).ok()?)?;
                let content = u64::from_str_radix(content, 16).ok()?;
                Some(fold(content ^ name, 0xa076_1d64_78bd_642f) ^ last.wrapping_sub(count))
            }
            _ => None,
        }
    }

    /// Returns the digest of a single value without points in time.
    pub fn of(value: &impl Hash) -> u128 {
        let mut digest = Digest::new(EPOCH);
        value.hash(&mut digest);
        digest.value()
    }

    /// Returns the digest.
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

impl Hasher for Digest<'_> {
    fn finish(&self) -> u64 {
        self.lanes[0]
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(word) = self.relative(bytes) {
            self.mix(word);
            return;
        }
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

/// Returns the number of binary digits of a number of seconds.
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
    fn points_in_time_count_by_distance() {
        assert_eq!(digest(10, &at(15, 0)), digest(1000, &at(1005, 7)));
        assert_ne!(digest(10, &at(15, 0)), digest(10, &at(30, 0)));
        assert_ne!(digest(10, &at(5, 0)), digest(10, &at(15, 0)));
        assert_ne!(digest(10, &(at(15, 0), 1_u32)), digest(10, &(at(15, 0), 2_u32)));
    }

    #[test]
    fn uids_and_versions_are_relative() {
        let within = |uids: u32, writes: u64, value: &dyn Fn(&mut Digest<'_>)| {
            let (uids, writes) = ([uids], [writes]);
            let mut digest = Digest::new(EPOCH).within((&uids, &writes));
            value(&mut digest);
            digest.value()
        };
        let version = |text: &'static str| move |digest: &mut Digest<'_>| text.hash(digest);
        assert_eq!(
            within(2, 5, &version("rv0.4.00ff")),
            within(2, 9, &version("rv0.8.00ff"))
        );
        assert_ne!(
            within(2, 5, &version("rv0.4.00ff")),
            within(2, 5, &version("rv0.4.00fe"))
        );
        assert_ne!(
            within(2, 5, &version("rv0.4.00ff")),
            within(2, 5, &version("rv0.5.00ff"))
        );
        assert_eq!(within(2, 5, &version("uid-2")), within(7, 5, &version("uid-7")));
        assert_ne!(within(2, 5, &version("uid-1")), within(7, 5, &version("uid-7")));
    }

    #[test]
    fn spans_and_texts_are_absolute() {
        let second = Duration::from_secs(1);
        assert_ne!(digest(0, &second), digest(0, &(second + Duration::from_nanos(1))));
        assert_eq!(digest(0, &second), digest(99, &second));
        assert_ne!(digest(0, &"ab"), digest(0, &"ba"));
        assert_ne!(digest(0, &["a", "b"]), digest(0, &["ab", ""]));
        assert_ne!(digest(0, &Some(0_u8)), digest(0, &None::<u8>));
    }
}
