//! `cargo xtask setup`: installs what is missing and says so, one line per item.
//!
//! Invariant: only one set-up at a time works on the toolbox; a second one waits and then finds all in place.

use crate::items::{ITEMS, Item};
use crate::{Failure, Toolbox, install};
use std::fs;
use std::time::{Duration, Instant};

/// Checks every item and installs the missing ones. Downloads run beside compilation.
pub fn run(toolbox: &Toolbox) -> Result<(), Failure> {
    let started = Instant::now();
    let root = toolbox.root();
    let logs = root.join("log");
    fs::create_dir_all(&logs).map_err(Failure::file(&logs))?;
    println!("setup   {}", root.display());
    let _only_one = lock(toolbox)?;

    let mut missing = Vec::new();
    for item in ITEMS {
        if install::is_present(toolbox, item)? {
            println!("  \u{2713} {:<38} present", label(toolbox, item)?);
        } else {
            missing.push(item);
        }
    }
    let (compiled, fetched): (Vec<&Item>, Vec<&Item>) = missing.iter().partition(|item| item.is_compiled());
    let installed = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| install_all(toolbox, &fetched));
        let compiling = install_all(toolbox, &compiled);
        let fetching = fetching
            .join()
            .unwrap_or_else(|_| Err(Failure::Check("Set-up was cut short.".to_owned())));
        fetching.and(compiling)
    });
    install::remove(&root.join(install::BUILD_FOLDER))?;
    installed?;
    println!("setup   done in {}", seconds(started.elapsed()));
    Ok(())
}

fn install_all(toolbox: &Toolbox, items: &[&Item]) -> Result<(), Failure> {
    for item in items {
        let label = label(toolbox, item)?;
        let doing = if item.is_compiled() {
            "compiling, a minute or two"
        } else {
            "installing"
        };
        println!("  \u{2026} {label:<38} {doing}");
        let started = Instant::now();
        install::install(
            toolbox,
            item,
            &toolbox.root().join("log").join(format!("{}.log", item.name)),
        )?;
        println!(
            "  \u{2713} {label:<38} installed in {}",
            seconds(started.elapsed())
        );
    }
    Ok(())
}

pub(crate) fn label(toolbox: &Toolbox, item: &Item) -> Result<String, Failure> {
    Ok(format!("{} {}", item.name, item.version(toolbox)?))
}

/// An exclusive lock that lasts as long as the returned file is open.
pub(crate) fn lock(toolbox: &Toolbox) -> Result<fs::File, Failure> {
    let path = toolbox.root().join(".lock");
    let file = fs::File::create(&path).map_err(Failure::file(&path))?;
    if file.try_lock().is_err() {
        println!("  \u{2026} waiting for another set-up to finish");
        file.lock().map_err(Failure::file(&path))?;
    }
    Ok(file)
}

/// `0.4 s`, `92 s`.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}
