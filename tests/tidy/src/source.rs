//! The parts of a Rust file that rules check: its imports, its public types and its test modules.

use std::fs;

use anyhow::Context;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Meta, UseTree, Visibility};

/// The imports and declarations of a file, outside its tests.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Paths in `use` declarations and, if they begin with `crate` or `super`, elsewhere.
    pub(crate) imports: Vec<Import>,
    /// Child modules in other files that are compiled for tests only.
    pub(crate) test_modules: Vec<String>,
    /// Types and traits that are public without restriction.
    pub(crate) public_types: Vec<String>,
}

/// A path and the name that it has in the file.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    /// The segments.
    pub(crate) path: Vec<String>,
    /// The last segment, or the name after `as`.
    pub(crate) name: String,
    /// Whether it is in a `use` declaration.
    pub(crate) is_use: bool,
}

impl Source {
    /// Reads and parses a file.
    pub(crate) fn read(path: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("cannot parse {path}"))
    }

    /// Parses a file.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut source = Self::default();
        source.visit_file(&syn::parse_file(text)?);
        Ok(source)
    }

    fn import(&mut self, path: &[String], name: Option<String>, is_use: bool) {
        if let Some(name) = name.or_else(|| path.last().cloned()) {
            let path = path.to_vec();
            self.imports.push(Import { path, name, is_use });
        }
    }

    fn import_tree(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import_tree(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import_tree(tree, prefix)),
            // A glob depends on the module.
            UseTree::Glob(_) => self.import(prefix, None, true),
            UseTree::Name(name) if name.ident == "self" => self.import(prefix, None, true),
            UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.import(prefix, None, true);
                prefix.pop();
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.import(prefix, Some(rename.rename.to_string()), true);
                prefix.pop();
            }
        }
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item(&mut self, item: &'a Item) {
        if let Item::Mod(module) = item
            && is_test(&module.attrs)
        {
            if module.content.is_none() {
                self.test_modules.push(module.ident.to_string());
            }
            return;
        }
        let (attributes, named) = match item {
            Item::Enum(item) => (&item.attrs, Some((&item.vis, &item.ident))),
            Item::Fn(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Struct(item) => (&item.attrs, Some((&item.vis, &item.ident))),
            Item::Trait(item) => (&item.attrs, Some((&item.vis, &item.ident))),
            Item::Type(item) => (&item.attrs, Some((&item.vis, &item.ident))),
            Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        if let Some((Visibility::Public(_), name)) = named {
            self.public_types.push(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.import_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 && ["crate", "super"].contains(&segments.first().map_or("", String::as_str)) {
            self.import(&segments, None, false);
        }
        visit::visit_path(self, path);
    }
}

/// Returns `true` if one of the attributes is `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let imports = Source::parse(text).unwrap().imports;
        imports
            .iter()
            .map(|import| format!("{}={}", import.name, import.path.join("::")))
            .collect()
    }

    #[test]
    fn use_trees_are_flattened() {
        let text = "use a::{self, b::{C, D as E}, f::*};\npub(crate) use crate::g::H;\nuse i;";
        let expected = ["a=a", "C=a::b::C", "E=a::b::D", "f=a::f", "H=crate::g::H", "i=i"];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn paths_in_code_begin_at_crate_or_super() {
        let text = "fn f(x: super::super::a::B<'_>) -> Vec<u8> { crate::c::d(x); std::mem::drop(x) }";
        assert_eq!(paths(text), ["B=super::super::a::B", "d=crate::c::d"]);
    }

    #[test]
    fn only_unrestricted_types_are_public() {
        let text = "pub struct A; pub(crate) enum B {} pub trait C {} pub fn f() {} struct D; pub type E = A;";
        assert_eq!(Source::parse(text).unwrap().public_types, ["A", "C", "E"]);
    }

    #[test]
    fn tests_are_skipped_or_named() {
        let text = "#[cfg(test)] mod fixture; #[cfg(test)] mod tests { use crate::a::B; } use crate::d::E;
            #[cfg(test)] impl F { fn f() { crate::g::h() } }";
        assert_eq!(Source::parse(text).unwrap().test_modules, ["fixture"]);
        assert_eq!(paths(text), ["E=crate::d::E"]);
    }
}
