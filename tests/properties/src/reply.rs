//! Replies, as the inputs write them: a line with the status, lines with headers, an empty line, the body.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use issuer_core::{Body, Reply};

/// Reads a reply. What has no empty line is the body of a reply of status 200; what makes no sense in the head is
/// skipped.
pub(crate) fn read(data: &[u8]) -> Response<Body> {
    let Some(end) = data.windows(2).position(|pair| pair == b"\n\n") else {
        return with(200, data.to_vec());
    };
    let mut lines = data[..end].split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| str::from_utf8(line).ok()?.parse().ok());
    let mut response = with(status.unwrap_or(200), data[end + 2..].to_vec());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns a reply of this status, or of 200 if there is no such.
pub(crate) fn with(status: u16, body: impl Into<Vec<u8>>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

/// A server that is well.
pub(crate) fn healthy() -> Reply {
    Ok(with(200, r#"{"initialized":true,"sealed":false}"#))
}

/// A login that was granted.
pub(crate) fn granted() -> Reply {
    Ok(with(
        200,
        r#"{"auth":{"client_token":"hvs.canary","lease_duration":100,"renewable":true}}"#,
    ))
}

/// A signing endpoint that is well: all that it misses is a CSR.
pub(crate) fn wants_csr() -> Reply {
    Ok(with(400, r#"{"errors":["\"csr\" is empty"]}"#))
}
