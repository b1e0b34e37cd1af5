//! The set of visited states.

/// Digests of states, numbered in the order of insertion.
///
/// An open-addressing table holds only the numbers, and the digests stand in a vector: about 23 bytes for each state. The
/// digests are uniformly distributed, so their low bits are the hash.
#[derive(Debug)]
pub(super) struct Visited {
    digests: Vec<u128>,
    /// The numbers of the digests, each at the first free slot from its hash on; the length is a power of two.
    table: Vec<u32>,
}

/// A free slot.
const FREE: u32 = u32::MAX;

impl Visited {
    pub(super) fn new() -> Self {
        Self {
            digests: Vec::new(),
            table: vec![FREE; 1 << 10],
        }
    }

    /// Returns the number of states.
    pub(super) fn len(&self) -> usize {
        self.digests.len()
    }

    /// Returns the number of a state, if it was visited.
    pub(super) fn get(&self, digest: u128) -> Option<u32> {
        let (_, id) = self.find(digest);
        (id != FREE).then_some(id)
    }

    /// Inserts a state that was not visited before; returns its number.
    pub(super) fn insert(&mut self, digest: u128) -> u32 {
        if (self.digests.len() + 1) * 4 > self.table.len() * 3 {
            self.grow();
        }
        let id = u32::try_from(self.digests.len()).unwrap_or(FREE);
        let (slot, _) = self.find(digest);
        if let Some(slot) = self.table.get_mut(slot) {
            *slot = id;
        }
        self.digests.push(digest);
        id
    }

    /// Returns the slot of a digest and the number in it.
    fn find(&self, digest: u128) -> (usize, u32) {
        let mask = self.table.len() - 1;
        // The cast keeps the low bits, which are all that the mask leaves.
        let mut slot = digest as usize & mask;
        loop {
            let id = self.table.get(slot).copied().unwrap_or(FREE);
            if id == FREE || self.digests.get(usize::try_from(id).unwrap_or(usize::MAX)) == Some(&digest) {
                return (slot, id);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.table = vec![FREE; self.table.len() * 2];
        for (id, digest) in (0..).zip(&self.digests) {
            let mask = self.table.len() - 1;
            let mut slot = *digest as usize & mask;
            while self.table.get(slot).is_some_and(|taken| *taken != FREE) {
                slot = (slot + 1) & mask;
            }
            if let Some(slot) = self.table.get_mut(slot) {
                *slot = id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn states_keep_their_numbers() {
        let mut visited = Visited::new();
        let digests: Vec<u128> = (0_u32..5_000).map(|n| Digest::of(&n)).collect();
        for (number, digest) in (0..).zip(&digests) {
            assert_eq!(visited.get(*digest), None);
            assert_eq!(visited.insert(*digest), number);
        }
        assert_eq!(visited.len(), digests.len());
        for (number, digest) in (0..).zip(&digests) {
            assert_eq!(visited.get(*digest), Some(number));
        }
    }

    #[test]
    fn equal_low_bits_do_not_collide() {
        let mut visited = Visited::new();
        for high in 0..2_000_u128 {
            visited.insert(high << 64 | 7);
        }
        assert_eq!(visited.get(1_999 << 64 | 7), Some(1_999));
        assert_eq!(visited.get(2_000 << 64 | 7), None);
    }
}
