//! Places where a test can cut a change short, as a crash would.

/// Goes on, unless a test cuts here.
#[cfg(not(test))]
#[inline]
#[expect(clippy::unnecessary_wraps, reason = "under test it can fail")]
pub(super) fn here() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use in_tests::{after, here};

#[cfg(test)]
mod in_tests {
    use std::{cell::Cell, io};

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// From now on this thread passes so many places and then no more, until this is called again; `None` for all.
    pub(crate) fn after(places: Option<u32>) {
        LEFT.set(places);
    }

    pub(crate) fn here() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => Err(io::Error::other("cut")),
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
