//! The sprites of this host, in memory and on disk.
//!
//! Invariant: a sprite is in the table exactly while its directory stands under `sprites/`; both appear and disappear by one
//! rename, so a host that is killed at any moment finds whole sprites or none. One host at a time owns the directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use futures::future::join_all;

use super::{
    HostConfig, HostError,
    activity::Bustle,
    cgroup::Groups,
    checkpoint,
    error::ApiError,
    files, heir,
    isolation::{self, Isolation},
    local::{LocalSprite, ORGANIZATION, State},
    policy::Policies,
    rate::{Left, Rate},
    record::{Settings, Written},
    resolve::make_root,
};
use crate::sprite::wire_sprites::{Counts, CreateSprite, UpdateSprite};

#[derive(Debug)]
pub(super) struct Store {
    config: Arc<HostConfig>,
    dir: PathBuf,
    bustle: Arc<Bustle>,
    groups: Arc<Groups>,
    rate: Rate,
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
        let groups = Arc::new(config.isolation.groups(&dir));
        let config = Arc::new(config);
        let bustle = Bustle::new(config.limits.running);
        let mut sprites = BTreeMap::new();
        let mut found = Vec::new();
        for entry in fs::read_dir(dir.join("sprites")).map_err(at(&dir))? {
            let path = entry.map_err(at(&dir))?.path();
            let written = Written::read(&path).map_err(at(&path))?;
            found.push((path, written));
        }
        let mut taken: BTreeSet<_> = found
            .iter()
            .filter_map(|(_, written)| written.record.user)
            .collect();
        for (path, mut written) in found {
            let root = path.join("root");
            make_root(&root, written.record.user).map_err(at(&root))?;
            checkpoint::recover(&path);
            if config.isolation == Isolation::Required {
                // It stays, and says why when it is to wake.
                if let Err(error) = give_user(&path, &mut written, &mut taken) {
                    tracing::error!(%error, sprite = written.record.name, "the sprite could not be given a user of its own");
                }
            }
            let sprite = LocalSprite::new(written, root, &config, &bustle, &groups);
            sprites.insert(sprite.record.name.clone(), Arc::new(sprite));
        }
        Ok(Self {
            rate: Rate::new(config.limits.creations_per_minute),
            config,
            dir,
            bustle,
            groups,
            sprites: RwLock::new(sprites),
            changing: Mutex::default(),
            _lock: lock,
        })
    }

    pub(super) fn config(&self) -> &HostConfig {
        &self.config
    }

    pub(super) fn shared_config(&self) -> Arc<HostConfig> {
        Arc::clone(&self.config)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cgroups of its sprites.
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What tells of the changes of all sprites.
    pub(super) fn bustle(&self) -> &Bustle {
        &self.bustle
    }

    pub(super) fn get(&self, name: &str) -> Result<Arc<LocalSprite>, ApiError> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        sprites
            .get(name)
            .cloned()
            .ok_or_else(|| ApiError::no_sprite(name))
    }

    /// The sprites whose names start with `prefix` and come after `after`, by name, at most `most` of them.
    pub(super) fn list(&self, prefix: &str, after: &str, most: usize) -> Vec<Arc<LocalSprite>> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        let start = if after > prefix { after } else { prefix };
        let matching = sprites
            .range(start.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix));
        matching
            .filter(|(name, _)| name.as_str() > after)
            .take(most)
            .map(|(_, sprite)| Arc::clone(sprite))
            .collect()
    }

    /// How many sprites of this host are in which state.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            name: ORGANIZATION.into(),
            running_limit: Some(self.bustle.limit()),
            warm_limit: Some(self.config.limits.sprites),
            ..Counts::default()
        };
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        for sprite in sprites.values() {
            match sprite.state() {
                State::Cold => counts.cold += 1,
                State::Warm => counts.warm += 1,
                State::Running => counts.running += 1,
            }
        }
        counts
    }

    /// Creates a sprite; says how many more may follow. Blocks.
    pub(super) fn create(&self, request: CreateSprite) -> Result<(Arc<LocalSprite>, Left), ApiError> {
        let mut written = Written::new(request)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_room_for(&written.record.name)?;
        let left = self.rate.take()?;
        written.record.user = self.free_user();
        let path = self.dir.join("sprites").join(&written.record.name);
        if let Err(error) = self.build(&written, &path) {
            self.rate.give_back();
            return Err(ApiError::internal("the sprite could not be created", &error));
        }
        let sprite = Arc::new(LocalSprite::new(
            written,
            path.join("root"),
            &self.config,
            &self.bustle,
            &self.groups,
        ));
        let mut sprites = self.sprites.write().unwrap_or_else(PoisonError::into_inner);
        sprites.insert(sprite.record.name.clone(), Arc::clone(&sprite));
        drop(sprites);
        sprite.activity.announce();
        Ok((sprite, left))
    }

    fn has_room_for(&self, name: &str) -> Result<(), ApiError> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        if sprites.contains_key(name) {
            let message = format!("sprite {name} exists already; use it or choose another name");
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
        Ok(())
    }

    /// A user that no sprite has; `None` where the host can't give users. The caller holds `changing`.
    fn free_user(&self) -> Option<u32> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        free_user(&sprites.values().filter_map(|sprite| sprite.record.user).collect())
    }

    /// Every sprite of the host.
    pub(super) fn all(&self) -> Vec<Arc<LocalSprite>> {
        let sprites = self.sprites.read().unwrap_or_else(PoisonError::into_inner);
        sprites.values().cloned().collect()
    }

    fn build(&self, written: &Written, path: &Path) -> io::Result<()> {
        let new = self.dir.join("new").join(&written.record.id);
        let root = new.join("root");
        make_root(&root, written.record.user)?;
        written.write(&new)?;
        fs::rename(&new, path)?;
        File::open(self.dir.join("sprites"))?.sync_all()
    }

    /// Changes a sprite's settings, durably. Blocks.
    pub(super) fn update(&self, name: &str, change: UpdateSprite) -> Result<Arc<LocalSprite>, ApiError> {
        self.rewrite(name, |settings| settings.with(change))
    }

    /// Changes a sprite's policies, durably. Blocks.
    pub(super) fn set_policies(
        &self,
        name: &str,
        change: impl FnOnce(&mut Policies),
    ) -> Result<Arc<LocalSprite>, ApiError> {
        self.rewrite(name, |mut settings| {
            change(&mut settings.policies);
            Ok(settings)
        })
    }

    fn rewrite(
        &self,
        name: &str,
        change: impl FnOnce(Settings) -> Result<Settings, ApiError>,
    ) -> Result<Arc<LocalSprite>, ApiError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let sprite = self.get(name)?;
        let settings = change(sprite.settings())?;
        let written = Written {
            record: sprite.record.clone(),
            settings,
        };
        written
            .write(&self.dir.join("sprites").join(name))
            .map_err(|error| ApiError::internal("the sprite was not changed", &error))?;
        sprite.set(written.settings);
        Ok(sprite)
    }

    /// Ends everything that runs in a sprite; its files stay.
    pub(super) async fn restart(&self, name: &str) -> Result<Arc<LocalSprite>, ApiError> {
        let sprite = self.get(name)?;
        let _still = sprite.still().await;
        sprite.end().await;
        Ok(sprite)
    }

    /// Ends a sprite's commands and takes it away. Its name and its user are free once nothing of it runs any more. Gone is
    /// gone once this returns; the files of a large sprite may take longer to disappear.
    pub(super) async fn delete(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        let sprite = self.get(name)?;
        sprite.services.close();
        sprite.sessions.close();
        // Waits for what is being started or restored; what comes after that finds it closed.
        let _still = sprite.still().await;
        sprite.end().await;
        let (store, leaving) = (Arc::clone(self), Arc::clone(&sprite));
        let moved = tokio::task::spawn_blocking(move || store.move_away(&leaving)).await;
        let gone = moved
            .map_err(|error| ApiError::internal("the sprite was not deleted", &io::Error::other(error)))??;
        sprite.activity.announce();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = files::remove_tree(&gone) {
                tracing::warn!(%error, path = %gone.display(), "left over files; the next start removes them");
            }
        });
        Ok(())
    }

    /// Takes a sprite's files away by one rename, and the sprite out of the table. Blocks.
    fn move_away(&self, sprite: &Arc<LocalSprite>) -> Result<PathBuf, ApiError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &sprite.record.name;
        // Somebody else may have deleted it meanwhile, and made another one of that name.
        if !self.get(name).is_ok_and(|there| Arc::ptr_eq(&there, sprite)) {
            return Err(ApiError::no_sprite(name));
        }
        let gone = self.dir.join("gone").join(&sprite.record.id);
        fs::rename(self.dir.join("sprites").join(name), &gone)
            .map_err(|error| ApiError::internal("the sprite's files could not be removed", &error))?;
        let mut sprites = self.sprites.write().unwrap_or_else(PoisonError::into_inner);
        sprites.remove(name);
        Ok(gone)
    }

    /// Refuses new commands and ends the running ones, in all sprites.
    pub(super) async fn close(&self) {
        let sprites = self.all();
        for sprite in &sprites {
            sprite.services.close();
            sprite.sessions.close();
        }
        join_all(sprites.iter().map(|sprite| sprite.end())).await;
    }
}

/// A user that is not taken; `None` where the host can't give users.
fn free_user(taken: &BTreeSet<u32>) -> Option<u32> {
    // Number 0 is the trial's.
    (1..)
        .map_while(isolation::user)
        .find(|user| !taken.contains(user))
}

/// Gives the sprite in `path` a user of its own, if it was made when the host had none to give.
fn give_user(path: &Path, written: &mut Written, taken: &mut BTreeSet<u32>) -> io::Result<()> {
    let root = path.join("root");
    if written.record.user.is_none()
        && let Some(user) = free_user(taken)
    {
        let mut changed = written.clone();
        changed.record.former = Some(heir::owner(&root)?);
        changed.record.user = Some(user);
        // First: what is written down is done again by the next host if this one dies.
        changed.write(path)?;
        *written = changed;
        taken.insert(user);
    }
    heir::settle(&root, &written.record)
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        files::remove_tree(&entry?.path())?;
    }
    Ok(())
}
