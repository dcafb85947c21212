//! Writing a file.
//!
//! Invariant: the body goes to a file without a name, which takes the target's when it is whole and on the disk; so a reader
//! sees the old content or the new, never a part, and a body that breaks off leaves nothing behind.

use std::io::Write;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use futures::StreamExt;
use rustix::{fs::FileType, io::Errno};
use serde::{Deserialize, Serialize};

use super::{Host, Parameters, blocking, find, parse_mode, shown};
use crate::sprite::host::{
    error::{ApiError, Failure, FileError},
    local::LocalSprite,
    place::{Draft, Place, kind},
    resolve::{LastLink, Parents},
};

const NEW_FILE_MODE: u32 = 0o644;
const NEW_DIR_MODE: u32 = 0o755;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sprite::host) struct WriteQuery {
    path: String,
    working_dir: Option<String>,
    /// Octal.
    mode: Option<String>,
    #[serde(default)]
    mkdir_parents: bool,
    /// What the API's pages call `mkdirParents`.
    #[serde(default)]
    mkdir: bool,
}

#[derive(Debug, Serialize)]
pub(in crate::sprite::host) struct Written {
    path: String,
    size: u64,
    mode: String,
}

/// `PUT /fs/write`.
pub(in crate::sprite::host) async fn write(
    State(host): State<Host>,
    Path(name): Path<String>,
    Parameters(query): Parameters<WriteQuery>,
    body: Body,
) -> Result<Json<Written>, Failure> {
    let sprite = host.store.get(&name)?;
    let limit = host.store.config().limits.write_bytes;
    let path = query.path.clone();
    let mut writing = blocking(move || Writing::begin(&sprite, &query)).await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
        let path = path.clone();
        writing = blocking(move || {
            writing.size += chunk.len() as u64;
            if writing.size > limit {
                let message = format!("files written here have at most {limit} bytes");
                return Err(FileError::invalid(&path, message));
            }
            let written = writing.draft.file.write_all(&chunk);
            written.map_err(|error| FileError::from_io(&path, &error))?;
            Ok(writing)
        })
        .await?;
    }
    let written = blocking(move || {
        writing
            .finish()
            .map_err(|errno| FileError::from_errno(&path, errno))
    });
    Ok(Json(written.await?))
}

/// A file that is being written.
#[derive(Debug)]
struct Writing {
    place: Place,
    draft: Draft,
    mode: u32,
    size: u64,
}

impl Writing {
    fn begin(sprite: &LocalSprite, query: &WriteQuery) -> Result<Self, FileError> {
        let parents = if query.mkdir_parents || query.mkdir {
            Parents::Create
        } else {
            Parents::MustExist
        };
        let mode = query
            .mode
            .as_deref()
            .map(|text| parse_mode(&query.path, text, 0o777));
        let mode = mode.transpose()?;
        make_marked(sprite, query, mode, parents)?;
        let working_dir = query.working_dir.as_deref();
        let place = find(sprite, &query.path, working_dir, LastLink::Follow, parents)?;
        let errno = |errno| FileError::from_errno(&query.path, errno);
        let old = match place.stat() {
            Ok(stat) => match kind(&stat) {
                FileType::RegularFile => Some(stat.st_mode & 0o777),
                FileType::Directory => return Err(errno(Errno::ISDIR)),
                _ => return Err(FileError::invalid(&query.path, "it is not a regular file")),
            },
            Err(Errno::NOENT) => None,
            Err(other) => return Err(errno(other)),
        };
        let draft = place.draft().map_err(errno)?;
        let mode = mode.or(old).unwrap_or(NEW_FILE_MODE);
        Ok(Self {
            place,
            draft,
            mode,
            size: 0,
        })
    }

    fn finish(self) -> Result<Written, Errno> {
        self.draft.publish(&self.place, self.mode)?;
        Ok(Written {
            path: shown(&self.place),
            size: self.size,
            mode: format!("{:04o}", self.mode),
        })
    }
}

/// Makes the directory that a `.keep` is written into. The API has no call that makes one: its clients write an empty `.keep`
/// and remove it again, with the mode the directory is meant to have, and expect it to be made even without `mkdirParents`.
fn make_marked(
    sprite: &LocalSprite,
    query: &WriteQuery,
    mode: Option<u32>,
    parents: Parents,
) -> Result<(), FileError> {
    let dir = query
        .path
        .strip_suffix("/.keep")
        .map(|dir| dir.trim_end_matches('/'));
    let Some(dir) = dir.filter(|dir| !dir.is_empty()) else {
        return Ok(());
    };
    let place = find(
        sprite,
        dir,
        query.working_dir.as_deref(),
        LastLink::Follow,
        parents,
    )?;
    match place.make_dir(NEW_DIR_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(FileError::from_errno(dir, errno)),
    }
    // Its owner has to get in to write the file, and whoever may read it may enter it: a mode meant for the file does no harm.
    let mode = mode.map_or(NEW_DIR_MODE, |mode| mode | 0o700 | (mode & 0o444) >> 2);
    let made = place.set_mode(mode).and_then(|()| place.sync_names());
    made.map_err(|errno| FileError::from_errno(dir, errno))
}
