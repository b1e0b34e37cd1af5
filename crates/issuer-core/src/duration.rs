//! Durations as Kubernetes writes them.
//!
//! No library serves: those that parse `1h30m` differ from Go in what else they accept.

use std::time::Duration;

/// Parses a duration as Go's `time.ParseDuration` does; `None` if it is malformed, negative, or longer than Go's 292 years.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use issuer_core::duration::parse;
///
/// assert_eq!(parse("1h30m"), Some(Duration::from_secs(5400)));
/// assert_eq!(parse("90 days"), None);
/// ```
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    // A sign alone is no duration.
    let mut total = (!rest.is_empty()).then_some(0_u64)?;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos = nanoseconds(unit)?;
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        // More digits than these are below a nanosecond of any unit.
        let fraction = fraction.get(..15).unwrap_or(fraction);
        let digits: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let part = u128::from(digits) * u128::from(nanos) / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        total = whole
            .checked_mul(nanos)?
            .checked_add(u64::try_from(part).ok()?)?
            .checked_add(total)
            .filter(|total| i64::try_from(*total).is_ok())?;
        rest = after;
    }
    Some(Duration::from_nanos(total))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign (U+00B5) and the Greek letter (U+03BC), which look alike.
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_as_go_does() {
        let table = [
            ("2160h0m0s", Some(7_776_000_000)),
            ("90m", Some(5_400_000)),
            ("1h30m", Some(5_400_000)),
            ("+1.5h", Some(5_400_000)),
            ("1m0.5s", Some(60_500)),
            (".5m", Some(30_000)),
            ("1.s", Some(1_000)),
            ("1500ms", Some(1_500)),
            ("1000000us", Some(1_000)),
            ("1000000µs", Some(1_000)),
            ("0.000277777777777777777777777777h", Some(999)),
            ("1.0000000000000000000000000000h", Some(3_600_000)),
            ("2562047h47m16.854775807s", Some(9_223_372_036_854)),
            ("2562047h47m16.854775808s", None),
            ("99999999999999999999h", None),
            ("9223372036854775807h", None),
            ("", None),
            ("+", None),
            ("0", Some(0)),
            ("+0", Some(0)),
            ("0s", Some(0)),
            ("0h0m0s", Some(0)),
            ("1ns", Some(0)),
            ("999ms", Some(999)),
            ("00", None),
            ("-1h", None),
            ("1", None),
            ("h", None),
            (".h", None),
            ("1d", None),
            ("1h ", None),
            (" 1h", None),
            ("1H", None),
            ("1h-1m", None),
            ("1..5h", None),
            ("PT1H", None),
            ("1e3s", None),
            ("١h", None),
        ];
        for (text, milliseconds) in table {
            let duration = parse(text).map(|duration| duration.as_millis());
            assert_eq!(duration, milliseconds, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn results_fit_into_go(text in ".{0,30}", likely in "[-+0-9.µhmnsu]{0,40}") {
            for text in [text, likely] {
                let duration = parse(&text).unwrap_or_default();
                prop_assert!(i64::try_from(duration.as_nanos()).is_ok());
            }
        }

        #[test]
        fn parses_what_go_prints(hours in 0..2_562_047_u64, minutes in 0..60_u64, seconds in 0..60_u64) {
            let duration = parse(&format!("{hours}h{minutes}m{seconds}s"));
            prop_assert_eq!(duration, Some(Duration::from_secs(hours * 3600 + minutes * 60 + seconds)));
        }
    }
}
