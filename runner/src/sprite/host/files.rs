//! The file endpoints that read, list, remove and rename.
//!
//! Invariant: every path goes through [`Root::find`](super::resolve::Root::find), and what it leads to is opened without
//! following symlinks; all file work runs on blocking threads; nothing larger than a chunk is held in memory.

use std::{
    fs::File,
    io::{self, Read},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::JsonRejection},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::stream;
use jiff::Timestamp;
use rustix::{
    fs::{FileType, OFlags, Stat, fstat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Host,
    error::{ApiError, Failure, FileError},
    local::LocalSprite,
    place::{Folder, Place, kind},
    resolve::{LastLink, Parents},
};
use crate::sprite::{
    FileErrorKind, HOME,
    wire::{FileEntry, FileList, RenameFile},
};

const CHUNK_BYTES: usize = 256 << 10;
/// How deep a directory tree may be that is removed as a whole.
const MAX_DEPTH: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileQuery {
    pub(super) path: String,
    pub(super) working_dir: Option<String>,
    #[serde(default)]
    pub(super) recursive: bool,
    pattern: Option<String>,
}

impl FileQuery {
    fn find(&self, sprite: &LocalSprite, last: LastLink) -> Result<Place, FileError> {
        find(
            sprite,
            &self.path,
            self.working_dir.as_deref(),
            last,
            Parents::MustExist,
        )
    }
}

/// Finds a path of a request in a sprite.
pub(super) fn find(
    sprite: &LocalSprite,
    path: &str,
    working_dir: Option<&str>,
    last: LastLink,
    parents: Parents,
) -> Result<Place, FileError> {
    let found = sprite.root.find(path, working_dir.unwrap_or(HOME), last, parents);
    found.map_err(|lost| FileError::lost(path, lost))
}

/// Runs file work on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| ApiError::internal("the file operation broke off", &io::Error::other(error)))??)
}

/// `GET /fs/read`.
pub(super) async fn read(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<FileQuery>,
) -> Result<Response, Failure> {
    let sprite = host.store.get(&name)?;
    let (file, first, size) = blocking(move || {
        let place = query.find(&sprite, LastLink::Follow)?;
        let errno = |errno| FileError::from_errno(&query.path, errno);
        // Without O_NONBLOCK a FIFO would hold the thread for ever.
        let fd = place.open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(errno)?;
        let stat = fstat(&fd).map_err(errno)?;
        match kind(&stat) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(errno(Errno::ISDIR)),
            _ => return Err(FileError::invalid(&query.path, "it is not a regular file")),
        }
        let mut file = File::from(fd);
        let first = chunk(&mut file).map_err(|error| FileError::from_io(&query.path, &error))?;
        Ok((file, first, u64::try_from(stat.st_size).unwrap_or(0)))
    })
    .await?;
    let complete = first.len() < CHUNK_BYTES;
    let body = if complete {
        Body::from(first)
    } else {
        Body::from_stream(rest(first, file))
    };
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    if !complete {
        // A file that shrinks meanwhile breaks the connection, which is how the client notices.
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    Ok(response)
}

/// The next chunk; shorter than [`CHUNK_BYTES`] only at the end of the file.
fn chunk(file: &mut File) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}

