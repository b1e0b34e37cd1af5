//! A process and its descendants.

use std::collections::HashMap;
use std::fs;

/// Returns the resident memory in bytes of a process and its descendants (proc_pid_statm(5)), or 0 on systems without
/// `/proc`.
pub(super) fn resident(root: u32) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    family(root).into_iter().filter_map(pages).sum::<u64>() * page
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

fn pages(id: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    statm.split_whitespace().nth(1)?.parse().ok()
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
    fn descendants_are_found_through_parents() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 1)]);
        assert!(is_descendant(3, 2, &parents));
        assert!(is_descendant(2, 2, &parents));
        assert!(!is_descendant(4, 2, &parents));
        assert!(!is_descendant(5, 5000, &HashMap::from([(5, 5)])));
    }
}
