//! Replies in inputs: a line with the status, lines with headers, an empty line, the body.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use issuer_core::target::{Method, SecretIdKey, Target};
use issuer_core::{Body, Reply};

/// Parses a reply. Text without an empty line is the body of a reply with status 200; malformed lines of the head are
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

/// Returns a reply with this status, or with 200 if it is not a status.
pub(crate) fn with(status: u16, body: impl Into<Vec<u8>>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

/// The health of an active server.
pub(crate) fn healthy() -> Reply {
    Ok(with(200, r#"{"initialized":true,"sealed":false}"#))
}

/// The keys of an assumed role, as AWS returns them.
pub(crate) fn aws_keys() -> Reply {
    let keys = "<AccessKeyId>canary</AccessKeyId><SecretAccessKey>canary</SecretAccessKey>";
    Ok(with(200, format!("{keys}<SessionToken>canary</SessionToken>")))
}

/// Returns Vault's answer to the unwrapping of an issuer's wrapping token.
pub(crate) fn wrapped(target: &Target) -> Reply {
    let path = match &target.method {
        Method::AppRole {
            secret_id: Some(SecretIdKey {
                wrapped_at: Some(path), ..
            }),
            ..
        } => path.as_str(),
        _ => "",
    };
    let data = serde_json::json!({ "creation_path": path });
    Ok(with(200, serde_json::json!({ "data": data }).to_string()))
}

/// A successful login.
pub(crate) fn granted() -> Reply {
    Ok(with(
        200,
        r#"{"auth":{"client_token":"hvs.canary","lease_duration":100,"renewable":true}}"#,
    ))
}

/// A signing endpoint that misses only a CSR.
pub(crate) fn wants_csr() -> Reply {
    Ok(with(400, r#"{"errors":["\"csr\" is empty"]}"#))
}
