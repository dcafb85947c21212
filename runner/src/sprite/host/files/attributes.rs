//! Permissions and owners.
//!
//! Invariant: the file whose attributes change is the one that was found, whatever takes its name meanwhile; symlinks in a tree
//! are passed over.

use axum::{
    Json,
    extract::{Path, State},
};
use rustix::{
    fs::{FileType, Gid, Uid},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{Budget, Host, Order, at, blocking, find, parse_mode, shown};
use crate::sprite::{
    FileErrorKind,
    host::{
        error::{Failure, FileError},
        init::USER as SEEN_USER,
        local::LocalSprite,
        place::{Place, kind},
        resolve::{LastLink, Parents},
    },
    wire_files::ChangeMode,
};

/// What the one user of a sprite is called in it.
const USER: &str = "sprite";

#[derive(Debug, Serialize)]
pub(in crate::sprite::host) struct ModeChanged {
    path: String,
    mode: String,
    affected: Vec<ModeOf>,
    count: usize,
}

#[derive(Debug, Serialize)]
struct ModeOf {
    path: String,
    mode: String,
}

/// `POST /fs/chmod`.
pub(in crate::sprite::host) async fn chmod(
    State(host): State<Host>,
    Path(name): Path<String>,
    Order(order): Order<ChangeMode>,
) -> Result<Json<ModeChanged>, Failure> {
    let sprite = host.store.get(&name)?;
    let entries = host.store.config().limits.tree_entries;
    let changed = blocking(move || {
        let mode = parse_mode(&order.path, &order.mode, 0o7777)?;
        let place = find_existing(&sprite, &order.path, order.working_dir.as_deref())?;
        let change = |place: &Place| place.set_mode(mode);
        let count = if order.recursive {
            each(&place, &mut Budget::new(entries), 0, &change)?
        } else {
            change(&place).map_err(at(&place))?;
            1
        };
        let (path, mode) = (shown(&place), format!("{mode:04o}"));
        Ok(ModeChanged {
            affected: vec![ModeOf {
                path: path.clone(),
                mode: mode.clone(),
            }],
            path,
            mode,
            count,
        })
    });
    Ok(Json(changed.await?))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sprite::host) struct ChangeOwner {
    path: String,
    working_dir: Option<String>,
    uid: Option<Owner>,
    gid: Option<Owner>,
    #[serde(default)]
    recursive: bool,
}

/// A user or group as a client names it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Owner {
    Number(u32),
    Name(String),
}

#[derive(Debug, Serialize)]
pub(in crate::sprite::host) struct OwnerChanged {
    affected: Vec<OwnerOf>,
    count: usize,
}

#[derive(Debug, Serialize)]
struct OwnerOf {
    path: String,
    uid: u32,
    gid: u32,
}

/// `POST /fs/chown`: behind walls everything belongs to the sprite's one user, and whoever asks for another is told so; without
/// walls it is as the system allows.
pub(in crate::sprite::host) async fn chown(
    State(host): State<Host>,
    Path(name): Path<String>,
    Order(order): Order<ChangeOwner>,
) -> Result<Json<OwnerChanged>, Failure> {
    let sprite = host.store.get(&name)?;
    let entries = host.store.config().limits.tree_entries;
    let changed = blocking(move || {
        let place = find_existing(&sprite, &order.path, order.working_dir.as_deref())?;
        if order.uid.is_none() && order.gid.is_none() {
            return Err(FileError::invalid(
                &order.path,
                "say which uid or gid it is to have",
            ));
        }
        let (uid, gid) = sprite.root.owner().map_err(at(&place))?;
        let walled = sprite.root.is_walled();
        let outside =
            |asked: &Option<Owner>, own| asked.as_ref().map(|asked| asked.outside(walled, own)).transpose();
        let denied = |message| FileError::new(FileErrorKind::NotPermitted, &order.path, message);
        let user = outside(&order.uid, uid).map_err(denied)?.map(Uid::from_raw);
        let group = outside(&order.gid, gid).map_err(denied)?.map(Gid::from_raw);
        let change = |place: &Place| place.set_owner(user, group);
        let count = if order.recursive {
            each(&place, &mut Budget::new(entries), 0, &change)?
        } else {
            change(&place).map_err(at(&place))?;
            1
        };
        let stat = place.stat().map_err(at(&place))?;
        let (uid, gid) = if walled {
            (SEEN_USER, SEEN_USER)
        } else {
            (stat.st_uid, stat.st_gid)
        };
        let path = shown(&place);
        Ok(OwnerChanged {
            affected: vec![OwnerOf { path, uid, gid }],
            count,
        })
    });
    Ok(Json(changed.await?))
}

impl Owner {
    /// The number this has for the host, where the sprite's own user has `own`; else why that can't be.
    fn outside(&self, walled: bool, own: u32) -> Result<u32, String> {
        let number = match self {
            Self::Number(number) => Some(*number),
            Self::Name(name) if name == USER => return Ok(own),
            Self::Name(name) => name.parse().ok(),
        };
        match number {
            Some(number) if !walled => Ok(number),
            Some(SEEN_USER) => Ok(own),
            _ if walled => Err(format!(
                "everything in a sprite belongs to its user {USER} ({SEEN_USER}) and to nobody else"
            )),
            _ => Err(format!(
                "the one user known by name is {USER}; name others by their number"
            )),
        }
    }
}

fn find_existing(sprite: &LocalSprite, path: &str, working_dir: Option<&str>) -> Result<Place, FileError> {
    let place = find(sprite, path, working_dir, LastLink::Follow, Parents::MustExist)?;
    place.stat().map_err(|errno| FileError::from_errno(path, errno))?;
    Ok(place)
}

/// Changes what is there and everything below it; returns how much that was. A directory comes after what is in it, as the
/// change may close it, unless only the change opens it.
fn each(
    place: &Place,
    budget: &mut Budget,
    depth: usize,
    change: &impl Fn(&Place) -> Result<(), Errno>,
) -> Result<usize, FileError> {
    budget.spend(place, depth)?;
    let mut count = 1;
    match kind(&place.stat().map_err(at(place))?) {
        FileType::Symlink => return Ok(0),
        FileType::Directory => {
            let folder = match place.folder() {
                Err(Errno::ACCESS) => {
                    change(place).map_err(at(place))?;
                    place.folder()
                }
                folder => folder,
            };
            let folder = folder.map_err(at(place))?;
            for name in folder.names().map_err(at(place))? {
                let inner = folder.place(name.map_err(at(place))?);
                match each(&inner, budget, depth + 1, change) {
                    Ok(inner) => count += inner,
                    // Removed since we saw its name.
                    Err(error) if error.kind == FileErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        _ => {}
    }
    change(place).map_err(at(place))?;
    Ok(count)
}
