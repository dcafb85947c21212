//! The output of one session: a short history, and the readers that follow it.
//!
//! Invariant: a reader that is connected misses nothing. The history holds at most its limit, so a writer waits while the
//! slowest connected reader has not passed the oldest chunk (back-pressure); with no reader, the oldest output is dropped.
//! Chunks are complete messages of the exec connection, so replay and live output are the same bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

/// What a chunk costs beyond its bytes, so that a million one-byte chunks are not free.
const CHUNK_OVERHEAD: usize = 64;
/// Chunks at most this long are copied out of the (larger) buffer they were read into.
const COPY_BELOW: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Output {
    limit: usize,
    state: Mutex<State>,
    /// Something was added, or the end was reached.
    added: Notify,
    /// A reader moved on or left.
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Sequence number of `chunks[0]`.
    first: u64,
    cost: usize,
    exit: Option<i32>,
    /// Next sequence number each connected reader will take.
    readers: BTreeMap<u64, u64>,
    next_reader: u64,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// Drops the oldest chunks that every reader has taken until `cost` more fits; `false` if a reader is in the way.
    fn make_room(&mut self, cost: usize, limit: usize) -> bool {
        let taken = self.readers.values().copied().min().unwrap_or(u64::MAX);
        while self.cost + cost > limit && self.first < taken {
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            self.first += 1;
            self.cost -= chunk.len() + CHUNK_OVERHEAD;
        }
        // A chunk larger than the whole history still has to pass.
        self.cost + cost <= limit || self.chunks.is_empty()
    }
}

impl Output {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: Mutex::default(),
            added: Notify::new(),
            moved: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk; waits while a connected reader is a whole history behind.
    pub(super) async fn push(&self, chunk: Bytes) {
        let chunk = if chunk.len() <= COPY_BELOW {
            Bytes::copy_from_slice(&chunk)
        } else {
            chunk
        };
        let cost = chunk.len() + CHUNK_OVERHEAD;
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            {
                let mut state = self.state();
                if state.make_room(cost, self.limit) {
                    state.cost += cost;
                    state.chunks.push_back(chunk);
                    break;
                }
            }
            moved.await;
        }
        self.added.notify_waiters();
    }

    /// Nothing follows; the command's exit code.
    pub(super) fn finish(&self, exit: i32) {
        self.state().exit.get_or_insert(exit);
        self.added.notify_waiters();
    }

    /// The exit code, once all output is in.
    pub(super) fn exit(&self) -> Option<i32> {
        self.state().exit
    }

    /// Waits for the end of the output.
    pub(super) async fn finished(&self) -> i32 {
        loop {
            let mut added = std::pin::pin!(self.added.notified());
            added.as_mut().enable();
            if let Some(exit) = self.exit() {
                return exit;
            }
            added.await;
        }
    }

    /// A reader from the oldest chunk that is still there.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.state();
        let (id, first) = (state.next_reader, state.first);
        state.next_reader += 1;
        state.readers.insert(id, first);
        drop(state);
        Reader {
            output: Arc::clone(self),
            id,
        }
    }
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The next chunks, at least one.
    Chunks(Vec<Bytes>),
    /// Everything was read; the exit code.
    End(i32),
}

/// A connected reader. Dropping it lets the writer go on without it.
#[derive(Debug)]
pub(super) struct Reader {
    output: Arc<Output>,
    id: u64,
}

impl Reader {
    /// The next chunks, up to about `most` bytes, or the end. Chunks count as taken once they are returned.
    pub(super) async fn next(&mut self, most: usize) -> Read {
        loop {
            let mut added = std::pin::pin!(self.output.added.notified());
            added.as_mut().enable();
            if let Some(read) = self.take(most) {
                self.output.moved.notify_waiters();
                return read;
            }
            added.await;
        }
    }

    fn take(&self, most: usize) -> Option<Read> {
        let mut state = self.output.state();
        let next = state.readers.get(&self.id).copied()?;
        if next == state.end() {
            return state.exit.map(Read::End);
        }
        let skip = usize::try_from(next - state.first).unwrap_or(usize::MAX);
        let mut taken = Vec::new();
        let mut bytes = 0;
        for chunk in state.chunks.iter().skip(skip) {
            if bytes >= most {
                break;
            }
            bytes += chunk.len();
            taken.push(chunk.clone());
        }
        let next = next + taken.len() as u64;
        state.readers.insert(self.id, next);
        Some(Read::Chunks(taken))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.output.state().readers.remove(&self.id);
        self.output.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn chunk(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 100])
    }

    async fn rest(reader: &mut Reader) -> (Vec<u8>, i32) {
        let mut seen = Vec::new();
        loop {
            match reader.next(150).await {
                Read::Chunks(chunks) => seen.extend(chunks.iter().map(|chunk| chunk[0])),
                Read::End(exit) => return (seen, exit),
            }
        }
    }

    #[tokio::test]
    async fn a_slow_reader_stops_the_writer_and_misses_nothing() {
        let output = Output::new(3 * (100 + CHUNK_OVERHEAD));
        let mut reader = output.reader();
        for byte in 0..3 {
            output.push(chunk(byte)).now_or_never().expect("there is room");
        }
        let mut blocked = Box::pin(output.push(chunk(3)));
        assert!(
            blocked.as_mut().now_or_never().is_none(),
            "the reader is a whole history behind"
        );
        assert_eq!(reader.next(1).await, Read::Chunks(vec![chunk(0)]));
        blocked.now_or_never().expect("one chunk was taken");
        output.finish(7);
        assert_eq!(rest(&mut reader).await, (vec![1, 2, 3], 7));
    }

    #[tokio::test]
    async fn without_readers_the_newest_output_is_kept_and_replayed() {
        let output = Output::new(3 * (100 + CHUNK_OVERHEAD));
        for byte in 0..10 {
            output
                .push(chunk(byte))
                .now_or_never()
                .expect("nobody is in the way");
        }
        let mut reader = output.reader();
        output.finish(0);
        assert_eq!(rest(&mut reader).await, (vec![7, 8, 9], 0));
    }

    #[tokio::test]
    async fn a_reader_that_leaves_frees_the_writer() {
        let output = Output::new(100);
        let reader = output.reader();
        output
            .push(chunk(0))
            .now_or_never()
            .expect("an empty history takes any chunk");
        let mut blocked = Box::pin(output.push(chunk(1)));
        assert!(blocked.as_mut().now_or_never().is_none());
        drop(reader);
        blocked.now_or_never().expect("nobody is in the way any more");
    }
}
