//! The common parts of the tools of this repository: its root, its cache and child processes.

pub mod cache;
pub mod process;
pub mod tool;

use std::env;
use std::path::{Path, PathBuf};

/// The exit status of a program that has run nothing because something it needs is missing, as in Automake.
pub const SKIPPED: u8 = 77;

/// Returns the root of the repository: of the package that cargo runs, else of the current folder.
///
/// It is looked for at run time because checkouts may share a target folder, and so this program.
#[must_use]
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start = package.or_else(|| env::current_dir().ok()).unwrap_or_default();
    root_of(&start).to_owned()
}

/// Returns the nearest folder at or above `start` that holds a lock file, else `start`.
fn root_of(start: &Path) -> &Path {
    let holds_lock = |folder: &&Path| folder.join("Cargo.lock").is_file();
    start.ancestors().find(holds_lock).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_above_every_package() {
        let root = root();
        assert!(root.join("xtask/src/lib.rs").is_file(), "{}", root.display());
        assert_eq!(root_of(&root.join("tests/e2e/src")), root);
        assert_eq!(root_of(Path::new("/")), Path::new("/"));
    }
}
