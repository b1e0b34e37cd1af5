//! The formats of the chart's values. `{"format": NAME}` in an `@schema` stands for the schema of one of them.

use anyhow::Context;
use serde_json::{Value, json};

/// The texts by their format, as patterns of the whole text.
const TEXTS: [(&str, &str); 13] = [
    // Part of a list that is separated by commas.
    ("audience", "[^,]+"),
    ("dns-label", DNS_LABEL),
    // The name of a Service, and so a prefix of one, begins with a letter.
    ("dns-1035-label", "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
    (
        "dns-subdomain",
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    ),
    // https://pkg.go.dev/time#ParseDuration, without negative ones.
    ("duration", r"\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+"),
    // Without a user, whose password would be in the open.
    (
        "http-url",
        r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#%\\]*)?",
    ),
    (
        "image-repository",
        r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*",
    ),
    ("image-registry", r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*/?"),
    ("image-tag", "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"),
    // https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html#directives; a single
    // word must be a level.
    (
        "log-filter",
        r"LEVEL|TARGET=LEVEL|[A-Za-z0-9]*[_:-][A-Za-z0-9_:-]*|[A-Za-z0-9_:-]*\[[^\[\]]*\]|(TARGET(=LEVEL)?,)+TARGET(=LEVEL)?",
    ),
    // https://prometheus.io/docs/prometheus/latest/configuration/configuration/
    (
        "prometheus-duration",
        "([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?",
    ),
    (
        "proxy",
        r"([Hh][Tt][Tt][Pp]://)?([^/@,\s]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?",
    ),
    // A host, a domain, or a network.
    (
        "server",
        r"(\*\.)?[A-Za-z0-9._-]+|(OCTET\.){3}OCTET/([12]?[0-9]|3[0-2])|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?(/([0-9]{1,2}|1[01][0-9]|12[0-8]))?",
    ),
];

/// The names of namespaces.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

/// The keys of labels and annotations.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
const KEY: &str = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// The names that patterns use for parts of them.
const PARTS: [(&str, &str); 3] = [
    (
        "LEVEL",
        "(error|warn|info|debug|trace|off|ERROR|WARN|INFO|DEBUG|TRACE|OFF|[0-5])",
    ),
    ("TARGET", r"[A-Za-z0-9_:-]*(\[[^\[\]]*\])?"),
    ("OCTET", "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"),
];

/// Replaces the formats in a schema. A text may be empty if it `may_be_empty`; those in it may not.
pub(super) fn expand(schema: &mut Value, may_be_empty: bool) -> anyhow::Result<()> {
    if let Some(name) = schema.get("format").and_then(Value::as_str) {
        let mut format = format(name, may_be_empty).with_context(|| format!("there is no format {name}"))?;
        let (Some(format), Some(own)) = (format.as_object_mut(), schema.as_object_mut()) else {
            return Ok(());
        };
        own.remove("format");
        own.append(format);
    }
    match schema {
        Value::Object(members) => members.values_mut().try_for_each(|member| expand(member, false)),
        Value::Array(items) => items.iter_mut().try_for_each(|item| expand(item, false)),
        _ => Ok(()),
    }
}

/// Returns the schema of a format.
fn format(name: &str, may_be_empty: bool) -> Option<Value> {
    Some(match name {
        "annotations" => map(json!({ "type": "string" })),
        "labels" => map(json!({ "type": "string", "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$" })),
        "env" => json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": { "type": "string", "pattern": "^[^=]+$" },
                "value": { "type": "string" },
                "valueFrom": { "type": "object" },
            },
            "additionalProperties": false,
        }),
        // A probe's times and thresholds; what it asks is the chart's.
        "probe" => json!({
            "type": "object",
            "properties": {
                "initialDelaySeconds": { "type": "integer", "minimum": 0 },
                "periodSeconds": { "type": "integer", "minimum": 1 },
                "timeoutSeconds": { "type": "integer", "minimum": 1 },
                "successThreshold": { "type": "integer", "minimum": 1 },
                "failureThreshold": { "type": "integer", "minimum": 1 },
                "terminationGracePeriodSeconds": { "type": "integer", "minimum": 1 },
            },
            "additionalProperties": false,
        }),
        // https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without negative ones.
        "quantities" => json!({
            "type": "object",
            "additionalProperties": {
                "type": ["string", "number"],
                "minimum": 0,
                "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
            },
        }),
        "number-of-pods" => json!({
            "type": ["integer", "string", "null"],
            "minimum": 0,
            "pattern": "^(100|[1-9]?[0-9])%$",
        }),
        _ => return text(name, may_be_empty),
    })
}

/// Returns the schema of labels or annotations. Not `propertyNames`, whose errors Helm reports at another place.
fn map(value: Value) -> Value {
    json!({ "type": "object", "patternProperties": { KEY: value }, "additionalProperties": false })
}

/// Returns the schema of a text's format.
fn text(name: &str, may_be_empty: bool) -> Option<Value> {
    let (_, pattern) = TEXTS.iter().find(|(known, _)| *known == name)?;
    let pattern = PARTS.iter().fold((*pattern).to_owned(), |pattern, (part, meaning)| {
        pattern.replace(part, meaning)
    });
    let often = if may_be_empty { "?" } else { "" };
    let mut schema = json!({ "type": "string", "pattern": format!("^({pattern}){often}$") });
    if let ("dns-subdomain", Some(keywords)) = (name, schema.as_object_mut()) {
        keywords.insert("maxLength".to_owned(), json!(253));
    }
    Some(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_replaced_at_any_depth() {
        let mut schema = json!({ "items": { "format": "dns-label", "minLength": 2 }, "format": "annotations" });
        expand(&mut schema, true).unwrap();
        assert_eq!(
            schema["items"],
            json!({ "type": "string", "minLength": 2, "pattern": format!("^({DNS_LABEL})$") })
        );
        assert_eq!(schema["patternProperties"], json!({ KEY: { "type": "string" } }));
    }

    #[test]
    fn text_may_be_empty_where_default_is() {
        let expanded = |may_be_empty| {
            let mut schema = json!({ "format": "image-tag" });
            expand(&mut schema, may_be_empty).unwrap();
            schema["pattern"].as_str().unwrap().to_owned()
        };
        assert!(expanded(true).ends_with(")?$"));
        assert!(!expanded(false).ends_with(")?$"));
    }

    #[test]
    fn unknown_format_is_refused() {
        let error = expand(&mut json!({ "items": { "format": "dns" } }), false).unwrap_err();
        assert_eq!(error.to_string(), "there is no format dns");
    }
}
