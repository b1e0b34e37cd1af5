//! Where tools and built servers are kept between runs.

use std::env;
use std::path::PathBuf;

use anyhow::Context;

/// Returns `$XDG_CACHE_HOME/vault-issuer`, or `$HOME/.cache/vault-issuer` if that variable is not an absolute path.
///
/// # Errors
///
/// Fails if neither variable is set.
pub fn dir() -> anyhow::Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("vault-issuer"))
}
