//! URIs in the form in which Vault issues them.

/// Returns a URI as Go writes it after parsing it (`url.Parse(uri).String()`), and unchanged if Go refuses to parse it.
///
/// Vault and OpenBao parse the URI names of a CSR and encode what they parsed, so a certificate has `urn:a` where the
/// CSR has `URN:a`, and `/a%20b` for `/a b`. Go's rules and not those of RFC 3986 section 6 decide: it leaves the case of
/// hosts, dot segments and `%41` as they are. The result of a rewritten URI is that URI.
pub(crate) fn rewritten(uri: &str) -> String {
    rewrite(uri).unwrap_or_else(|| uri.to_owned())
}

fn rewrite(uri: &str) -> Option<String> {
    let (uri, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    // After the fragment is cut off, as in Go, which escapes control characters there.
    if uri.contains(|c: char| c.is_ascii_control()) {
        return None;
    }
    let (scheme, rest) = split_scheme(uri)?;
    let (rest, query) = match rest.find('?') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let mut written = scheme.map_or_else(String::new, |scheme| format!("{}:", scheme.to_ascii_lowercase()));
    match rest.strip_prefix("//") {
        Some(after) if scheme.is_some() || !after.starts_with('/') => {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            if !authority.is_empty() || (scheme.is_some() && !path.is_empty()) {
                written += "//";
            }
            written += &rewrite_authority(authority)?;
            written += &reescape(path, is_path, is_valid_path)?;
        }
        // Opaque, as in urn:isbn:0: kept to the letter.
        _ if scheme.is_some() && !rest.starts_with('/') => written += rest,
        _ => written += &reescape(rest, is_path, is_valid_path)?,
    }
    // To the letter, as Go keeps it.
    written += query;
    if !fragment.is_empty() {
        written.push('#');
        written += &reescape(fragment, is_fragment, is_valid_fragment)?;
    }
    Some(written)
}

/// Splits off the scheme; `None` if there is a colon where a relative reference may have none (RFC 3986 section 4.2).
fn split_scheme(uri: &str) -> Option<(Option<&str>, &str)> {
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    match uri.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => Some((Some(scheme), rest)),
        Some((before, _)) if !before.contains(['/', '?']) => None,
        _ => Some((None, uri)),
    }
}

fn rewrite_authority(authority: &str) -> Option<String> {
    let host = |host| Some(escape(&unescape(host)?, is_host));
    let Some((user, name)) = authority.rsplit_once('@') else {
        return host(authority);
    };
    if !user.bytes().all(|byte| is_user(byte) || b"!'()*:@%".contains(&byte)) {
        return None;
    }
    let parts: Option<Vec<String>> = user
        .splitn(2, ':')
        .map(|part| Some(escape(&unescape(part)?, is_user)))
        .collect();
    Some(format!("{}@{}", parts?.join(":"), host(name)?))
}

/// Returns a part as it is if it holds valid bytes only, else with its bytes escaped anew.
fn reescape(part: &str, is_plain: fn(u8) -> bool, is_valid: fn(u8) -> bool) -> Option<String> {
    let bytes = unescape(part)?;
    // Go keeps the escapes of the original where nothing else needs one.
    if part.bytes().all(is_valid) {
        Some(part.to_owned())
    } else {
        Some(escape(&bytes, is_plain))
    }
}

/// Decodes `%xx`; `None` if two digits do not follow each `%`.
fn unescape(part: &str) -> Option<Vec<u8>> {
    let mut pieces = part.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let digits = piece
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(piece.bytes().skip(2));
    }
    Some(bytes)
}

fn escape(bytes: &[u8], is_plain: fn(u8) -> bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        if is_plain(*byte) {
            text.push(char::from(*byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

/// Returns `true` if Go leaves a byte unescaped when it encodes a path; the functions below are for other parts of a URI.
fn is_path(byte: u8) -> bool {
    is_unreserved(byte) || b"$&+,/:;=@".contains(&byte)
}

fn is_fragment(byte: u8) -> bool {
    is_path(byte) || b"?!()*".contains(&byte)
}

fn is_user(byte: u8) -> bool {
    is_unreserved(byte) || b"$&+,;=".contains(&byte)
}

fn is_host(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:[]<>\"".contains(&byte)
}

/// Returns `true` if Go accepts a byte unchanged in a path that is escaped already.
fn is_valid_path(byte: u8) -> bool {
    is_path(byte) || b"!'()*[]%".contains(&byte)
}

fn is_valid_fragment(byte: u8) -> bool {
    is_fragment(byte) || b"'[]%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As printed by Go 1.26; the second column is empty where `url.Parse` fails.
    const TABLE: [(&str, &str); 47] = [
        ("URN:uuid:F81d", "urn:uuid:F81d"),
        ("HTTP://Web.Example.com/a", "http://Web.Example.com/a"),
        ("http://web.example.com/My App", "http://web.example.com/My%20App"),
        ("http://a/b#", "http://a/b"),
        ("http://a/b?", "http://a/b?"),
        ("http://a/b??", "http://a/b??"),
        ("http://a/\"q\"", "http://a/%22q%22"),
        ("http://a/%7euser", "http://a/%7euser"),
        ("http://a/%2f x", "http://a//%20x"),
        ("http://a/a%2fb", "http://a/a%2fb"),
        ("urn:host:My OPC Server", "urn:host:My OPC Server"),
        ("urn:", "urn:"),
        ("spiffe://a/b", "spiffe://a/b"),
        ("SPIFFE://A/b", "spiffe://A/b"),
        ("file:///etc/x", "file:///etc/x"),
        ("file:/etc/x", "file:/etc/x"),
        ("file://", "file:"),
        ("http://u:p@h:80/", "http://u:p@h:80/"),
        ("http://u%41:p%40@h/", "http://uA:p%40@h/"),
        ("http://us er@h/", ""),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[fe80::1%25en0]/", "http://[fe80::1%25en0]/"),
        ("http://h%C3%a9/", "http://h%C3%A9/"),
        ("http://a/%zz", ""),
        ("a/b c", "a/b%20c"),
        ("web.example.com/a", "web.example.com/a"),
        ("//h/p q", "//h/p%20q"),
        ("///p", "///p"),
        ("a:b", "a:b"),
        ("1a:b", ""),
        ("/a:b", "/a:b"),
        ("?q=a b", "?q=a b"),
        ("http://a/b?x y#f g", "http://a/b?x y#f%20g"),
        ("http://a#x\"y", "http://a#x%22y"),
        ("http://a#%7e'", "http://a#%7e'"),
        ("http://a/*!'()[]", "http://a/*!'()[]"),
        ("http://a/{x}", "http://a/%7Bx%7D"),
        ("http://a/é", "http://a/%C3%A9"),
        ("*", "*"),
        ("mailto:Me@Ex", "mailto:Me@Ex"),
        ("tag:a,2020:x y#z", "tag:a,2020:x y#z"),
        ("http://a/b%20c d", "http://a/b%20c%20d"),
        ("HTTP:opaque", "http:opaque"),
        ("ldap://h/cn=x,dc=y?a?b", "ldap://h/cn=x,dc=y?a?b"),
        ("http://a/^|\\`", "http://a/%5E%7C%5C%60"),
        ("a+b-c.1:x", "a+b-c.1:x"),
        (" http://a", ""),
    ];

    #[test]
    fn writes_what_go_writes() {
        for (uri, written) in TABLE {
            let expected = if written.is_empty() { uri } else { written };
            assert_eq!(rewritten(uri), *expected, "{uri}");
            assert_eq!(rewritten(expected), *expected, "{uri} once more");
        }
    }
}
