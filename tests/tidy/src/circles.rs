//! No files of a crate import each other in a circle.
//!
//! An arrow goes from a file to the file that defines what it imports: through re-exports, to the module in which an
//! item is written. One kind of arrow is left out: a directory's `mod.rs` (or `lib.rs`, `main.rs`) may use the files
//! below it, which may use what it defines, since both are one module that is split over files. Tests are exempt.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::source::{Import, Source};

/// A package whose files are not below `src`: all of them are tests.
const WITHOUT_SRC: &str = "tests/integration";

/// A module's path within its crate; empty for the root.
type Module = Vec<String>;

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut crates: BTreeMap<&str, BTreeMap<Module, (String, Source)>> = BTreeMap::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let Some((root, file)) = split(path) else {
            continue;
        };
        let source = Source::read(path)?;
        crates
            .entry(root)
            .or_default()
            .insert(module(file), (path.clone(), source));
    }
    Ok(crates.values().filter_map(circle).collect())
}

/// Splits a path into that of the package and that of the file within its sources.
fn split(path: &str) -> Option<(&str, &str)> {
    let inside = || Some((WITHOUT_SRC, path.strip_prefix(WITHOUT_SRC)?.strip_prefix('/')?));
    path.split_once("/src/").or_else(inside)
}

/// Returns the path of the module that a file holds.
fn module(file: &str) -> Module {
    let mut segments: Module = file.trim_end_matches(".rs").split('/').map(Into::into).collect();
    if ["lib", "main", "mod"].contains(&segments.last().map_or("", String::as_str)) {
        segments.pop();
    }
    segments
}

/// Finds the files of a crate that are in a circle.
fn circle(files: &BTreeMap<Module, (String, Source)>) -> Option<Finding> {
    let tests = test_modules(files);
    let is_test = |module: &Module| tests.iter().any(|test| module.starts_with(test));
    let mut arrows: BTreeSet<(&Module, Module)> = BTreeSet::new();
    for (from, (_, source)) in files.iter().filter(|(module, _)| !is_test(module)) {
        for import in &source.imports {
            let to = definition(files, from, import, 0);
            if let Some(to) = to.filter(|to| to != from && !to.starts_with(from) && !is_test(to)) {
                arrows.insert((from, to));
            }
        }
    }
    // What nothing points to, and what points to nothing, is in no circle.
    loop {
        let before = arrows.len();
        let sources: BTreeSet<Module> = arrows.iter().map(|(from, _)| (*from).clone()).collect();
        let targets: BTreeSet<Module> = arrows.iter().map(|(_, to)| to.clone()).collect();
        arrows.retain(|(from, to)| targets.contains(*from) && sources.contains(to));
        if arrows.len() == before {
            break;
        }
    }
    let (first, _) = arrows.first()?;
    let (file, _) = files.get(*first)?;
    let arrows = arrows
        .iter()
        .map(|(from, to)| format!("{} -> {}", name(from), name(to)));
    Some(Finding {
        file: file.clone(),
        line: 1,
        rule: format!("files import each other: {}", arrows.collect::<Vec<_>>().join(", ")),
    })
}

/// Returns the modules that are compiled for tests only.
fn test_modules(files: &BTreeMap<Module, (String, Source)>) -> Vec<Module> {
    let mut modules = Vec::new();
    for (module, (_, source)) in files {
        modules.extend(source.test_modules.iter().map(|child| join(module, child)));
    }
    modules
}

/// Returns the module in which an import's item is written, if it is one of the crate's.
fn definition(
    files: &BTreeMap<Module, (String, Source)>,
    from: &Module,
    import: &Import,
    depth: usize,
) -> Option<Module> {
    let mut segments = import.path.iter().peekable();
    let mut module = match segments.peek()?.as_str() {
        "crate" => Module::new(),
        "self" | "super" => from.clone(),
        // A path that begins with a child of the module.
        child if files.contains_key(&join(from, child)) => from.clone(),
        _ => return None,
    };
    while let Some(segment) = segments.peek() {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => {
                module.pop()?;
            }
            child if files.contains_key(&join(&module, child)) => module.push(child.into()),
            _ => break,
        }
        segments.next();
    }
    let Some(item) = segments.next() else {
        return Some(module);
    };
    // Twenty re-exports of re-exports are a circle of their own.
    let (_, source) = files.get(&module)?;
    let passed_on = source.imports.iter().find(|other| other.name == *item && other.is_use);
    match passed_on.filter(|other| depth < 20 && (module != *from || *other != import)) {
        Some(other) => definition(files, &module, other, depth + 1),
        None => Some(module),
    }
}

fn join(module: &Module, child: &str) -> Module {
    let mut joined = module.clone();
    joined.push(child.into());
    joined
}

fn name(module: &Module) -> String {
    if module.is_empty() {
        "crate".into()
    } else {
        module.join("::")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(files: &[(&str, &str)]) -> Option<String> {
        let parsed = files
            .iter()
            .map(|(file, text)| (module(file), ((*file).to_owned(), Source::parse(text).unwrap())));
        circle(&parsed.collect()).map(|finding| finding.rule)
    }

    #[test]
    fn sources_are_in_packages() {
        assert_eq!(split("crates/a/src/b/mod.rs"), Some(("crates/a", "b/mod.rs")));
        assert_eq!(split("tests/integration/b/c.rs"), Some(("tests/integration", "b/c.rs")));
        assert_eq!(split("crates/a/tests/b.rs"), None);
    }

    #[test]
    fn circle_of_siblings_is_found() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\nuse c::X;"),
            ("a.rs", "use crate::b::B;\npub struct A;"),
            ("b.rs", "pub struct B;\nfn f(a: super::a::A) {}\n"),
            ("c.rs", "use crate::{a::A, b::B};\npub struct X;"),
        ];
        assert_eq!(rule(&files).unwrap(), "files import each other: a -> b, b -> a");
    }

    #[test]
    fn parent_may_use_children_that_use_it() {
        let files = [
            ("lib.rs", "mod a;\nuse a::A;\npub struct Shared;"),
            ("a.rs", "use super::Shared;\npub struct A(Shared);"),
        ];
        assert_eq!(rule(&files), None);
    }

    #[test]
    fn reexport_leads_to_definition() {
        let files = [
            ("a/mod.rs", "mod b;\nmod c;\npub(crate) use b::B;\nuse c::C;"),
            ("a/b.rs", "use super::C;\npub struct B;"),
            ("a/c.rs", "pub struct C;"),
        ];
        assert_eq!(rule(&files), None);
        let circle = [files[0], files[1], ("a/c.rs", "use super::B;\npub struct C;")];
        assert_eq!(
            rule(&circle).unwrap(),
            "files import each other: a::b -> a::c, a::c -> a::b"
        );
    }

    #[test]
    fn tests_comments_and_strings_are_exempt() {
        let b = "pub struct B;\n// crate::a::A\nconst S: &str = \"crate::a::A\";\n#[cfg(test)]\nmod tests { use crate::a::A; }";
        let files = [
            ("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod fixture;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", b),
            ("fixture.rs", "use crate::a::A;"),
        ];
        assert_eq!(rule(&files), None);
    }
}
