//! A process and its descendants.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

/// Returns the resident memory in bytes of a process and its descendants (proc_pid_statm(5)), or 0 on systems without
/// `/proc`. Processes of one program share the pages of its files, which count once.
pub(super) fn resident(root: u32) -> u64 {
    let mut anonymous = 0;
    let mut files: HashMap<PathBuf, u64> = HashMap::new();
    for id in family(root) {
        let Some((resident, shared)) = fs::read_to_string(format!("/proc/{id}/statm"))
            .ok()
            .as_deref()
            .and_then(pages)
        else {
            continue;
        };
        anonymous += resident.saturating_sub(shared);
        let program = fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
        let most = files.entry(program).or_default();
        *most = shared.max(*most);
    }
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    (anonymous + files.into_values().sum::<u64>()) * page
}

/// Returns a process and its descendants (proc_pid_stat(5)); none on systems without `/proc`.
pub(super) fn family(root: u32) -> Vec<u32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(id) = id
            && let Some(parent) = fs::read_to_string(entry.path().join("stat"))
                .ok()
                .as_deref()
                .and_then(parent)
        {
            parents.insert(id, parent);
        }
    }
    let members = parents.keys().filter(|id| is_descendant(**id, root, &parents));
    members.copied().collect()
}

fn is_descendant(mut id: u32, root: u32, parents: &HashMap<u32, u32>) -> bool {
    // No line of ancestors is longer than the list of processes.
    for _ in 0..parents.len() {
        if id == root {
            return true;
        }
        match parents.get(&id) {
            Some(parent) => id = *parent,
            None => return false,
        }
    }
    false
}

/// Returns the parent in a line of `/proc/PID/stat`; the name before it may contain blanks and parentheses.
fn parent(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the pages in `/proc/PID/statm` that are resident, and those of them that belong to files.
fn pages(statm: &str) -> Option<(u64, u64)> {
    let mut fields = statm.split_whitespace().skip(1).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_follows_name_in_parentheses() {
        assert_eq!(parent("12 (a) b) S 7 12 0"), Some(7));
        assert_eq!(parent("12"), None);
    }

    #[test]
    fn resident_pages_include_those_of_files() {
        assert_eq!(pages("900 70 30 5 0 40 0"), Some((70, 30)));
        assert_eq!(pages("900"), None);
    }

    #[test]
    fn descendants_are_found_through_parents() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 1)]);
        assert!(is_descendant(3, 2, &parents));
        assert!(is_descendant(2, 2, &parents));
        assert!(!is_descendant(4, 2, &parents));
        assert!(!is_descendant(5, 5000, &HashMap::from([(5, 5)])));
    }
}
