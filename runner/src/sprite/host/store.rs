//! The sprites of this host, in memory and on disk.
//!
//! Invariant: a sprite is in the table exactly while its directory stands under `sprites/`; both appear and disappear by one
//! rename, so a host that is killed at any moment finds whole sprites or none. One host at a time owns the directory.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

use super::{HostConfig, HostError, error::ApiError, resolve::Root, sessions::Sessions, tree};
use crate::{
    random::hex_id,
    sprite::{
        HOME,
        wire::{CreateSprite, SpriteInfo},
    },
};

const SPRITE_FILE: &str = "sprite.json";

/// What `sprite.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Unique for ever, also when the name is used again; commands carry it in their environment.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created_at: String,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    /// Environment of every command, besides the host's defaults.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
}

/// One sprite: its record, its file system, its sessions.
#[derive(Debug)]
pub(super) struct LocalSprite {
    pub(super) record: Record,
    pub(super) root: Root,
    pub(super) sessions: Sessions,
}

impl LocalSprite {
    pub(super) fn info(&self) -> SpriteInfo {
        let status = if self.sessions.running() > 0 {
            "running"
        } else {
            "warm"
        };
        SpriteInfo {
            id: self.record.id.clone(),
            name: self.record.name.clone(),
            status: status.into(),
            created_at: Some(self.record.created_at.clone()),
            updated_at: Some(self.record.created_at.clone()),
            labels: self.record.labels.clone(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Store {
    config: HostConfig,
    dir: PathBuf,
    sprites: RwLock<BTreeMap<String, Arc<LocalSprite>>>,
    /// Held while the directory changes, so that two requests can't create one name.
    changing: Mutex<()>,
    /// Keeps other hosts out for as long as this one lives.
    _lock: File,
}

impl Store {
    /// Opens the directory and ends what an earlier host left running in it. Blocks.
    pub(super) fn open(mut config: HostConfig) -> Result<Self, HostError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| HostError::Storage { path, source }
        };
        for part in ["sprites", "new", "gone"] {
            let path = config.data_dir.join(part);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let dir = config.data_dir.canonicalize().map_err(at(&config.data_dir))?;
        config.data_dir.clone_from(&dir);
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HostError::Locked { path: dir }),
            Err(TryLockError::Error(source)) => {
                return Err(HostError::Storage {
                    path: lock_path,
                    source,
                });
            }
        }
        // Creations and deletions an earlier host did not finish.
        for part in ["new", "gone"] {
            let path = dir.join(part);
            empty(&path).map_err(at(&path))?;
        }
        let mut sprites = BTreeMap::new();
        for entry in fs::read_dir(dir.join("sprites")).map_err(at(&dir))? {
            let path = entry.map_err(at(&dir))?.path();
            let file = path.join(SPRITE_FILE);
            let record = fs::read(&file).map_err(at(&file))?;
            let record = serde_json::from_slice(&record)
                .map_err(io::Error::from)
                .map_err(at(&file))?;
            let sprite = local(record, path.join("root"));
            sprites.insert(sprite.record.name.clone(), Arc::new(sprite));
        }
        tree::kill_sprites(&sprites.values().map(|sprite| sprite.record.id.as_str()).collect());
        Ok(Self {
            config,
            dir,
            sprites: RwLock::new(sprites),
            changing: Mutex::default(),
            _lock: lock,
        })
    }

    pub(super) fn config(&self) -> &HostConfig {
        &self.config
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn get(&self, name: &str) -> Result<Arc<LocalSprite>, ApiError> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        sprites
            .get(name)
            .cloned()
            .ok_or_else(|| ApiError::no_sprite(name))
    }

    /// The sprites whose names start with `prefix` and come after `after`, by name, at most `most` of them.
    pub(super) fn list(&self, prefix: &str, after: &str, most: usize) -> Vec<SpriteInfo> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        let start = if after > prefix { after } else { prefix };
        let matching = sprites
            .range(start.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix));
        matching
            .filter(|(name, _)| name.as_str() > after)
            .take(most)
            .map(|(_, sprite)| sprite.info())
            .collect()
    }

    /// Creates a sprite. Blocks.
    pub(super) fn create(&self, request: CreateSprite) -> Result<SpriteInfo, ApiError> {
        check_name(&request.name)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
            if sprites.contains_key(&request.name) {
                let message = format!(
                    "sprite {} exists already; use it or choose another name",
                    request.name
                );
                return Err(ApiError::new(
                    axum::http::StatusCode::CONFLICT,
                    "sprite_already_exists",
                    message,
                ));
            }
            let limit = self.config.limits.sprites;
            if sprites.len() >= limit {
                let message = format!("this host holds {limit} sprites; delete some or raise its limit");
                return Err(ApiError::limit(
                    "concurrent_sprite_limit_exceeded",
                    message,
                    limit,
                ));
            }
        }
        let record = Record {
            id: hex_id(),
            name: request.name,
            created_at: jiff::Timestamp::now().to_string(),
            labels: request.labels,
            environment: request.environment,
        };
        let path = self.dir.join("sprites").join(&record.name);
        self.build(&record, &path)
            .map_err(|error| ApiError::internal("the sprite could not be created", &error))?;
        let sprite = Arc::new(local(record, path.join("root")));
        let info = sprite.info();
        let mut sprites = self.sprites.write().unwrap_or_else(PoisonError::into_inner);
        sprites.insert(info.name.clone(), sprite);
        Ok(info)
    }

    fn build(&self, record: &Record, path: &Path) -> io::Result<()> {
        let new = self.dir.join("new").join(&record.id);
        let root = new.join("root");
        fs::create_dir_all(root.join(HOME.trim_start_matches('/')))?;
        fs::create_dir_all(root.join("tmp"))?;
        let file = File::create(new.join(SPRITE_FILE))?;
        serde_json::to_writer_pretty(&file, record)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(self.dir.join("sprites"))?.sync_all()
    }

    /// Takes a sprite out of the table, ends its commands and removes its files. Gone is gone once this returns; the
    /// files of a large sprite may take longer to disappear.
    pub(super) async fn delete(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        let removed = self
            .sprites
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        let sprite = removed.ok_or_else(|| ApiError::no_sprite(name))?;
        sprite.sessions.close();
        end(vec![sprite.record.id.clone()]).await;
        let (store, id, name) = (Arc::clone(self), sprite.record.id.clone(), name.to_owned());
        let moved = tokio::task::spawn_blocking(move || {
            let _changing = store.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = store.dir.join("gone").join(id);
            fs::rename(store.dir.join("sprites").join(name), &gone).map(|()| gone)
        });
        let gone = moved.await.map_err(io::Error::other).and_then(|moved| moved);
        let gone =
            gone.map_err(|error| ApiError::internal("the sprite's files could not be removed", &error))?;
        tokio::task::spawn_blocking(move || {
            if let Err(error) = fs::remove_dir_all(&gone) {
                tracing::warn!(%error, path = %gone.display(), "left over files; the next start removes them");
            }
        });
        Ok(())
    }

    /// Refuses new commands and ends the running ones, in all sprites.
    pub(super) async fn close(&self) {
        let sprites: Vec<_> = {
            let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
            sprites.values().cloned().collect()
        };
        for sprite in &sprites {
            sprite.sessions.close();
        }
        end(sprites.iter().map(|sprite| sprite.record.id.clone()).collect()).await;
    }
}

/// Kills everything that runs in these sprites.
async fn end(ids: Vec<String>) {
    let ids = Arc::new(ids);
    let doomed = Arc::clone(&ids);
    let killed = tokio::task::spawn_blocking(move || kill(&doomed)).await;
    if killed.is_err() {
        // The runtime is going down and starts nothing more; then it has to be done here.
        kill(&ids);
    }
}

fn kill(ids: &[String]) {
    tree::kill_sprites(&ids.iter().map(String::as_str).collect());
}

fn local(record: Record, root: PathBuf) -> LocalSprite {
    LocalSprite {
        record,
        root: Root::new(root),
        sessions: Sessions::default(),
    }
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}

/// Names are one path component and one DNS label: lower case letters, digits and `-`, at most 63.
fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = !name.starts_with('-') && !name.ends_with('-');
    if (1..=63).contains(&name.len()) && name.bytes().all(fits) && edges {
        return Ok(());
    }
    let message = "a sprite's name has 1 to 63 lower case letters, digits and inner hyphens";
    Err(ApiError::new(
        axum::http::StatusCode::BAD_REQUEST,
        "invalid_sprite_name",
        message,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "A", "a_b", "-a", "a-", "ä", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "agent-7", &"a".repeat(63)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
    }
}
