//! Patterns with `*`.

/// Returns `true` if the text matches the pattern, in which `*` stands for any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(index, _)| index).chain([rest.len()]);
            ends.into_iter()
                .filter_map(|end| rest.get(end..))
                .any(|rest| glob(tail, rest))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_matches_any_text() {
        for (pattern, text, matched) in [
            ("spiffe://*/ns/*", "spiffe://a/ns/b", true),
            ("spiffe://*", "https://a", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), matched, "{pattern} {text}");
        }
    }
}
