//! The files of an image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::digest::{Digest, Hashing};
use crate::tar::Tar;

/// Files and folders by their paths in the image, which are relative.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Folder(u32),
    File(u32, Content),
}

/// The content of a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Those of a file, read when the layer is written.
    Path(PathBuf),
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl Layer {
    /// Adds a file, and the folders above it.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Content>) -> Self {
        self.folders_above(path);
        self.entries.insert(path.into(), Entry::File(mode, content.into()));
        self
    }

    /// Adds a folder, and those above it.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.folders_above(path);
        self.entries.insert(path.into(), Entry::Folder(mode));
        self
    }

    fn folders_above(&mut self, mut path: &str) {
        while let Some((folder, _)) = path.rsplit_once('/') {
            self.entries.entry(folder.into()).or_insert(Entry::Folder(0o755));
            path = folder;
        }
    }

    /// Writes the files below `root`, with the modes that they have in the image.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or written.
    pub fn unpack(&self, root: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir_all(root)?;
        // A folder comes before what it contains.
        for (path, entry) in &self.entries {
            let target = root.join(path);
            let mode = match entry {
                Entry::Folder(mode) => {
                    fs::create_dir_all(&target)?;
                    *mode
                }
                Entry::File(mode, content) => {
                    fs::write(&target, content.read()?)?;
                    *mode
                }
            };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Writes the layer as a tar archive and returns its digest.
    pub(crate) fn write(&self, to: &Path) -> anyhow::Result<Digest> {
        let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
        let (mut file, digest) = self.append_to(Hashing::new(BufWriter::new(file)))?.finish();
        file.flush()?;
        Ok(digest)
    }

    fn append_to<W: Write>(&self, out: W) -> anyhow::Result<W> {
        let mut tar = Tar::new(out);
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder(mode) => tar.folder(path, *mode)?,
                Entry::File(mode, Content::Bytes(bytes)) => {
                    tar.file(path, *mode, bytes.len() as u64, bytes.as_slice())?;
                }
                Entry::File(mode, Content::Path(source)) => {
                    let file = File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
                    tar.file(path, *mode, file.metadata()?.len(), file)?;
                }
            }
        }
        Ok(tar.finish()?)
    }
}

impl Content {
    fn read(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Path(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(layer: &Layer) -> Vec<u8> {
        layer.append_to(Vec::new()).unwrap()
    }

    #[test]
    fn order_of_files_changes_nothing() {
        let (one, two) = ("one".to_owned(), "two".to_owned());
        let a = Layer::default()
            .file("a/one", 0o644, one.clone())
            .file("b", 0o644, two.clone());
        let b = Layer::default().file("b", 0o644, two).file("a/one", 0o644, one);
        assert_eq!(bytes(&a), bytes(&b));
    }

    #[test]
    fn time_of_file_changes_nothing() {
        let path = std::env::temp_dir().join(format!("vault-issuer-layer-{}", std::process::id()));
        fs::write(&path, "hello").unwrap();
        let layer = Layer::default().file("a", 0o644, path.clone());
        let first = bytes(&layer);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(bytes(&layer), first);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn given_mode_of_folder_stays() {
        let layer = Layer::default()
            .folder("tmp", 0o1777)
            .file("tmp/a", 0o644, String::new());
        assert!(matches!(layer.entries["tmp"], Entry::Folder(0o1777)));
    }
}
