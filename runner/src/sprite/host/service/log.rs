//! What a service says: a bounded file in the sprite, and whoever listens.
//!
//! Invariant: the file and the one before it are at most two limits large together. Who asks for the last lines and for what
//! follows gets every line once: both are taken while nothing is written.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use jiff::Timestamp;
use rustix::{
    fs::{FileType, OFlags, fstat},
    io::Errno,
};
use tokio::sync::{Mutex, broadcast};

use crate::sprite::{
    host::{
        place::Place,
        resolve::{LastLink, Lost, Parents, Root},
    },
    wire_services::LogEvent,
};

/// Where logs are, as commands see it behind walls. Not part of a sprite's checkpoints.
const DIRECTORY: &str = "/var/log/services";
/// Events a listener may be behind.
const LIVE: usize = 1_024;
const LOG_MODE: u32 = 0o644;

/// The log of one service.
#[derive(Debug)]
pub(super) struct Log {
    root: Root,
    name: String,
    limit: u64,
    file: Mutex<Option<File>>,
    live: broadcast::Sender<LogEvent>,
}

impl Log {
    /// Of the service `name`; its file holds `limit` bytes.
    pub(super) fn new(root: Root, name: &str, limit: u64) -> Self {
        Self {
            root,
            name: name.to_owned(),
            limit,
            file: Mutex::default(),
            live: broadcast::Sender::new(LIVE),
        }
    }

    /// What is said from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<LogEvent> {
        self.live.subscribe()
    }

    /// Where it is in the sprite, by stream.
    pub(super) fn files(&self) -> BTreeMap<String, String> {
        let path = self.root.seen().join(DIRECTORY.trim_start_matches('/'));
        let path = format!("{}/{}.log", path.display(), self.name);
        ["combined", "stderr", "stdout"]
            .map(|stream| (stream.to_owned(), path.clone()))
            .into()
    }

    /// Something that happened; it is not kept.
    pub(super) fn tell(&self, event: LogEvent) {
        // Mostly nobody listens.
        let _ = self.live.send(event);
    }

    /// Lines that were said.
    pub(super) async fn write(self: &Arc<Self>, lines: Vec<LogEvent>) {
        if lines.is_empty() {
            return;
        }
        let mut file = self.file.lock().await;
        let mut text = Vec::new();
        for line in &lines {
            let time = Timestamp::from_millisecond(line.timestamp).unwrap_or_default();
            let data = line.data.as_deref().unwrap_or_default();
            text.extend_from_slice(format!("{time:.3} [{}] {data}\n", line.kind).as_bytes());
        }
        let (log, open) = (Arc::clone(self), file.take());
        let written = tokio::task::spawn_blocking(move || log.append(open, &text)).await;
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(open) => *file = Some(open),
            // The disk is full, or the sprite made its log unusable: it is the sprite's loss.
            Err(error) => tracing::debug!(%error, service = self.name, "lines of a log were lost"),
        }
        for line in lines {
            self.tell(line);
        }
    }

    fn append(&self, open: Option<File>, text: &[u8]) -> io::Result<File> {
        let mut file = match open {
            // Removed meanwhile, as a restore does: it begins again.
            Some(file) if fstat(&file)?.st_nlink > 0 => file,
            _ => self.open()?,
        };
        if file.metadata()?.len() >= self.limit {
            let place = self.place("", Parents::Create)?;
            place.rename_to(&self.place(".1", Parents::Create)?)?;
            file = self.open()?;
        }
        file.write_all(text)?;
        Ok(file)
    }

    fn open(&self) -> io::Result<File> {
        let place = self.place("", Parents::Create)?;
        let open = || place.open(OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK);
        let file = match open() {
            Ok(fd) if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::RegularFile => {
                return Ok(fd.into());
            }
            Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {
                place.draft()?.name(&place, LOG_MODE)?;
                open()?
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok(file.into())
    }

    fn place(&self, suffix: &str, parents: Parents) -> io::Result<Place> {
        let path = format!("{DIRECTORY}/{}.log{suffix}", self.name);
        self.root
            .find(&path, "/", LastLink::Keep, parents)
            .map_err(|lost| match lost {
                Lost::Errno(errno) => errno.into(),
                _ => io::Error::other("the directory of logs leads out of the sprite"),
            })
    }

    /// The last `count` lines that are kept, and what follows them.
    pub(super) async fn tail(
        self: &Arc<Self>,
        count: usize,
    ) -> io::Result<(Vec<LogEvent>, broadcast::Receiver<LogEvent>)> {
        let file = self.file.lock().await;
        let live = self.listen();
        let log = Arc::clone(self);
        let lines = tokio::task::spawn_blocking(move || {
            let mut lines = log.last("", count);
            if lines.len() < count {
                let mut older = log.last(".1", count - lines.len());
                older.append(&mut lines);
                lines = older;
            }
            lines
        });
        let lines = lines.await.map_err(io::Error::other)?;
        drop(file);
        Ok((lines, live))
    }

    /// The last lines of one file; none if it can't be read.
    fn last(&self, suffix: &str, count: usize) -> Vec<LogEvent> {
        let read = || -> io::Result<Vec<u8>> {
            let fd = self
                .place(suffix, Parents::MustExist)?
                .open(OFlags::RDONLY | OFlags::NONBLOCK)?;
            if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut file = File::from(fd);
            // What the sprite may have added to it is not read beyond the limit.
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(2 * self.limit)))?;
            let mut text = Vec::new();
            file.take(2 * self.limit).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = match read() {
            Ok(text) => text,
            Err(error) => {
                tracing::debug!(%error, service = self.name, "no log to read");
                return Vec::new();
            }
        };
        let lines: Vec<_> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        let skip = lines.len().saturating_sub(count);
        lines[skip..]
            .iter()
            .map(|line| parse(&String::from_utf8_lossy(line)))
            .collect()
    }
}

/// Reads a line as it is kept; what the sprite wrote there itself is taken as it is.
fn parse(line: &str) -> LogEvent {
    let parts = line.split_once(" [").and_then(|(time, rest)| {
        let (kind, data) = rest.split_once("] ")?;
        let time: Timestamp = time.parse().ok()?;
        matches!(kind, "stdout" | "stderr").then(|| (time, kind, data))
    });
    let (time, kind, data) = parts.unwrap_or((Timestamp::UNIX_EPOCH, "stdout", line));
    LogEvent {
        kind: kind.into(),
        data: Some(data.to_owned()),
        timestamp: time.as_millisecond(),
        ..LogEvent::default()
    }
}
