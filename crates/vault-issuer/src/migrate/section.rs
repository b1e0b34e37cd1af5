//! A document of the output.

use serde_json::Value;

/// A document: lines of comment, and an object or none.
pub(super) struct Section {
    comments: Vec<String>,
    object: Option<Value>,
    /// Whether the object must not be applied as it is.
    held: bool,
}

impl Section {
    /// Returns a document with an object that is applied.
    pub(super) fn new(comments: Vec<String>, object: Value) -> Self {
        Self {
            comments,
            object: Some(object),
            held: false,
        }
    }

    /// Returns a document without an object.
    pub(super) fn of_comments(comments: Vec<String>) -> Self {
        Self {
            comments,
            object: None,
            held: false,
        }
    }

    /// Makes the object a comment if it must not be applied as it is.
    pub(super) fn held_if(self, held: bool) -> Self {
        Self { held, ..self }
    }

    /// Returns the document as YAML.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let mut text = "---\n".to_owned();
        for comment in &self.comments {
            text += &format!("# {comment}\n");
        }
        let object = self.object.as_ref().map(serde_saphyr::to_string).transpose()?;
        let object = object.unwrap_or_default();
        if self.held {
            text.extend(object.lines().map(|line| format!("#   {line}\n")));
        } else {
            text += &object;
        }
        Ok(text)
    }
}
