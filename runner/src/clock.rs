//! The wall clock of this machine, as every time on the wire is written.

use std::time::{SystemTime, UNIX_EPOCH};

use roost_shared::UnixMillis;

/// What time it is.
pub(crate) fn now() -> UnixMillis {
    // A clock before 1970 is as good as none.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
