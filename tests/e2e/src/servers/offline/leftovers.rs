//! Leftovers of the engine outside of its namespaces: control groups, its data, and files at fixed places.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::images;
use crate::servers::process::alive;

/// Where control groups are, each hierarchy in a folder of its own on version 1.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The name of the control groups of a run, without its process id.
const GROUP: &str = "vault-issuer-e2e-";

/// The paths that an engine makes outside of its folder, each after its contents.
const FIXED: [&str; 5] = [
    "/etc/docker/key.json",
    "/etc/docker",
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/opt/containerd",
];

/// How long the kernel may take to end the processes of the namespaces.
const LIMIT: Duration = Duration::from_secs(30);

/// The leftovers of a run, removed on drop.
pub(super) struct Leftovers {
    dir: PathBuf,
    /// Those of the fixed places where there was nothing before.
    made: Vec<&'static str>,
}

impl Leftovers {
    /// Notes what is there before a run with files in `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            made: FIXED.into_iter().filter(|path| !Path::new(path).exists()).collect(),
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        let deadline = Instant::now() + LIMIT;
        while sweep(Path::new(CGROUPS), &group(&self.dir)).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
        }
        // The files of containers and images, which nobody reads after the run, are the largest part of its folder.
        let _ = fs::remove_dir_all(self.dir.join("docker"));
        let _ = fs::remove_file(images::controller(&self.dir));
        for path in &self.made {
            // A folder is removed only if it is empty.
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }
}

/// Returns the name of the control groups of the run with files in `dir`, which is named after its process.
pub(super) fn group(dir: &Path) -> String {
    format!("{GROUP}{}", dir.file_name().unwrap_or_default().display())
}

/// Removes the control groups `own`, and those of runs that have ended, from all hierarchies; fails while processes are
/// in them.
fn sweep(root: &Path, own: &str) -> io::Result<()> {
    let mut hierarchies = folders(root)?;
    hierarchies.push(root.to_owned());
    for hierarchy in hierarchies {
        for folder in folders(&hierarchy)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let run = name.strip_prefix(GROUP).and_then(|id| id.parse().ok());
            if name == own || run.is_some_and(|id| !alive(id)) {
                remove(&folder)?;
            }
        }
    }
    Ok(())
}

/// Removes a control group and those below it, whose files are not removed one by one.
fn remove(group: &Path) -> io::Result<()> {
    for below in folders(group)? {
        remove(&below)?;
    }
    fs::remove_dir(group)
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A link names a hierarchy that is there by another name.
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_ended_runs_are_swept() {
        let running = std::process::id();
        let root = std::env::temp_dir().join(format!("vault-issuer-sweep-{running}"));
        // No process has an id that large.
        let (own, ended) = (group(&root.join("2000000000")), "cpu/vault-issuer-e2e-2000000001");
        let others = ["memory/docker/a".to_owned(), format!("memory/{GROUP}{running}/a")];
        for path in &others {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::create_dir_all(root.join(ended).join("a/b")).unwrap();
        fs::create_dir_all(root.join(&own).join("kubelet")).unwrap();
        sweep(&root, &own).unwrap();
        assert!(others.iter().all(|path| root.join(path).exists()));
        assert!(!root.join(ended).exists() && !root.join(&own).exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn sweep_fails_while_group_is_used() {
        let root = std::env::temp_dir().join(format!("vault-issuer-busy-{}", std::process::id()));
        let own = group(&root.join("1"));
        fs::create_dir_all(root.join(&own)).unwrap();
        // In a folder that is not of a control group, a file keeps it from being removed.
        fs::write(root.join(&own).join("task"), "").unwrap();
        sweep(&root, &own).unwrap_err();
        fs::remove_dir_all(&root).unwrap();
    }
}
