//! Debian packages unpacked into the toolbox.
//!
//! Invariant: nothing is installed into the machine. A package's own scripts do not run, so no service of it is set up or
//! started, and none of this needs root but the update of apt's lists.

use crate::items::Item;
use crate::{Failure, Toolbox, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that Debian packs, and where its libraries are.
#[derive(Debug, Clone)]
pub struct DebianProgram {
    /// The program.
    pub path: PathBuf,
    /// What `LD_LIBRARY_PATH` has to be for it; nothing for the machine's own.
    pub libraries: Option<PathBuf>,
}

impl DebianProgram {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        self.beside(&self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// A command that runs another program of the same folder.
    pub fn beside(&self, name: &str) -> Command {
        let mut command = Command::new(self.path.with_file_name(name));
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

/// The item's program: the machine's own, or else the one in the toolbox.
pub(crate) fn program(toolbox: &Toolbox, item: &Item) -> Result<DebianProgram, Failure> {
    if let Some(path) = find(Path::new("/"), item.name) {
        return Ok(DebianProgram {
            path,
            libraries: None,
        });
    }
    let folder = toolbox.folder(item)?;
    let path = find(&folder, item.name).ok_or_else(|| Failure::NotSetUp {
        tool: item.name.to_owned(),
    })?;
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    Ok(DebianProgram {
        path,
        libraries: Some(folder.join(libraries)),
    })
}

/// Where Debian puts programs below `root`; PostgreSQL keeps its own in a folder per version.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(root.join("usr/lib/postgresql")).ok();
    let mut folders: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.push(root.join("usr/bin"));
    folders
        .into_iter()
        .rev()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Unpacks the package and those it needs that are not on this machine.
pub(crate) fn unpack(package: &str, fresh: &Path, log: &Path) -> Result<(), Failure> {
    let downloads = fresh.join("packages");
    fs::create_dir_all(&downloads).map_err(Failure::file(&downloads))?;
    download(package, &downloads, log).or_else(|_| {
        run::logged(Command::new("apt-get").arg("update"), log)?;
        download(package, &downloads, log)
    })?;
    for entry in fs::read_dir(&downloads).map_err(Failure::file(&downloads))? {
        let archive = entry.map_err(Failure::file(&downloads))?.path();
        run::logged(
            Command::new("dpkg-deb").arg("--extract").arg(archive).arg(fresh),
            log,
        )?;
    }
    fs::remove_dir_all(&downloads).map_err(Failure::file(&downloads))
}

fn download(package: &str, to: &Path, log: &Path) -> Result<(), Failure> {
    let plan = ["install", "--dry-run", "--no-install-recommends", package];
    let plan = run::output(Command::new("apt-get").args(plan).env("LC_ALL", "C"))?;
    run::logged(
        Command::new("apt-get")
            .arg("download")
            .args(installed_by(&plan))
            .current_dir(to),
        log,
    )
}

/// The packages that a dry run of apt-get would install.
fn installed_by(plan: &str) -> impl Iterator<Item = &str> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_read_without_what_is_only_configured() {
        let plan = "Reading package lists...\nInst liblzf1 (3.6-3 Debian:12 [amd64])\nInst redis-server (5:7 Debian [amd64])\n\
                    Conf liblzf1 (3.6-3 Debian:12 [amd64])\n";
        assert_eq!(
            installed_by(plan).collect::<Vec<_>>(),
            ["liblzf1", "redis-server"]
        );
    }

    #[test]
    fn the_newest_postgres_is_found_in_its_own_folder() {
        let root = std::env::temp_dir().join(format!("roost-debian-{}", std::process::id()));
        for version in ["15", "17"] {
            let folder = root.join("usr/lib/postgresql").join(version).join("bin");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("postgres"), "").unwrap();
        }
        let found = find(&root, "postgres").unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(found.ends_with("17/bin/postgres"), "{found:?}");
    }
}
