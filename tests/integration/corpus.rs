//! Replays the inputs that fuzzing has kept with their targets.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use properties::TARGETS;

/// The limits of a target's corpus: files and bytes.
const MOST_FILES: usize = 200;
const MOST_BYTES: usize = 500_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Returns the files of a directory, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let files = files(&fuzz().join("corpus").join(name));
    assert!(!files.is_empty() && files.len() <= MOST_FILES, "{} files", files.len());
    let mut bytes = 0;
    for file in files {
        let input = fs::read(&file).unwrap();
        bytes += input.len();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        assert!(outcome.is_ok(), "the panic above is of {}", file.display());
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    certificate_request chain duration health login signing_request paths refusal retry_after secret sign spec world
}

#[test]
fn targets_are_complete_and_trivial() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        REPLAYED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        names
    );
    let stem = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let targets = files(&fuzz().join("fuzz_targets"));
    assert_eq!(targets.iter().map(stem).collect::<BTreeSet<_>>(), names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for file in targets {
        let name = stem(&file);
        let line = format!("#![no_main]\nlibfuzzer_sys::fuzz_target!(|data: &[u8]| properties::{name}(data));\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), line);
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not in the manifest"
        );
    }
}
