//! What the kernel tells about watched directories, as the API tells it.
//!
//! Invariant: between two batches everything asked for is watched, or a message says what is not; watches are set on the very
//! directories that were found inside the sprite. Something that happens while a directory moves or is new may be told twice,
//! never not at all.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{
        FileType,
        inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags},
    },
    io::Errno,
};

use super::MAX_DEPTH;
use crate::sprite::{
    host::{
        Limits,
        error::FileError,
        place::{Folder, Place, is_draft, kind, proc_entry},
        resolve::{LastLink, Parents, Root},
    },
    wire_files::{Change, WatchMessage},
};

const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);
/// What is read from the kernel at once, in bytes; an event has 16 and its name.
const BATCH_BYTES: usize = 16 << 10;

/// The watches of one client. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    root: Root,
    kernel: Arc<OwnedFd>,
    recursive: bool,
    watched: HashMap<i32, Watched>,
    most_dirs: usize,
    most_entries: usize,
    /// Cookies of renames whose old name was a draft's.
    drafts: HashSet<u32>,
}

/// One watched directory.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// The names in it that were asked for; `None` means all.
    names: Option<HashSet<OsString>>,
    /// Whether the client named the directory itself.
    asked: bool,
}

impl Watcher {
    /// Nothing watched yet. `recursive`: directories below watched ones too.
    pub(super) fn new(root: Root, recursive: bool, limits: &Limits) -> Result<Self, FileError> {
        let kernel = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|errno| {
            let message = format!("the machine allows no more watching programs ({errno}); try again later");
            FileError::from_message(message)
        })?;
        Ok(Self {
            root,
            kernel: Arc::new(kernel),
            recursive,
            watched: HashMap::new(),
            most_dirs: limits.watched_dirs,
            most_entries: limits.list_entries,
            drafts: HashSet::new(),
        })
    }

    /// Readable when there is something to [`Watcher::read`].
    pub(super) fn kernel(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.kernel)
    }

    /// Whether anything is left that could still change.
    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Watches what is at a place: a directory with its entries, or a file, for which its directory is asked, so that it may be
    /// replaced and come back.
    pub(super) fn add(&mut self, place: &Place) -> Result<(), FileError> {
        let failed = |errno| FileError::from_errno(&place.path.to_string_lossy(), errno);
        if kind(&place.stat().map_err(failed)?) == FileType::Directory {
            let folder = place.folder().map_err(failed)?;
            self.watch(&folder, None, true)?;
            if self.recursive {
                self.below(&folder, 0, &mut Vec::new())?;
            }
            return Ok(());
        }
        let parent = place.path.parent().unwrap_or(&place.path).to_owned();
        let parent = Place::new(Arc::clone(&place.dir), ".", parent, place.ground);
        self.watch(&parent.folder().map_err(failed)?, Some(&place.name), false)
    }

    /// What happened since the last call. Does not wait for something to happen; empty when nothing has.
    pub(super) fn read(&mut self) -> Result<Vec<WatchMessage>, Errno> {
        let kernel = Arc::clone(&self.kernel);
        let mut buffer = [MaybeUninit::uninit(); BATCH_BYTES];
        let mut reader = Reader::new(kernel, &mut buffer);
        let mut told = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => self.take(&event, &mut told),
                Err(Errno::AGAIN) => return Ok(told),
                Err(errno) => return Err(errno),
            }
            if reader.is_buffer_empty() && !told.is_empty() {
                return Ok(told);
            }
        }
    }

    fn take(&mut self, event: &Event<'_>, told: &mut Vec<WatchMessage>) {
        let events = event.events();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            told.push(error(
                "events were lost because too much happened at once; list the directories again",
            ));
            return;
        }
        if events.contains(ReadFlags::IGNORED) {
            self.watched.remove(&event.wd());
            return;
        }
        let Some(watched) = self.watched.get(&event.wd()) else {
            return;
        };
        let is_dir = events.contains(ReadFlags::ISDIR);
        let Some(name) = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes())) else {
            if watched.asked {
                let path = watched.path.clone();
                self.tell(&path, changes(events), true, told);
            }
            return;
        };
        if is_draft(name) {
            if events.contains(ReadFlags::MOVED_FROM) {
                self.drafts.insert(event.cookie());
            }
            return;
        }
        let published = events.contains(ReadFlags::MOVED_TO) && self.drafts.remove(&event.cookie());
        if watched.names.as_ref().is_some_and(|names| !names.contains(name)) {
            return;
        }
        let path = watched.path.join(name);
        let follow = self.recursive && is_dir && watched.names.is_none();
        if follow && events.contains(ReadFlags::MOVED_FROM) {
            self.forget(&path);
        }
        let change = if published && !is_dir {
            Some(Change::Write)
        } else {
            changes(events)
        };
        self.tell(&path, change, is_dir, told);
        if follow && events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            self.adopt(&path, told);
        }
    }

    /// Watches a directory that has come, and tells what is in it by now.
    fn adopt(&mut self, path: &Path, told: &mut Vec<WatchMessage>) {
        let Some(folder) = self.place(path).and_then(|place| place.folder().ok()) else {
            // Gone again, which is told as well, or nothing we can look into.
            return;
        };
        let mut found = Vec::new();
        let watched = self
            .watch(&folder, None, false)
            .and_then(|()| self.below(&folder, 0, &mut found));
        for (path, is_dir) in found {
            self.tell(&path, Some(Change::Create), is_dir, told);
        }
        if let Err(failed) = watched {
            let message = format!("{} is not watched as a whole: {}", path.display(), failed.message);
            told.push(WatchMessage::Error { message });
        }
    }

    /// Watches the directories below a watched one, and adds what there is to `found`.
    fn below(
        &mut self,
        folder: &Folder,
        depth: usize,
        found: &mut Vec<(PathBuf, bool)>,
    ) -> Result<(), FileError> {
        let failed = |errno| FileError::from_errno(&folder.path.to_string_lossy(), errno);
        if depth > MAX_DEPTH {
            return Err(failed(Errno::NAMETOOLONG));
        }
        for name in folder.names().map_err(failed)? {
            let place = folder.place(name.map_err(failed)?);
            let is_dir = match place.stat() {
                Ok(stat) => kind(&stat) == FileType::Directory,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            if found.len() == self.most_entries {
                let message = format!("it has more than {} entries", self.most_entries);
                return Err(FileError::from_message(message));
            }
            if !is_draft(&place.name) {
                found.push((place.path.clone(), is_dir));
            }
            if is_dir {
                match place.folder() {
                    Ok(inner) => {
                        self.watch(&inner, None, false)?;
                        self.below(&inner, depth + 1, found)?;
                    }
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
        }
        Ok(())
    }

    fn watch(&mut self, folder: &Folder, name: Option<&OsStr>, asked: bool) -> Result<(), FileError> {
        if self.watched.len() >= self.most_dirs {
            let message = format!(
                "one client can watch {} directories; watch fewer, or not recursively",
                self.most_dirs
            );
            return Err(FileError::from_message(message));
        }
        let added = inotify::add_watch(&self.kernel, proc_entry(&folder.fd), WATCHED);
        let watch = added.map_err(|errno| match errno {
            Errno::NOSPC => FileError::from_message("the machine allows no more watches; watch less"),
            errno => FileError::from_errno(&folder.path.to_string_lossy(), errno),
        })?;
        match self.watched.entry(watch) {
            Entry::Vacant(free) => {
                free.insert(Watched {
                    path: folder.path.clone(),
                    names: name.map(|name| HashSet::from([name.to_owned()])),
                    asked,
                });
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.path.clone_from(&folder.path);
                known.asked |= asked;
                match (name, &mut known.names) {
                    (Some(name), Some(names)) => {
                        names.insert(name.to_owned());
                    }
                    _ => known.names = None,
                }
            }
        }
        Ok(())
    }

    /// Watches no longer what has left this path, unless the client named it.
    fn forget(&mut self, path: &Path) {
        let kernel = &self.kernel;
        self.watched.retain(|watch, watched| {
            let left = watched.path.starts_with(path) && !watched.asked;
            // One that the kernel has dropped already is forgotten all the same.
            let _ = left.then(|| inotify::remove_watch(kernel, *watch));
            !left
        });
    }

    fn tell(&self, path: &Path, change: Option<Change>, is_dir: bool, told: &mut Vec<WatchMessage>) {
        let Some(event) = change else { return };
        let is_there = matches!(event, Change::Create | Change::Write | Change::Chmod) && !is_dir;
        let stat = is_there.then(|| self.place(path)?.stat().ok()).flatten();
        told.push(WatchMessage::Event {
            path: path.to_string_lossy().into_owned(),
            event,
            timestamp: jiff::Timestamp::now().to_string(),
            size: stat.and_then(|stat| u64::try_from(stat.st_size).ok()),
            is_dir,
        });
    }

    fn place(&self, path: &Path) -> Option<Place> {
        let found = self
            .root
            .find(path.to_str()?, "/", LastLink::Keep, Parents::MustExist);
        found.ok()
    }
}

/// What the API calls it.
fn changes(events: ReadFlags) -> Option<Change> {
    let table = [
        (ReadFlags::CREATE.union(ReadFlags::MOVED_TO), Change::Create),
        (ReadFlags::MODIFY, Change::Write),
        (ReadFlags::DELETE.union(ReadFlags::DELETE_SELF), Change::Remove),
        (ReadFlags::MOVED_FROM.union(ReadFlags::MOVE_SELF), Change::Rename),
        (ReadFlags::ATTRIB, Change::Chmod),
    ];
    let found = table.into_iter().find(|(flags, _)| events.intersects(*flags));
    found.map(|(_, change)| change)
}

fn error(message: &str) -> WatchMessage {
    WatchMessage::Error {
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sprite::host::resolve::View;

    #[test]
    fn what_the_kernel_could_not_keep_is_said_to_be_lost() {
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().canonicalize().unwrap(), View::Open);
        let place = root.find("/", "/", LastLink::Keep, Parents::MustExist).unwrap();
        let mut watcher = Watcher::new(root, false, &Limits::default()).unwrap();
        watcher.add(&place).unwrap();
        // Two files by turns, as the kernel tells the same thing twice in a row only once.
        for _ in 0..=most / 4 {
            for name in ["a", "b"] {
                let path = dir.path().join(name);
                fs::write(&path, "").unwrap();
                fs::remove_file(path).unwrap();
            }
        }
        let mut told = Vec::new();
        loop {
            let read = watcher.read().unwrap();
            if read.is_empty() {
                break;
            }
            told.extend(read);
        }
        assert!(matches!(told.last(), Some(WatchMessage::Error { message }) if message.contains("lost")));
        assert!(told.len() > most / 2, "what it kept is told: {}", told.len());
        // And it goes on.
        fs::write(dir.path().join("c"), "").unwrap();
        assert!(
            matches!(&watcher.read().unwrap()[..], [WatchMessage::Event { path, .. }, ..] if path.ends_with("/c"))
        );
    }
}
