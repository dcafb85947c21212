//! Writing a file through the API.
//!
//! Invariant: the body goes to a new file next to the target and takes its name when it is whole, so a reader sees the old
//! content or the new, never a part; a body that breaks off leaves nothing behind. What is answered as written is on the
//! disk, content and name, and so are the directories that were made for it.

use std::io::Write;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use futures::StreamExt;
use rustix::{fs::FileType, io::Errno};
use serde::{Deserialize, Serialize};

use super::{
    Host,
    error::{ApiError, Failure, FileError},
    files::{blocking, find},
    place::{Draft, Place, kind},
    resolve::{LastLink, Parents},
};

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
    let mut writing = blocking(move || {
        let parents = if query.mkdir_parents || query.mkdir {
            Parents::Create
        } else {
            Parents::MustExist
        };
        let mode = match &query.mode {
            Some(text) => {
                let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
                Some(mode.ok_or_else(|| {
                    FileError::invalid(&query.path, "mode must be octal permission bits like 0644")
                })?)
            }
            None => None,
        };
        let place = find(
            &sprite,
            &query.path,
            query.working_dir.as_deref(),
            LastLink::Follow,
            parents,
        )?;
        Writing::begin(place, mode, &query.path)
    })
    .await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
        let path = path.clone();
        writing = blocking(move || {
            writing.size += chunk.len() as u64;
            if writing.size > limit {
                return Err(FileError::invalid(
                    &path,
                    format!("files written here have at most {limit} bytes"),
                ));
            }
            writing
                .draft
                .file
                .write_all(&chunk)
                .map_err(|error| FileError::from_io(&path, &error))?;
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
    fn begin(place: Place, mode: Option<u32>, path: &str) -> Result<Self, FileError> {
        let errno = |errno| FileError::from_errno(path, errno);
        let old = match place.stat() {
            Ok(stat) => match kind(&stat) {
                FileType::RegularFile => Some(stat.st_mode & 0o777),
                FileType::Directory => return Err(errno(Errno::ISDIR)),
                _ => return Err(FileError::invalid(path, "it is not a regular file")),
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
            path: self.place.path.display().to_string(),
            size: self.size,
            mode: format!("{:04o}", self.mode),
        })
    }
}
