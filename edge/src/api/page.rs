//! Lists in pages, newest first. A page's cursor is the id of its last row: ids sort by time, so a page stays the
//! same however much is added in front of it.

use serde::Serialize;

/// Rows of a page where nothing else is asked for.
const DEFAULT: u32 = 50;
/// Rows of a page at most.
const MOST: u32 = 200;

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct Position<Id> {
    /// The page before's `next`; the first page without.
    pub cursor: Option<Id>,
    /// Rows, 1 to 200; 50 without.
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T, Id> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// The next page's cursor; nothing on the last page.
    pub next: Option<Id>,
}

impl<Id: Copy> Position<Id> {
    /// Rows to show.
    pub(crate) fn rows(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT).clamp(1, MOST)
    }

    /// Rows to read: one more than is shown tells whether there is another page.
    pub(crate) fn rows_to_read(&self) -> u32 {
        self.rows() + 1
    }

    /// The page of the rows that were read.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> Id) -> Page<T, Id> {
        let shown = usize::try_from(self.rows()).unwrap_or(usize::MAX);
        let more = items.len() > shown;
        items.truncate(shown);
        let next = if more { items.last().map(id) } else { None };
        Page { items, next }
    }
}
