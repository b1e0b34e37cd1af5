//! A writer of tar archives whose bytes depend on names, modes and contents alone.
//!
//! The format is `ustar` (POSIX.1-1988).

use std::io::{self, Read, Write};

/// The unit of the format: headers are of this size, contents are padded to it.
const BLOCK: u64 = 512;

/// An archive that is being written.
pub(crate) struct Tar<W> {
    out: W,
}

impl<W: Write> Tar<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Appends a folder.
    pub(crate) fn folder(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.out.write_all(&header(name, mode, 0, b'5')?)
    }

    /// Appends a file of `size` bytes.
    pub(crate) fn file(&mut self, name: &str, mode: u32, size: u64, content: impl Read) -> io::Result<()> {
        self.out.write_all(&header(name, mode, size, b'0')?)?;
        if io::copy(&mut content.take(size), &mut self.out)? < size {
            return Err(io::Error::other(format!("{name} is shorter than it was")));
        }
        let padding = size.next_multiple_of(BLOCK) - size;
        io::copy(&mut io::repeat(0).take(padding), &mut self.out)?;
        Ok(())
    }

    /// Appends the end of the archive and returns the writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        io::copy(&mut io::repeat(0).take(2 * BLOCK), &mut self.out)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Returns the header of an entry.
fn header(name: &str, mode: u32, size: u64, kind: u8) -> io::Result<Vec<u8>> {
    // The sum of the header's bytes is taken with blanks in the place of the sum.
    let blank = fields(name, mode, size, kind, b"        ")?;
    let sum: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
    fields(name, mode, size, kind, format!("{sum:06o}\0 ").as_bytes())
}

fn fields(name: &str, mode: u32, size: u64, kind: u8, sum: &[u8]) -> io::Result<Vec<u8>> {
    let mut block = Vec::new();
    let mut field = |bytes: &[u8], width: usize| {
        if bytes.len() > width {
            return Err(io::Error::other(format!("{name} does not fit into a tar header")));
        }
        let end = block.len() + width;
        block.extend_from_slice(bytes);
        block.resize(end, 0);
        Ok(())
    };
    field(name.as_bytes(), 100)?;
    field(format!("{mode:07o}").as_bytes(), 8)?;
    for _user_and_group in 0..2 {
        field(b"0000000", 8)?;
    }
    field(format!("{size:011o}").as_bytes(), 12)?;
    field(b"00000000000", 12)?; // time
    field(sum, 8)?;
    field(&[kind], 1)?;
    field(b"", 100)?; // link
    field(b"ustar\x0000", 8)?;
    field(b"", 64)?; // names of user and group
    for _device in 0..2 {
        field(b"0000000", 8)?;
    }
    field(b"", 167)?; // prefix, padding
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn archive_is_read_by_tar() {
        let mut tar = Tar::new(Vec::new());
        tar.folder("etc", 0o755).unwrap();
        tar.file("etc/motd", 0o644, 5, &b"hello"[..]).unwrap();
        tar.folder("tmp", 0o1777).unwrap();
        let archive = tar.finish().unwrap();
        assert_eq!(archive.len() % 512, 0);
        let mut list = Command::new("tar")
            .args(["--list", "--verbose", "--utc", "--numeric-owner"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        list.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = list.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [
                ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "etc"],
                ["-rw-r--r--", "0/0", "5", "1970-01-01", "00:00", "etc/motd"],
                ["drwxrwxrwt", "0/0", "0", "1970-01-01", "00:00", "tmp"],
            ]
        );
    }

    #[test]
    fn long_names_are_refused() {
        let mut tar = Tar::new(Vec::new());
        tar.folder(&"a".repeat(100), 0o755).unwrap();
        tar.folder(&"a".repeat(101), 0o755).unwrap_err();
    }

    #[test]
    fn shorter_content_is_an_error() {
        let mut tar = Tar::new(Vec::new());
        tar.file("a", 0o644, 6, &b"hello"[..]).unwrap_err();
    }
}