/// `GET /fs/list`: a directory's entries by name, or a file's own.
pub(super) async fn list(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<FileQuery>,
) -> Result<Json<FileList>, Failure> {
    let sprite = host.store.get(&name)?;
    let limit = host.store.config().limits.list_entries;
    if query.recursive || query.pattern.is_some() {
        let message =
            "this host lists one directory at a time, without a pattern; use a command such as find";
        return Err(FileError::invalid(&query.path, message).into());
    }
    let list = blocking(move || {
        let place = query.find(&sprite, LastLink::Follow)?;
        let errno = |errno| FileError::from_errno(&query.path, errno);
        let stat = place.stat().map_err(errno)?;
        let shown = place.path.display().to_string();
        if kind(&stat) != FileType::Directory {
            let name = place.name.to_string_lossy().into_owned();
            return Ok(FileList {
                entries: vec![entry(name, shown.clone(), &stat)],
                path: shown,
                count: 1,
            });
        }
        let folder = place.folder().map_err(errno)?;
        let mut entries = Vec::new();
        for name in folder.names().map_err(errno)? {
            let place = folder.place(name.map_err(errno)?);
            if entries.len() == limit {
                let message = format!("the directory has more than {limit} entries; list it with a command");
                return Err(FileError::invalid(&query.path, message));
            }
            match place.stat() {
                Ok(stat) => {
                    let name = place.name.to_string_lossy().into_owned();
                    entries.push(entry(name, place.path.display().to_string(), &stat));
                }
                // Removed since we saw its name.
                Err(Errno::NOENT) => {}
                Err(other) => return Err(errno(other)),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(FileList {
            count: entries.len(),
            path: shown,
            entries,
        })
    });
    Ok(Json(list.await?))
}

fn entry(name: String, path: String, stat: &Stat) -> FileEntry {
    let kind = kind(stat);
    let nanos = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let changed = Timestamp::new(stat.st_mtime, nanos).unwrap_or(Timestamp::UNIX_EPOCH);
    FileEntry {
        name,
        path,
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

#[derive(Debug, Serialize)]
pub(super) struct Removed {
    deleted: Vec<String>,
    count: usize,
}

/// `DELETE /fs/delete`: a file, an empty directory, or with `recursive` a whole one.
pub(super) async fn remove(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<FileQuery>,
) -> Result<Json<Removed>, Failure> {
    let sprite = host.store.get(&name)?;
    let removed = blocking(move || {
        let place = query.find(&sprite, LastLink::Keep)?;
        if place.is_nameless() {
            return Err(FileError::invalid(
                &query.path,
                "name the directory itself to remove it",
            ));
        }
        let errno = |errno| FileError::from_errno(&query.path, errno);
        let stat = place.stat().map_err(errno)?;
        if kind(&stat) == FileType::Directory {
            if query.recursive {
                clear(&place.folder().map_err(errno)?, MAX_DEPTH).map_err(errno)?;
            }
            place.remove_dir().map_err(errno)?;
        } else {
            place.unlink().map_err(errno)?;
        }
        Ok(Removed {
            deleted: vec![place.path.display().to_string()],
            count: 1,
        })
    });
    Ok(Json(removed.await?))
}

/// Removes everything in an open directory, never through a symlink.
fn clear(folder: &Folder, depth: usize) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    for name in folder.names()? {
        let place = folder.place(name?);
        match place.unlink() {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                clear(&place.folder()?, depth - 1)?;
                place.remove_dir()?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// `POST /fs/rename`.
pub(super) async fn rename(
    State(host): State<Host>,
    Path(name): Path<String>,
    body: Result<Json<RenameFile>, JsonRejection>,
) -> Result<Json<RenameFile>, Failure> {
    let sprite = host.store.get(&name)?;
    let Json(request) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let renamed = blocking(move || {
        let keep = |path| keep(&sprite, path, request.working_dir.as_deref());
        let (from, to) = (keep(&request.source)?, keep(&request.dest)?);
        from.rename_to(&to)
            .map_err(|errno| FileError::from_errno(&request.source, errno))?;
        let shown = |place: &Place| place.path.display().to_string();
        Ok(RenameFile {
            source: shown(&from),
            dest: shown(&to),
            working_dir: None,
        })
    });
    Ok(Json(renamed.await?))
}

fn keep(sprite: &LocalSprite, path: &str, working_dir: Option<&str>) -> Result<Place, FileError> {
    let place = find(sprite, path, working_dir, LastLink::Keep, Parents::MustExist)?;
    if place.is_nameless() {
        return Err(FileError::new(
            FileErrorKind::Invalid,
            path,
            "name the directory itself to rename it",
        ));
    }
    Ok(place)
}

/// The first chunk and then the rest of the file, a chunk at a time.
fn rest(first: Bytes, file: File) -> impl futures::Stream<Item = io::Result<Bytes>> {
    stream::unfold((Some(first), Some(file)), |(first, file)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, file)));
        }
        let mut file = file?;
        let read = tokio::task::spawn_blocking(move || chunk(&mut file).map(|chunk| (chunk, file))).await;
        match read.map_err(io::Error::other).and_then(|read| read) {
            Ok((chunk, _)) if chunk.is_empty() => None,
            Ok((chunk, file)) => Some((Ok(chunk), (None, Some(file)))),
            Err(error) => Some((Err(error), (None, None))),
        }
    })
}
