//! Reading a manifest.
//!
//! Invariant: lengths and numbers are checked before they are used, and nothing counts as read to its end before the checksum
//! was right.

use std::io::{self, Read};

use super::{
    encode::{BUFFER_BYTES, DIRECTORY, END, FILE, LEAVE, LINK, MAGIC, RACY, SYMLINK},
    manifest::{Entry, Kind, Object, Time, damaged},
};

/// Longer names, symlinks or attributes can't exist; a number above this is damage.
const MAX_BYTES: u64 = 1 << 17;
const MAX_ATTRIBUTES: u64 = 1 << 12;

/// Where a [`Reader`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Entry,
    Leave,
    End,
}

/// Reads a manifest; stands on one record at a time.
pub(super) struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
    used: usize,
    sum: crc32fast::Hasher,
    at: At,
    entry: Entry,
    entries: u64,
}

impl<R: Read> Reader<R> {
    /// Stands on the root then.
    pub(super) fn new(from: R) -> io::Result<Self> {
        let mut reader = Self {
            from,
            buffer: Vec::new(),
            used: 0,
            sum: crc32fast::Hasher::new(),
            at: At::Leave,
            entry: Entry::default(),
            entries: 0,
        };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(damaged());
        }
        reader.advance()?;
        Ok(reader)
    }

    /// The entry it stands on; `None` at the end of a directory.
    pub(super) fn entry(&self) -> Option<&Entry> {
        (self.at == At::Entry).then_some(&self.entry)
    }

    /// Goes on to the next record: into a directory it stands on, else to what follows.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        let tag = self.byte()?;
        match tag & !RACY {
            LEAVE => self.at = At::Leave,
            END => {
                let entries = self.number()?;
                self.sum.update(&self.buffer[..self.used]);
                let (buffered, sum) = (self.buffer.split_off(self.used), self.sum.clone().finalize());
                (self.buffer, self.used) = (buffered, 0);
                if self.take(4)? != sum.to_le_bytes() || entries != self.entries {
                    return Err(damaged());
                }
                self.at = At::End;
            }
            kind @ DIRECTORY..=LINK => {
                self.read_entry(kind)?;
                self.entry.seen.racy = tag & RACY != 0;
                self.entries += 1;
                self.at = At::Entry;
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    /// Goes past the entry it stands on and, if that is a directory, everything in it.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        let mut depth = 0_u64;
        loop {
            match self.at {
                At::Entry if self.entry.is_directory() => depth += 1,
                At::Leave => depth = depth.saturating_sub(1),
                At::Entry => {}
                At::End => return Ok(()),
            }
            self.advance()?;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Within a directory, goes to the entry of that name; `None` if there is none, and then stands where it would be.
    pub(super) fn seek(&mut self, name: &[u8]) -> io::Result<Option<&Entry>> {
        while self.at == At::Entry && self.entry.name.as_slice() < name {
            self.skip()?;
        }
        Ok(self.entry().filter(|entry| entry.name == name))
    }

    /// Goes past what is left of the directory, and past its end.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        while self.at == At::Entry {
            self.skip()?;
        }
        if self.at == At::Leave {
            self.advance()?;
        }
        Ok(())
    }

    /// Reads on to the end, to be sure that it is whole.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.each(|_| {})
    }

    /// Visits every entry from here to the end.
    pub(super) fn each(&mut self, mut visit: impl FnMut(&Entry)) -> io::Result<()> {
        while self.at != At::End {
            if self.at == At::Entry {
                visit(&self.entry);
            }
            self.advance()?;
        }
        Ok(())
    }

    fn read_entry(&mut self, kind: u8) -> io::Result<()> {
        let mut name = std::mem::take(&mut self.entry.name);
        self.bytes_into(&mut name)?;
        self.entry.name = name;
        self.entry.mode = self.small()?;
        self.entry.uid = self.small()?;
        self.entry.gid = self.small()?;
        self.entry.mtime = self.time()?;
        self.entry.seen.ctime = self.time()?;
        self.entry.seen.inode = self.number()?;
        let attributes = self.number()?;
        if attributes > MAX_ATTRIBUTES {
            return Err(damaged());
        }
        self.entry.attributes.clear();
        for _ in 0..attributes {
            let pair = (self.bytes()?, self.bytes()?);
            self.entry.attributes.push(pair);
        }
        self.entry.kind = match kind {
            DIRECTORY => Kind::Directory,
            FILE => Kind::File {
                size: self.number()?,
                object: Object {
                    build: self.small()?,
                    number: self.small()?,
                },
            },
            SYMLINK => Kind::Symlink {
                target: self.bytes()?,
            },
            _ => Kind::Link { path: self.bytes()? },
        };
        Ok(())
    }

    /// Makes sure that `count` more bytes are buffered.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        if self.buffer.len() - self.used >= count {
            return Ok(());
        }
        self.sum.update(&self.buffer[..self.used]);
        self.buffer.drain(..self.used);
        self.used = 0;
        while self.buffer.len() < count {
            let start = self.buffer.len();
            self.buffer.resize(start.max(count) + BUFFER_BYTES, 0);
            let read = self.from.read(&mut self.buffer[start..]);
            self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Err(damaged()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        self.fill(count)?;
        self.used += count;
        Ok(&self.buffer[self.used - count..self.used])
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged())
    }

    fn small(&mut self) -> io::Result<u32> {
        u32::try_from(self.number()?).map_err(|_| damaged())
    }

    fn time(&mut self) -> io::Result<Time> {
        let folded = self.number()?;
        Ok(Time {
            seconds: (folded >> 1) as i64 ^ -((folded & 1) as i64),
            nanos: self.small()?,
        })
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.bytes_into(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes_into(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let length = self.number()?;
        if length > MAX_BYTES {
            return Err(damaged());
        }
        bytes.clear();
        bytes.extend_from_slice(self.take(length as usize)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sprite::host::checkpoint::{encode::Writer, manifest::Seen};

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..most)
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![
            Just(Kind::Directory),
            (any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(size, build, number)| Kind::File {
                size,
                object: Object { build, number }
            }),
            bytes(40).prop_map(|target| Kind::Symlink { target }),
            bytes(40).prop_map(|path| Kind::Link { path }),
        ];
        let time = || (any::<i64>(), any::<u32>()).prop_map(|(seconds, nanos)| Time { seconds, nanos });
        let seen = (any::<u64>(), time(), any::<bool>()).prop_map(|(inode, ctime, racy)| Seen {
            inode,
            ctime,
            racy,
        });
        let attributes = proptest::collection::vec((bytes(9), bytes(300)), 0..3);
        (
            bytes(20),
            kind,
            any::<(u32, u32, u32)>(),
            time(),
            attributes,
            seen,
        )
            .prop_map(|(name, kind, (mode, uid, gid), mtime, attributes, seen)| Entry {
                name,
                kind,
                mode,
                uid,
                gid,
                mtime,
                attributes,
                seen,
            })
    }

    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for entry in entries {
            writer.entry(entry).unwrap();
        }
        writer.end().unwrap().0
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were(entries in proptest::collection::vec(entry(), 1..20)) {
            let bytes = written(&entries);
            let mut reader = Reader::new(bytes.as_slice()).unwrap();
            for entry in &entries {
                prop_assert_eq!(reader.entry(), Some(entry));
                reader.advance().unwrap();
            }
            prop_assert!(reader.entry().is_none());
        }

        #[test]
        fn damage_is_noticed(entries in proptest::collection::vec(entry(), 1..9), at in any::<proptest::sample::Index>(), flip in 1..=255_u8) {
            let mut bytes = written(&entries);
            let cut = at.index(bytes.len());
            let read = |bytes: &[u8]| Reader::new(bytes).and_then(|mut reader| reader.finish());
            prop_assert!(read(&bytes).is_ok());
            prop_assert!(read(&bytes[..cut]).is_err(), "cut at {}", cut);
            bytes[cut] ^= flip;
            prop_assert!(read(&bytes).is_err(), "flipped at {}", cut);
        }
    }
}
