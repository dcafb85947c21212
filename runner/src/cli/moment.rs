//! Moments as people write and read them: `2026-01-31T12:00:00Z`, `2026-01-31`, or how long ago, `2h`.

use jiff::{Span, Timestamp, civil::DateTime, tz::TimeZone};
use roost_shared::UnixMillis;

use crate::clock;

/// Reads a moment; without a zone it is in UTC.
///
/// # Errors
/// A sentence, when it is none.
pub(super) fn parse(text: &str) -> Result<UnixMillis, String> {
    at(text, clock::now()).ok_or_else(|| {
        "a moment is a date (2026-01-31), a time (2026-01-31T12:00:00Z), or how long ago (90min, 2h, 3d)"
            .to_owned()
    })
}

fn at(text: &str, now: UnixMillis) -> Option<UnixMillis> {
    let moment = if let Ok(moment) = text.parse::<Timestamp>() {
        moment
    } else if let Ok(moment) = text.parse::<DateTime>() {
        moment.to_zoned(TimeZone::UTC).ok()?.timestamp()
    } else {
        let span: Span = text.parse().ok()?;
        let now = Timestamp::from_millisecond(now.0).ok()?.to_zoned(TimeZone::UTC);
        now.checked_sub(span).ok()?.timestamp()
    };
    Some(UnixMillis(moment.as_millisecond()))
}

/// The moment in UTC, to the second.
pub(super) fn write(at: UnixMillis) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = at("2026-01-31T12:00:00Z", UnixMillis(0)).unwrap();
        for (text, moment) in [
            ("2026-01-31", "2026-01-31 00:00:00 UTC"),
            ("2026-01-31T13:00:00+02:00", "2026-01-31 11:00:00 UTC"),
            ("2026-01-31 09:30", "2026-01-31 09:30:00 UTC"),
            ("90min", "2026-01-31 10:30:00 UTC"),
            ("3d", "2026-01-28 12:00:00 UTC"),
        ] {
            assert_eq!(write(at(text, now).unwrap()), moment, "{text}");
        }
        assert_eq!(at("yesterday", now), None);
    }
}
