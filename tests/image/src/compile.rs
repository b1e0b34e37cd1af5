//! Compiles the controller as one static file that does not show where it was built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde_json::Value;
use xtask::process::{cargo, read, run, succeeds};

/// An architecture, by the name of Go and of image manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// Returns the architecture of this program.
    pub(crate) fn of_this_machine() -> anyhow::Result<Self> {
        let all = [Self::Amd64, Self::Arm64];
        let own = all.into_iter().find(|one| one.rust() == env::consts::ARCH);
        own.with_context(|| format!("there is no image for {}", env::consts::ARCH))
    }

    /// Returns the name in image manifests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns Rust's name.
    fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rust())
    }
}

/// The flags for one static file without symbols, which would make a seventh of it: panics name file and line without them.
/// Cargo's profile does not reach packages with settings of their own.
///
/// Relocations are read at the start, all of them: packed, they take 6 kB of memory instead of a megabyte. A linker that
/// cannot pack them says so, and goes on; the C library must be glibc 2.36 or later, which unpacks them.
const LINKING: [&str; 3] = [
    "-Ctarget-feature=+crt-static",
    "-Cstrip=symbols",
    "-Clink-arg=-Wl,-z,pack-relative-relocs",
];

/// Compiles the controller and returns the path of the binary.
pub(crate) fn controller(architecture: Architecture) -> anyhow::Result<PathBuf> {
    let target = architecture.target();
    let folders = Folders::find()?;
    ensure!(
        folders.rustlib.join(&target).is_dir(),
        "the Rust standard library for {target} is not installed: rustup target add {target}, or with Debian's \
         compiler apt-get install libstd-rust-dev:{}",
        architecture.name()
    );
    let mut build = cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "vault-issuer",
        "--target",
    ]);
    build
        .arg(&target)
        // With a target, these flags are not those of build scripts.
        .env("CARGO_ENCODED_RUSTFLAGS", folders.rust_flags().join("\x1f"))
        .env(format!("CFLAGS_{}", target.replace('-', "_")), folders.c_flags().join(" "));
    let native = architecture == Architecture::of_this_machine()?;
    if !native {
        cross(&mut build, architecture)?;
    }
    run(&mut build)?;
    let binary = folders.target.join(&target).join("release/vault-issuer");
    if native {
        read(Command::new(&binary).arg("--version"))
            .context("the binary does not run; does it have glibc 2.36 or later?")?;
    }
    let content = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let shown = folders.shown_in(&content);
    ensure!(
        shown.is_empty(),
        "the binary shows where it was built: {}",
        shown.join(", ")
    );
    Ok(binary)
}

/// Selects Debian's cross compiler and its linker.
fn cross(build: &mut Command, architecture: Architecture) -> anyhow::Result<()> {
    let triple = format!("{}-linux-gnu", architecture.rust());
    let compiler = format!("{triple}-gcc");
    ensure!(
        is_installed(&compiler),
        "{compiler} is not installed: apt-get install gcc-{} libc6-dev-{}-cross",
        triple.replace('_', "-"),
        architecture.name()
    );
    let target = architecture.target().replace('-', "_");
    build
        .env(format!("CC_{target}"), &compiler)
        .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase()), compiler);
    Ok(())
}

/// Returns `true` if there is a program of this name.
fn is_installed(program: &str) -> bool {
    succeeds(Command::new(program).arg("--version"))
}

/// The folders whose paths a build could leave in a binary.
struct Folders {
    /// The repository.
    root: PathBuf,
    /// Cargo's target folder.
    target: PathBuf,
    /// `CARGO_HOME`.
    cargo: PathBuf,
    /// That of the toolchain with the standard library. One of a distribution is in `/usr`, which many programs name.
    rustlib: PathBuf,
    /// The compiler's commit, of which the standard library's sources are named.
    commit: String,
}

