//! Removing files and whole trees.
//!
//! Invariant: never through a symlink; a tree goes however deep it is, with a bounded number of files open.

use std::{io, path::Path as FsPath};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use rustix::{
    fs::{FileType, fstat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{Host, Parameters, blocking, find_named, shown};
use crate::sprite::host::{
    error::{Failure, FileError},
    place::{Folder, Place, kind},
};

/// How deep we go before we lift what is deeper up to the top.
const LEVELS: usize = 64;
/// How often we lift; a tree that grows while we remove it is not waited for.
const PASSES: usize = 4_096;
const OWNER_ALL: u32 = 0o700;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::sprite::host) struct DeleteOrder {
    path: String,
    working_dir: Option<String>,
    recursive: bool,
    as_root: bool,
}

#[derive(Debug, Serialize)]
pub(in crate::sprite::host) struct Deleted {
    deleted: Vec<String>,
    count: usize,
}

/// `DELETE /fs/delete`: a file, an empty directory, or with `recursive` a whole one. The official clients put the parameters
/// into the query, the API's pages into a body of JSON; a query without a path means the body.
pub(in crate::sprite::host) async fn delete(
    State(host): State<Host>,
    Path(name): Path<String>,
    Parameters(query): Parameters<DeleteOrder>,
    body: Bytes,
) -> Result<Json<Deleted>, Failure> {
    let sprite = host.store.get(&name)?;
    let order = if query.path.is_empty() && !body.is_empty() {
        serde_json::from_slice(&body).map_err(|error| FileError::invalid("", error.to_string()))?
    } else {
        query
    };
    let deleted = blocking(move || {
        let place = find_named(&sprite, &order.path, order.working_dir.as_deref())?;
        let rights = if order.as_root {
            Rights::Taken
        } else {
            Rights::AsTheyAre
        };
        let removed = match kind(
            &place
                .stat()
                .map_err(|errno| FileError::from_errno(&order.path, errno))?,
        ) {
            FileType::Directory if order.recursive => enter(&place, rights)
                .and_then(|folder| clear(&folder, rights))
                .and_then(|()| place.remove_dir()),
            FileType::Directory => place.remove_dir(),
            _ => place.unlink(),
        };
        removed.map_err(|errno| FileError::from_errno(&order.path, errno))?;
        Ok(Deleted {
            deleted: vec![shown(&place)],
            count: 1,
        })
    });
    Ok(Json(deleted.await?))
}

/// Removes a directory of the host itself with everything in it, whatever a sprite made of it: trees deeper than we can have
/// files open, directories that their owner may not enter or change.
pub(in crate::sprite::host) fn remove_tree(path: &FsPath) -> io::Result<()> {
    let folder = Folder::open(path)?;
    clear(&folder, Rights::Taken)?;
    std::fs::remove_dir(path)
}

/// Removes what is there and, if it is a directory, everything in it.
pub(super) fn remove_all(place: &Place) -> Result<(), Errno> {
    match place.unlink() {
        Err(Errno::ISDIR) => {
            clear(&enter(place, Rights::Taken)?, Rights::Taken)?;
            place.remove_dir()
        }
        removed => removed,
    }
}

/// What to do with directories whose own mode forbids to empty them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    AsTheyAre,
    Taken,
}

/// Removes everything in a directory.
fn clear(top: &Folder, rights: Rights) -> Result<(), Errno> {
    for _ in 0..PASSES {
        let mut lifted = false;
        clear_level(top, top, 0, rights, &mut lifted)?;
        if !lifted {
            return Ok(());
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Removes everything in `folder`, `depth` levels below `top`, except that directories which lie too deep are moved up to
/// `top`, to be removed from there; `lifted` becomes true then.
fn clear_level(
    top: &Folder,
    folder: &Folder,
    depth: usize,
    rights: Rights,
    lifted: &mut bool,
) -> Result<(), Errno> {
    for name in folder.names()? {
        let place = folder.place(name?);
        match place.unlink() {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) if depth == LEVELS => {
                if rights == Rights::Taken {
                    place.set_mode(OWNER_ALL)?;
                }
                place.rename_to(&top.place(place.name.clone()).beside())?;
                *lifted = true;
            }
            Err(Errno::ISDIR) => {
                clear_level(top, &enter(&place, rights)?, depth + 1, rights, lifted)?;
                place.remove_dir()?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn enter(place: &Place, rights: Rights) -> Result<Folder, Errno> {
    if rights == Rights::Taken {
        match place.folder() {
            Ok(folder) if fstat(&folder.fd)?.st_mode & OWNER_ALL == OWNER_ALL => return Ok(folder),
            Ok(_) | Err(Errno::ACCESS) => place.set_mode(OWNER_ALL)?,
            Err(errno) => return Err(errno),
        }
    }
    place.folder()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn any_tree_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, tree) = (dir.path().join("outside"), dir.path().join("tree"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        // Deeper than paths are long, so it has to be made from the bottom up.
        let name = "d".repeat(200);
        let mut deep = dir.path().join("deep");
        std::fs::create_dir(&deep).unwrap();
        for level in 0..5 * LEVELS {
            let above = dir.path().join(format!("above{level}"));
            std::fs::create_dir(&above).unwrap();
            std::fs::rename(&deep, above.join(&name)).unwrap();
            symlink(&outside, above.join("link")).unwrap();
            deep = above;
        }
        std::fs::rename(deep, &tree).unwrap();
        let closed = tree.join("closed");
        std::fs::create_dir_all(closed.join("in")).unwrap();
        std::fs::write(closed.join("in/file"), "x").unwrap();
        for path in [closed.join("in"), closed] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept");
    }
}
