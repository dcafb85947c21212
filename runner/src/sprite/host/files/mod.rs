//! The file system of a sprite over HTTP: everything under `/v1/sprites/{name}/fs`.
//!
//! Invariant: every path goes through [`Root::find`](super::resolve::Root::find), and what it leads to is used through the
//! methods of [`Place`] and [`Folder`](super::place::Folder), which follow no symlink; all file work runs on blocking threads,
//! so it wakes no sprite; nothing larger than a chunk is held in memory, and every walk through a tree is bounded.
//!
//! # What an answer promises
//! A write, a copy of one file and a rename are on the disk, content and name, before they are answered: neither the death of
//! the host nor that of the machine takes them back. Each of them happens in one step, so nobody sees a part, and a host that
//! is killed on the way leaves the old state. A copy of a directory to a new name appears in one step as well; into one that is
//! there it goes file by file. What a recursive copy, delete or chmod has done outlives the host, and outlives the machine
//! once the file system has written it back by itself.
//!
//! # What `asRoot` means
//! Everything in a sprite belongs to one user, and the host does its file work with that user's rights, which is all that
//! `root` could have there. Only a delete knows a difference: with `asRoot` it also empties directories whose own mode forbids it.

mod attributes;
mod delete;
mod inotify;
mod list;
mod read;
mod transfer;
mod watch;
mod write;

use std::io;

use axum::{
    Json, RequestExt,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::request::Parts,
};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

pub(super) use attributes::{chmod, chown};
pub(super) use delete::{delete, remove_tree};
pub(super) use list::list;
pub(super) use read::read;
pub(super) use transfer::{copy, rename};
pub(super) use watch::watch;
pub(super) use write::write;

use super::{
    Host,
    error::{ApiError, Failure, FileError},
    local::LocalSprite,
    place::Place,
    resolve::{LastLink, Parents},
};
use crate::sprite::HOME;

/// How deep below a directory a walk goes; each level holds two files open.
const MAX_DEPTH: usize = 128;

/// The parameters of a query.
pub(super) struct Parameters<T>(T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = FileError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, FileError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(FileError::invalid("", error.body_text())),
        }
    }
}

/// A body of JSON.
pub(super) struct Order<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + 'static> FromRequest<S> for Order<T> {
    type Rejection = FileError;

    async fn from_request(request: Request, _: &S) -> Result<Self, FileError> {
        match request.extract::<Json<T>, _>().await {
            Ok(Json(order)) => Ok(Self(order)),
            Err(error) => Err(FileError::invalid("", error.body_text())),
        }
    }
}

/// Runs file work on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| ApiError::internal("the file operation broke off", &io::Error::other(error)))??)
}

/// Finds a path of a request in a sprite.
fn find(
    sprite: &LocalSprite,
    path: &str,
    working_dir: Option<&str>,
    last: LastLink,
    parents: Parents,
) -> Result<Place, FileError> {
    let found = sprite.root.find(path, working_dir.unwrap_or(HOME), last, parents);
    found.map_err(|lost| FileError::lost(path, lost))
}

/// A path that is to be moved or removed, so the directory it is in has to be known.
fn find_named(sprite: &LocalSprite, path: &str, working_dir: Option<&str>) -> Result<Place, FileError> {
    let place = find(sprite, path, working_dir, LastLink::Keep, Parents::MustExist)?;
    if place.is_nameless() {
        return Err(FileError::invalid(
            path,
            "name the directory itself, not a way through it",
        ));
    }
    Ok(place)
}

/// Reads mode bits as the API writes them, for example `0644`.
fn parse_mode(path: &str, text: &str, most: u32) -> Result<u32, FileError> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= most);
    mode.ok_or_else(|| {
        let message = format!("the mode must be octal and at most {most:04o}, for example 0644");
        FileError::invalid(path, message)
    })
}

/// A place's path as an answer shows it.
fn shown(place: &Place) -> String {
    place.path.display().to_string()
}

/// Says which path of a walk it was that failed.
fn at(place: &Place) -> impl Fn(Errno) -> FileError {
    let path = shown(place);
    move |errno| FileError::from_errno(&path, errno)
}

/// How much of a tree one request may still walk through.
#[derive(Debug)]
struct Budget {
    left: usize,
    all: usize,
}

impl Budget {
    fn new(entries: usize) -> Self {
        Self {
            left: entries,
            all: entries,
        }
    }

    /// Takes one entry, `depth` directories below the top.
    fn spend(&mut self, place: &Place, depth: usize) -> Result<(), FileError> {
        if depth > MAX_DEPTH {
            let message = format!("the tree is more than {MAX_DEPTH} directories deep; use a command");
            return Err(FileError::invalid(&shown(place), message));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let message = format!("the tree has more than {} entries; use a command", self.all);
            FileError::invalid(&shown(place), message)
        })?;
        Ok(())
    }
}
