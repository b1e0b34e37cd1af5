//! Durations in Go's notation.
//!
//! `issuer-core` has a parser of its own. This one does not use it, so that the model is an independent reference.

use std::time::Duration;

/// The time to live, and its maximum, where nothing else is configured: 32 days.
pub(crate) const SYSTEM_TTL: Duration = Duration::from_secs(32 * 86_400);

/// Parses `90`, `90s`, `1h30m` or `2d`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "d" => number.checked_mul(86_400)?,
            "h" => number.checked_mul(3_600)?,
            "m" => number.checked_mul(60)?,
            "s" => number,
            "ms" => number / 1_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(seconds))?;
        rest = tail;
    }
    Some(total)
}

/// Formats a duration as Go does, such as `720h0m0s`.
pub(crate) fn go(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Formats a duration as Vault's warnings do, such as `720h`.
pub(crate) fn human(duration: Duration) -> String {
    let text = go(duration);
    let text = match text.strip_suffix("m0s") {
        Some(rest) => format!("{rest}m"),
        None => text,
    };
    text.replace("h0m", "h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_like_go() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("1h30m", Some(5_400)),
            ("2160h0m0s", Some(7_776_000)),
            ("2d", Some(172_800)),
            ("h", None),
            ("5 s", None),
            ("-5s", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(go(Duration::from_secs(720 * 3_600)), "720h0m0s");
        assert_eq!(go(Duration::from_secs(61)), "1m1s");
        assert_eq!(human(Duration::from_secs(5 * 3_600)), "5h");
        assert_eq!(human(Duration::from_secs(7_199)), "1h59m59s");
        assert_eq!(human(Duration::from_secs(3_601)), "1h1s");
        assert_eq!(human(Duration::from_secs(600)), "10m");
    }
}
