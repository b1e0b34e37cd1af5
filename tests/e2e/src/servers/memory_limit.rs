//! A limit of the memory of a process.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A limit of the memory of a process, removed when it is dropped.
pub(crate) enum MemoryLimit {
    /// A control group of its own.
    Cgroup(PathBuf),
    /// `RLIMIT_DATA` in KiB: it counts the private writable pages, as far as they are reserved, so it is stricter.
    Data(u64),
}

/// Where control groups are, by version, and the file of the limit.
const CGROUPS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

impl MemoryLimit {
    /// Returns a limit of so many bytes: a control group where this program may create one.
    pub(crate) fn new(bytes: u64) -> Self {
        let cgroup = CGROUPS.iter().find_map(|(root, file)| cgroup(root, file, bytes));
        cgroup.map_or(Self::Data(bytes >> 10), Self::Cgroup)
    }

    /// Describes the limit.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Cgroup(folder) => format!("control group {}", folder.display()),
            Self::Data(kibibytes) => format!("RLIMIT_DATA of {kibibytes} KiB"),
        }
    }

    /// Returns a command that starts `binary` under the limit.
    pub(crate) fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new("sh");
        match self {
            Self::Cgroup(folder) => {
                let enter = r#"echo $$ > "$0" && exec "$@""#;
                command.args([OsStr::new("-c"), OsStr::new(enter)]);
                command.arg(folder.join("cgroup.procs"));
            }
            Self::Data(kibibytes) => {
                let limit = r#"ulimit -d "$0" && exec "$@""#;
                command.args(["-c", limit, &kibibytes.to_string()]);
            }
        }
        command.arg(binary);
        command
    }
}

fn cgroup(root: &str, file: &str, bytes: u64) -> Option<PathBuf> {
    let folder = Path::new(root).join(format!("vault-issuer-bench-{}", std::process::id()));
    fs::create_dir(&folder).ok()?;
    // A folder that is not of a control group has no such file.
    let limit = folder.join(file);
    if limit.exists() && fs::write(&limit, bytes.to_string()).is_ok() {
        return Some(folder);
    }
    let _ = fs::remove_dir(&folder);
    None
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Self::Cgroup(folder) = self {
            let _ = fs::remove_dir(folder);
        }
    }
}
