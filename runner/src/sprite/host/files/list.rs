//! Listing: a directory, a tree, or a file's own entry.
//!
//! Invariant: entries come in the order of their paths, a directory before what is in it; a listing is whole or an error says
//! why not. Symlinks are listed, not followed.

use std::path::Path;

use axum::{
    Json,
    extract::{Path as Segment, State},
};
use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;
use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};
use serde::Deserialize;

use super::{Budget, Host, Parameters, at, blocking, find, shown};
use crate::sprite::{
    host::{
        error::{Failure, FileError},
        place::{Folder, Place, is_draft, kind},
        resolve::{LastLink, Parents},
    },
    wire_files::{FileEntry, FileList},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sprite::host) struct ListQuery {
    path: String,
    working_dir: Option<String>,
    /// What is below the directory's directories too; names are then relative to the directory.
    #[serde(default)]
    recursive: bool,
    /// A glob. With a `/` in it, it is about the path below the directory, else about the last name.
    pattern: Option<String>,
}

/// `GET /fs/list`.
pub(in crate::sprite::host) async fn list(
    State(host): State<Host>,
    Segment(name): Segment<String>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<FileList>, Failure> {
    let sprite = host.store.get(&name)?;
    let limits = host.store.config().limits.clone();
    let list = blocking(move || {
        let place = find(
            &sprite,
            &query.path,
            query.working_dir.as_deref(),
            LastLink::Follow,
            Parents::MustExist,
        )?;
        let errno = |errno| FileError::from_errno(&query.path, errno);
        let stat = place.stat().map_err(errno)?;
        let mut entries = Vec::new();
        if kind(&stat) == FileType::Directory {
            let shown = if place.path == Path::new("/") {
                sprite.root.shown().map_err(errno)?
            } else {
                Vec::new()
            };
            let mut listing = Listing {
                entries,
                shown,
                most: limits.list_entries,
                budget: Budget::new(limits.tree_entries),
                wanted: Wanted::new(&query)?,
                recursive: query.recursive,
            };
            listing.add(&place.folder().map_err(errno)?, "", 0)?;
            entries = listing.entries;
        } else {
            let name = place.name.to_string_lossy().into_owned();
            entries.push(entry(name, &place, &stat));
        }
        Ok(FileList {
            count: entries.len(),
            path: shown(&place),
            entries,
        })
    });
    Ok(Json(list.await?))
}

/// A listing in the making.
struct Listing {
    entries: Vec<FileEntry>,
    /// What is in the listed directory for those inside the sprite alone. It is named, and not looked into.
    shown: Vec<Place>,
    most: usize,
    budget: Budget,
    wanted: Wanted,
    recursive: bool,
}

impl Listing {
    /// Adds what is in `folder`, whose path below the listed directory is `above`.
    fn add(&mut self, folder: &Folder, above: &str, depth: usize) -> Result<(), FileError> {
        let errno = |errno| FileError::from_errno(&folder.path.to_string_lossy(), errno);
        let mut places = Vec::new();
        for name in folder.names().map_err(errno)? {
            let place = folder.place(name.map_err(errno)?);
            self.budget.spend(&place, depth)?;
            if !is_draft(&place.name) {
                places.push(place);
            }
        }
        let shown: Vec<_> = self.shown.iter().map(|place| place.name.clone()).collect();
        places.append(&mut self.shown);
        places.sort_by(|a, b| a.name.cmp(&b.name));
        for place in places {
            let stat = match place.stat() {
                Ok(stat) => stat,
                // Removed since we saw its name.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(at(&place)(errno)),
            };
            let name = place.name.to_string_lossy();
            let path = if above.is_empty() {
                name.clone().into_owned()
            } else {
                format!("{above}/{name}")
            };
            if self.wanted.takes(&path, &name) {
                if self.entries.len() == self.most {
                    let most = self.most;
                    let message = format!(
                        "there are more than {most} entries; use a pattern, or a command such as find"
                    );
                    return Err(FileError::invalid(&folder.path.to_string_lossy(), message));
                }
                self.entries.push(entry(path.clone(), &place, &stat));
            }
            if self.recursive && kind(&stat) == FileType::Directory && !shown.contains(&place.name) {
                match place.folder() {
                    Ok(folder) => self.add(&folder, &path, depth + 1)?,
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(at(&place)(errno)),
                }
            }
        }
        Ok(())
    }
}

/// Which entries a listing takes.
enum Wanted {
    All,
    Names(GlobMatcher),
    Paths(GlobMatcher),
}

impl Wanted {
    fn new(query: &ListQuery) -> Result<Self, FileError> {
        let Some(pattern) = query.pattern.as_deref().filter(|pattern| !pattern.is_empty()) else {
            return Ok(Self::All);
        };
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob
            .map_err(|error| {
                FileError::invalid(
                    &query.path,
                    format!("the pattern can't be used: {}", error.kind()),
                )
            })?
            .compile_matcher();
        Ok(if pattern.contains('/') {
            Self::Paths(glob)
        } else {
            Self::Names(glob)
        })
    }

    fn takes(&self, path: &str, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(glob) => glob.is_match(name),
            Self::Paths(glob) => glob.is_match(path),
        }
    }
}

fn entry(name: String, place: &Place, stat: &Stat) -> FileEntry {
    let kind = kind(stat);
    let nanos = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let changed = Timestamp::new(stat.st_mtime, nanos).unwrap_or(Timestamp::UNIX_EPOCH);
    FileEntry {
        name,
        path: shown(place),
        kind: match kind {
            FileType::RegularFile => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            _ => "other",
        }
        .into(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: format!("{:04o}", stat.st_mode & 0o7777),
        mod_time: changed.to_string(),
        is_dir: kind == FileType::Directory,
    }
}
