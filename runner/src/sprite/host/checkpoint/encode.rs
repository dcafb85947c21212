//! Writing a manifest.
//!
//! Invariant: a record is a tag and numbers of seven bits a byte, the low ones first; a text is its length and its bytes. Memory
//! is one buffer, whatever the size of the tree.

use std::io::{self, Write};

use super::manifest::{Entry, Kind, Time};

pub(super) const MAGIC: &[u8; 8] = b"roostck1";
pub(super) const LEAVE: u8 = 0;
pub(super) const DIRECTORY: u8 = 1;
pub(super) const FILE: u8 = 2;
pub(super) const SYMLINK: u8 = 3;
pub(super) const LINK: u8 = 4;
pub(super) const END: u8 = 5;
/// Added to an entry's tag.
pub(super) const RACY: u8 = 0x80;
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// Writes a manifest.
pub(super) struct Writer<W> {
    to: W,
    buffer: Vec<u8>,
    sum: crc32fast::Hasher,
    entries: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + 1024);
        buffer.extend_from_slice(MAGIC);
        Self {
            to,
            buffer,
            sum: crc32fast::Hasher::new(),
            entries: 0,
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries += 1;
        let tag = match &entry.kind {
            Kind::Directory => DIRECTORY,
            Kind::File { .. } => FILE,
            Kind::Symlink { .. } => SYMLINK,
            Kind::Link { .. } => LINK,
        };
        self.buffer.push(tag | if entry.seen.racy { RACY } else { 0 });
        self.bytes(&entry.name);
        for number in [entry.mode, entry.uid, entry.gid] {
            self.number(u64::from(number));
        }
        self.time(entry.mtime);
        self.time(entry.seen.ctime);
        self.number(entry.seen.inode);
        self.number(entry.attributes.len() as u64);
        for (name, value) in &entry.attributes {
            self.bytes(name);
            self.bytes(value);
        }
        match &entry.kind {
            Kind::Directory => {}
            Kind::File { size, object } => {
                self.number(*size);
                self.number(u64::from(object.build));
                self.number(u64::from(object.number));
            }
            Kind::Symlink { target: bytes } | Kind::Link { path: bytes } => self.bytes(bytes),
        }
        self.flush_above(BUFFER_BYTES)
    }

    /// The directory that was entered last and not left has no more entries.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        self.buffer.push(LEAVE);
        self.flush_above(BUFFER_BYTES)
    }

    /// Ends it; gives back what it wrote to, and how many entries there are.
    pub(super) fn end(mut self) -> io::Result<(W, u64)> {
        self.buffer.push(END);
        self.number(self.entries);
        self.flush_above(0)?;
        let sum = self.sum.finalize().to_le_bytes();
        self.to.write_all(&sum)?;
        self.to.flush()?;
        Ok((self.to, self.entries))
    }

    fn flush_above(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() > bytes {
            self.sum.update(&self.buffer);
            self.to.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.buffer.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.buffer.push(number as u8);
    }

    fn time(&mut self, time: Time) {
        self.number(((time.seconds << 1) ^ (time.seconds >> 63)) as u64);
        self.number(u64::from(time.nanos));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
    }
}