impl Folders {
    fn find() -> anyhow::Result<Self> {
        let metadata = read(&mut cargo(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let target = metadata.get("target_directory").and_then(Value::as_str);
        let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let version = read(rustc().args(["--version", "--verbose"]))?;
        let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
        let sysroot = read(rustc().args(["--print", "sysroot"]))?;
        Ok(Self {
            root: xtask::root(),
            target: target.context("cargo metadata names the target folder")?.into(),
            cargo: cargo.context("neither CARGO_HOME nor HOME is set")?,
            rustlib: Path::new(sysroot.trim()).join("lib/rustlib"),
            commit: commit.unwrap_or_default().to_owned(),
        })
    }

    /// Returns the paths and what stands for them in the binary. Where two match, the later one counts.
    fn names(&self) -> [(&Path, String); 5] {
        [
            (&self.root, "/src".into()),
            (&self.target, "/target".into()),
            (&self.cargo, "/cargo".into()),
            (&self.rustlib, "/rust".into()),
            // As in a toolchain without the sources of the standard library.
            (&self.rustlib, format!("/rustc/{}", self.commit)),
        ]
    }

    fn rust_flags(&self) -> Vec<String> {
        let mut flags = LINKING.map(str::to_owned).to_vec();
        for (path, name) in self.names() {
            let path = if name.starts_with("/rustc/") {
                path.join("src/rust")
            } else {
                path.to_owned()
            };
            flags.push(format!("--remap-path-prefix={}={name}", path.display()));
        }
        flags
    }

    fn c_flags(&self) -> Vec<String> {
        let flag = |(path, name): (&Path, String)| format!("-ffile-prefix-map={}={name}", path.display());
        self.names().into_iter().take(3).map(flag).collect()
    }

    /// Returns the paths that a binary contains. One that is also a name in the binary, as `/src` of `deploy/Dockerfile`,
    /// shows nothing.
    fn shown_in(&self, binary: &[u8]) -> Vec<String> {
        let names = self.names();
        let is_name = |path: &Path| names.iter().any(|(_, name)| Path::new(name) == path);
        let paths = names.iter().filter(|(path, _)| !is_name(path));
        let paths = paths.map(|(path, _)| path.display().to_string());
        // With the slash, a short path is not found within a longer name.
        let mut shown: Vec<String> = paths
            .filter(|path| contains(binary, format!("{path}/").as_bytes()))
            .collect();
        shown.dedup();
        shown
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> Folders {
        Folders {
            root: "/builds/a/repo".into(),
            target: "/builds/a/repo/target".into(),
            cargo: "/builds/a/.cargo".into(),
            rustlib: "/builds/a/.rustup/toolchains/stable/lib/rustlib".into(),
            commit: "0123".into(),
        }
    }

    #[test]
    fn every_build_folder_is_renamed() {
        let flags = folders().rust_flags();
        assert_eq!(
            flags.get(LINKING.len()..).unwrap(),
            [
                "--remap-path-prefix=/builds/a/repo=/src",
                "--remap-path-prefix=/builds/a/repo/target=/target",
                "--remap-path-prefix=/builds/a/.cargo=/cargo",
                "--remap-path-prefix=/builds/a/.rustup/toolchains/stable/lib/rustlib=/rust",
                "--remap-path-prefix=/builds/a/.rustup/toolchains/stable/lib/rustlib/src/rust=/rustc/0123",
            ]
        );
    }

    #[test]
    fn missing_program_is_noticed() {
        assert!(is_installed("rustc"));
        assert!(!is_installed("no-such-linux-gnu-gcc"));
    }

    #[test]
    fn other_files_in_usr_may_be_named() {
        let folders = Folders {
            rustlib: "/usr/lib/rustlib".into(),
            ..folders()
        };
        assert!(folders.shown_in(b"/usr/share/zoneinfo").is_empty());
        assert_eq!(folders.shown_in(b"/usr/lib/rustlib/src/rust"), ["/usr/lib/rustlib"]);
    }

    #[test]
    fn build_in_dockerfile_shows_nothing() {
        let folders = Folders {
            root: "/src".into(),
            target: "/src/target".into(),
            ..folders()
        };
        let shown = |text: &str| folders.shown_in(text.as_bytes());
        assert!(shown("/cargo/registry/src/index/a/src/lib.rs").is_empty());
        assert_eq!(shown("/src/target/release/build/a/out/b.rs"), ["/src/target"]);
    }

    #[test]
    fn build_paths_in_binary_are_found() {
        let shown = |text: &str| folders().shown_in(text.as_bytes());
        assert!(shown("/cargo/registry/src/a.rs and /builds/b/.cargo").is_empty());
        assert_eq!(shown("\0/builds/a/.cargo/registry/src/a.rs\0"), ["/builds/a/.cargo"]);
        assert_eq!(shown("/builds/a/repo/target/x").len(), 2);
    }
}
