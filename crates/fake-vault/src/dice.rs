//! Deterministic pseudo-random text and bytes.

use issuer_core::SplitMix64;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A sequence of pseudo-random values: equal seeds make equal sequences.
#[derive(Clone, Debug)]
pub struct Dice(SplitMix64);

impl Dice {
    /// Starts the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// Starts the sequence of a label, whose seed is the label's FNV-1a hash.
    pub(crate) fn of(label: &str) -> Self {
        Self::new(label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// Returns the next number.
    pub fn roll(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.roll().to_le_bytes()[0])
    }

    /// Returns text of letters and digits.
    pub(crate) fn text(&mut self, length: usize) -> String {
        std::iter::repeat_with(|| self.roll() % 62)
            .filter_map(|i| BASE62.get(usize::try_from(i).ok()?))
            .map(|&byte| char::from(byte))
            .take(length)
            .collect()
    }

    /// Returns text in the form of a UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let hex = format!("{:016x}{:016x}", self.roll(), self.roll());
        [0..8, 8..12, 12..16, 16..20, 20..32]
            .into_iter()
            .filter_map(|range| hex.get(range))
            .collect::<Vec<_>>()
            .join("-")
    }
}
