//! Text as the pages show it: what is shared with every reader, and moments.

use roost_shared::UnixMillis;
pub(super) use roost_shared::text::{ago, bytes, count, line, millis, money, number, plain, span};

/// The moment itself, in UTC.
pub(super) fn moment(at: UnixMillis) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_names_its_zone() {
        assert_eq!(moment(UnixMillis(0)), "1970-01-01 00:00:00 UTC");
    }
}
