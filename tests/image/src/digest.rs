//! SHA-256 digests of what is written and read.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The digest and size of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    /// The digest, 64 hex digits.
    pub(crate) hex: String,
    /// The number of bytes.
    pub(crate) size: u64,
}

impl Digest {
    /// Returns the digest of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hashing = Hashing::new(io::sink());
        // A sink takes everything.
        let _ = hashing.write_all(bytes);
        hashing.finish().1
    }

    /// Returns the digest of a file.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut File::open(path)?, &mut hashing)?;
        Ok(hashing.finish().1)
    }

    /// Returns the digest as manifests name it.
    pub(crate) fn name(&self) -> String {
        format!("sha256:{}", self.hex)
    }
}

/// A writer that hashes what passes through it.
pub(crate) struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size: 0,
        }
    }

    /// Returns the inner writer and the digest of everything written.
    pub(crate) fn finish(self) -> (W, Digest) {
        let bytes = self.hash.finalize();
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        (self.inner, Digest { hex, size: self.size })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            Digest::of(b"abc"),
            Digest {
                hex: hex.into(),
                size: 3
            }
        );
    }
}
