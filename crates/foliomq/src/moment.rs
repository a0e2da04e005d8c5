//! Points in time on the command line.

use std::time::SystemTime;

use prost_types::Timestamp;

use crate::units::Span;

/// What [`parse`] takes, for help and errors.
pub const FORMS: &str = "a time such as 2026-11-23T10:15:00Z, or how long ago, such as 15m";
const ABSOLUTE: &str = "a time such as 2026-11-23T10:15:00Z";

/// An RFC 3339 time, or a duration back from now.
pub fn parse(text: &str) -> Result<SystemTime, String> {
    if let Ok(Span(ago)) = text.parse() {
        return SystemTime::now()
            .checked_sub(ago)
            .ok_or_else(|| format!("expected {FORMS}"));
    }
    absolute(text).map_err(|_| format!("expected {FORMS}"))
}

/// An RFC 3339 time.
pub fn absolute(text: &str) -> Result<SystemTime, String> {
    let timestamp: Timestamp = text.parse().map_err(|_| format!("expected {ABSOLUTE}"))?;
    SystemTime::try_from(timestamp).map_err(|_| format!("expected {ABSOLUTE}"))
}

/// RFC 3339 in UTC, to the millisecond at most.
pub fn show(time: SystemTime) -> String {
    let mut timestamp = Timestamp::from(time);
    timestamp.nanos -= timestamp.nanos % 1_000_000;
    timestamp.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn absolute_times_parse_and_show() {
        let time = parse("2026-11-23T10:15:00Z").unwrap();
        assert_eq!(
            time,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_428_900)
        );
        assert_eq!(show(time), "2026-11-23T10:15:00Z");
        assert_eq!(
            show(time + Duration::from_micros(1500)),
            "2026-11-23T10:15:00.001Z"
        );
    }

    #[test]
    fn a_duration_is_that_long_ago() {
        let before = SystemTime::now();
        let parsed = parse("15m").unwrap();
        let ago = Duration::from_secs(900);
        assert!(parsed >= before - ago && parsed <= SystemTime::now() - ago);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(absolute("15m").is_err());
        for bad in ["", "yesterday", "10:15", "2026-13-01T00:00:00Z"] {
            assert!(parse(bad).unwrap_err().contains("2026-11-23"), "{bad}");
        }
    }
}
