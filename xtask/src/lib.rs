//! What the tools of this repository share: its root, its cache and child processes.

pub mod cache;
pub mod process;

use std::path::{Path, PathBuf};

/// The exit status of a program that has run nothing because something it needs is missing, as in Automake.
pub const SKIPPED: u8 = 77;

/// Returns the root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
