//! Splits a list into items while it is being received. serde_json has no streaming reader of elements that arrive in
//! pieces, and a list as a whole would be held in memory.

use serde::Deserialize;

/// Splits a list that arrives in pieces into its items.
///
/// It holds one item at a time, so that the memory for a page does not depend on the number and size of its items.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// The item under way.
    item: Vec<u8>,
    /// The list without its items.
    rest: Vec<u8>,
    /// Where in `rest` the last string of the outermost object begins.
    name: usize,
    depth: usize,
    in_items: bool,
    in_string: bool,
    is_escaped: bool,
}

/// The metadata of a list.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// The version at which the list was made, from which a watch goes on.
    pub(crate) resource_version: String,
    /// The token for the next page; empty on the last.
    #[serde(default, rename = "continue")]
    pub(crate) next: String,
}

impl Items {
    /// Takes the next piece, and passes every item that it completes to `each`.
    pub(crate) fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some((&byte, after)) = piece.split_first() {
            // Most of a list is the text of certificates.
            if self.in_string
                && !self.is_escaped
                && let Some((text, rest)) = split_text(piece)
            {
                self.keep(text);
                piece = rest;
                continue;
            }
            piece = after;
            if self.in_string {
                self.keep(&[byte]);
                self.in_string = self.is_escaped || byte != b'"';
                self.is_escaped = !self.is_escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    if self.depth == 1 {
                        self.name = self.rest.len();
                    }
                    self.keep(&[byte]);
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    self.keep(&[byte]);
                    self.in_items |= self.depth == 2 && byte == b'[' && self.is_named_items();
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.in_items &= self.depth > 1;
                    self.keep(&[byte]);
                    if self.in_items && self.depth == 2 {
                        each(&self.item);
                        self.item.clear();
                    }
                }
                _ => self.keep(&[byte]),
            }
        }
    }

    /// Returns the metadata of the list, once it is complete.
    pub(crate) fn finish(self) -> serde_json::Result<Page> {
        #[derive(Deserialize)]
        struct List {
            metadata: Page,
        }
        serde_json::from_slice(&self.rest).map(|list: List| list.metadata)
    }

    /// Keeps bytes of an item or of the rest; those between two items are neither.
    fn keep(&mut self, bytes: &[u8]) {
        if !self.in_items {
            self.rest.extend_from_slice(bytes);
        } else if self.depth > 2 || !self.item.is_empty() {
            self.item.extend_from_slice(bytes);
        }
    }

    /// Returns `true` if the array that has just begun is the value of `items`.
    fn is_named_items(&self) -> bool {
        let name = self.rest.get(self.name..).unwrap_or_default();
        let after = name.strip_prefix(br#""items""#);
        after.is_some_and(|after| after.trim_ascii().starts_with(b":"))
    }
}

/// Splits off the text of a string up to the next quote or backslash; `None` if the piece begins with one.
fn split_text(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\');
    let length = piece.iter().position(special).unwrap_or(piece.len());
    piece.split_at_checked(length).filter(|(text, _)| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Splits `text` in pieces of `size` bytes.
    fn split(text: &str, size: usize) -> (Vec<Value>, Option<Page>) {
        let (mut items, mut found) = (Items::default(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            items.push(piece, |item| found.push(serde_json::from_slice(item).unwrap()));
        }
        (found, items.finish().ok())
    }

    fn page(next: &str) -> Option<Page> {
        Some(Page {
            resource_version: "7".to_owned(),
            next: next.to_owned(),
        })
    }

    #[test]
    fn items_are_found_in_any_list() {
        let objects = [
            json!({}),
            json!({"items": [{"a": "]}"}], "b": "\\\" {[", "c": {"d": []}}),
            json!({"\\": "\\\\", "": [[], {}], "e": "\u{e9}"}),
        ];
        let metadata = json!({"continue": "x", "resourceVersion": "7"});
        for count in 0..=objects.len() {
            let list = json!({"apiVersion": "v1", "items": objects[..count], "kind": "items", "metadata": metadata});
            let pretty = serde_json::to_string_pretty(&list).unwrap();
            let turned = json!({"metadata": metadata, "a": ["items", [], {"items": [{}]}], "items": objects[..count]});
            for text in [list.to_string(), pretty, turned.to_string()] {
                for size in [1, 2, 3, 7, 64, text.len()] {
                    assert_eq!(split(&text, size), (objects[..count].to_vec(), page("x")), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_last_page_has_no_token() {
        for text in [
            r#"{"items":null,"metadata":{"resourceVersion":"7"}}"#,
            r#"{"items":[],"metadata":{"resourceVersion":"7","continue":""}}"#,
        ] {
            assert_eq!(split(text, 5), (Vec::new(), page("")));
        }
    }

    #[test]
    fn incomplete_list_has_no_metadata() {
        let list = r#"{"items":[{"a":1},{"b":2}],"metadata":{"resourceVersion":"7"}}"#;
        for end in 0..list.len() {
            let (found, page) = split(&list[..end], list.len());
            assert!(found.len() <= 2);
            assert_eq!(page, None, "{}", &list[..end]);
        }
    }
}
