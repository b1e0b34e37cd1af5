//! Folders in the cache that are built once, by Go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::time::Instant;

use anyhow::{Context, ensure};
use aws_lc_rs::digest;
use xtask::cache;

use super::say;
use xtask::process::read;

/// Returns the cached folder `NAME-KEY`; `build` fills it unless it is there.
pub(super) fn folder(
    name: &str,
    key: &str,
    build: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let components = cache::dir()?.join("components");
    fs::create_dir_all(&components)?;
    let done = components.join(format!("{name}-{key}"));
    if done.is_dir() {
        return Ok(done);
    }
    say(&format!("building {name} (once; takes minutes)"));
    let begun = Instant::now();
    // Built beside its final place and renamed, so a folder that exists is complete.
    let partial = components.join(format!(".{name}-{}", id()));
    fs::create_dir_all(&partial)?;
    let built = build(&partial);
    if built.is_ok() && !done.is_dir() {
        fs::rename(&partial, &done)?;
    } else {
        let _ = fs::remove_dir_all(&partial);
    }
    built.with_context(|| format!("cannot build {name}"))?;
    say(&format!("built {name} in {} s", begun.elapsed().as_secs()));
    Ok(done)
}

/// Returns a digest, as 16 hex digits, of all that decides the content of a folder: the Go toolchain, the text of the
/// program that fills it, and the files in and below `sources`.
pub(super) fn key(program: &str, sources: &[PathBuf]) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for source in sources {
        let found = files.len();
        collect(source, &mut files)?;
        ensure!(files.len() > found, "no files in {}", source.display());
    }
    let mut parts = vec![
        toolchain()?.into_bytes(),
        include_bytes!("cached.rs").to_vec(),
        program.into(),
    ];
    for (name, path) in files {
        parts.extend([name.into_bytes(), fs::read(path)?]);
    }
    Ok(digest_of(&parts))
}

/// Returns the `go` command, run in `wrapper` and by the installed toolchain alone.
pub(super) fn go(wrapper: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(wrapper)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=readonly")
        .env("CGO_ENABLED", "0");
    command
}

/// Returns the version of `module` that the `go.mod` of `wrapper` requires, without its `v`.
pub(super) fn version(wrapper: &Path, module: &str) -> anyhow::Result<String> {
    version_in(&fs::read_to_string(wrapper.join("go.mod"))?, module)
}

fn version_in(go_mod: &str, module: &str) -> anyhow::Result<String> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").strip_prefix(module))
        .find_map(|rest| rest.strip_prefix(" v")?.split_whitespace().next())
        .map(str::to_owned)
        .with_context(|| format!("go.mod does not require {module}"))
}

/// Returns the version and target of the Go toolchain, or an error if there is none.
fn toolchain() -> anyhow::Result<String> {
    read(Command::new("go").env("GOTOOLCHAIN", "local").arg("version"))
}

/// Appends the files in and below `folder`, in the order of their names, which begin with the folder's own.
fn collect(folder: &Path, files: &mut Vec<(String, PathBuf)>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<PathBuf>>>()?;
    paths.sort();
    let parent = folder.parent().unwrap_or(folder);
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push((path.strip_prefix(parent)?.display().to_string(), path));
        }
    }
    Ok(())
}

/// Returns the digest of `parts`, each of them preceded by its length, so that no two lists of parts hash alike.
fn digest_of(parts: &[Vec<u8>]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finish();
    let bytes = digest.as_ref().iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_matches_whole_module_name() {
        let go_mod = "module x\n\nrequire (\n\texample.com/a/sdk v0.3.0\n\texample.com/a v1.2.3 // indirect\n)\n";
        assert_eq!(version_in(go_mod, "example.com/a").unwrap(), "1.2.3");
        assert_eq!(
            version_in("require example.com/a v1.36.3", "example.com/a").unwrap(),
            "1.36.3"
        );
        version_in(go_mod, "example.com/b").unwrap_err();
    }

    #[test]
    fn key_covers_program_and_files() {
        let wrapper = std::env::temp_dir().join(format!("vault-issuer-key-{}", id()));
        fs::create_dir_all(wrapper.join("inner")).unwrap();
        let key = |program| key(program, std::slice::from_ref(&wrapper));
        key("recipe").unwrap_err();
        let mut seen = Vec::new();
        for (file, text) in [
            ("go.mod", "module x"),
            ("go.mod", "module y"),
            ("main.go", "package main"),
            ("inner/a.go", "package a"),
            ("inner/a.go", "package b"),
        ] {
            fs::write(wrapper.join(file), text).unwrap();
            let new = key("recipe").unwrap();
            assert_eq!(key("recipe").unwrap(), new);
            seen.extend([new, key("recipe, changed").unwrap()]);
        }
        fs::remove_dir_all(&wrapper).unwrap();
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let parts = |first: &str, second: &str| digest_of(&[first.into(), second.into()]);
        assert_ne!(parts("recipe", "go1"), parts("recip", "ego1"));
    }
}
