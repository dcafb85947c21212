//! Writing a file through the API.
//!
//! Invariant: the body goes to a new file next to the target and takes its name when it is whole, so a reader sees the old
//! content or the new, never a part; a body that breaks off leaves nothing behind.

use std::{
    fs::File,
    io::{self, Write},
};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use futures::StreamExt;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fchmod, openat, renameat, statat, unlinkat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Host,
    error::{ApiError, Failure, FileError},
    files::blocking,
    resolve::{LastLink, Parents, Place},
};
use crate::{random::hex_id, sprite::HOME};

const NEW_FILE_MODE: u32 = 0o644;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WriteQuery {
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
pub(super) struct Written {
    path: String,
    size: u64,
    mode: String,
}

/// `PUT /fs/write`.
pub(super) async fn write(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(query): Query<WriteQuery>,
    body: Body,
) -> Result<Json<Written>, Failure> {
    let sprite = host.store.get(&name)?;
    let limit = host.store.config().limits.write_bytes;
    let path = query.path.clone();
    let mut draft = blocking(move || {
        let parents = if query.mkdir_parents || query.mkdir {
            Parents::Create
        } else {
            Parents::MustExist
        };
        let base = query.working_dir.as_deref().unwrap_or(HOME);
        let mode = match &query.mode {
            Some(text) => {
                let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
                Some(mode.ok_or_else(|| {
                    FileError::invalid(&query.path, "mode must be octal permission bits like 0644")
                })?)
            }
            None => None,
        };
        Draft::begin(
            sprite.root.find(&query.path, base, LastLink::Follow, parents)?,
            mode,
            &query.path,
        )
    })
    .await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
        let path = path.clone();
        draft = blocking(move || {
            draft.size += chunk.len() as u64;
            if draft.size > limit {
                return Err(FileError::invalid(
                    &path,
                    format!("files written here have at most {limit} bytes"),
                ));
            }
            draft
                .file
                .write_all(&chunk)
                .map_err(|error| FileError::from_io(&path, &error))?;
            Ok(draft)
        })
        .await?;
    }
    let written = blocking(move || {
        draft
            .finish()
            .map_err(|errno| FileError::from_errno(&path, errno))
    });
    Ok(Json(written.await?))
}

/// A file that is being written; removed again unless it is finished.
#[derive(Debug)]
struct Draft {
    place: Place,
    temporary: String,
    file: File,
    mode: u32,
    size: u64,
    finished: bool,
}

impl Draft {
    fn begin(place: Place, mode: Option<u32>, path: &str) -> Result<Self, FileError> {
        let errno = |errno| FileError::from_errno(path, errno);
        let old = match statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Some(stat.st_mode & 0o777),
                FileType::Directory => return Err(errno(Errno::ISDIR)),
                _ => return Err(FileError::invalid(path, "it is not a regular file")),
            },
            Err(Errno::NOENT) => None,
            Err(other) => return Err(errno(other)),
        };
        let temporary = format!(".{}.roost", hex_id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&place.dir, &temporary, flags, Mode::from_raw_mode(0o600)).map_err(errno)?;
        let mode = mode.or(old).unwrap_or(NEW_FILE_MODE);
        Ok(Self {
            place,
            temporary,
            file: fd.into(),
            mode,
            size: 0,
            finished: false,
        })
    }

    fn finish(mut self) -> Result<Written, Errno> {
        fchmod(&self.file, Mode::from_raw_mode(self.mode))?;
        renameat(
            &self.place.dir,
            &self.temporary,
            &self.place.dir,
            &self.place.name,
        )?;
        self.finished = true;
        let path = self.place.path.display().to_string();
        Ok(Written {
            path,
            size: self.size,
            mode: format!("{:04o}", self.mode),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = unlinkat(&self.place.dir, &self.temporary, AtFlags::empty())
        {
            let source: io::Error = error.into();
            tracing::warn!(%source, file = self.temporary, "an unfinished file was left behind");
        }
    }
}
