//! Moments as people read them.

use jiff::Timestamp;
use roost_shared::UnixMillis;

/// The moment in UTC, to the second.
pub(super) fn write(at: UnixMillis) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => String::new(),
    }
}
