//! Inputs from the field, each against its right result. `README.md` beside them says where they are from.

mod chain;
mod csr;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of a file or folder of cases.
fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(relative)
}

/// Returns the files of a folder that have an extension, by their names without it.
fn files(folder: &str, extension: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let of_kind = files.filter(|file| file.extension().is_some_and(|found| found == extension));
    let files: BTreeMap<_, _> = of_kind
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&file).unwrap())
        })
        .collect();
    assert!(!files.is_empty(), "{folder} has no {extension} files");
    files
}

/// Asserts that a table has a row for each file.
fn assert_complete<'a>(files: &BTreeMap<String, Vec<u8>>, rows: impl IntoIterator<Item = &'a str>) {
    let mut rows: Vec<&str> = rows.into_iter().collect();
    rows.sort_unstable();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(rows, names);
}
