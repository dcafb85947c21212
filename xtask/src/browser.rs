//! The browser the pages are tested in: Debian's Chromium, which comes with the libraries it needs.
//!
//! Invariant: unlike everything else that set-up installs it is shared with the whole machine, so one that is there is
//! taken as it is.

use crate::{Failure, run};
use std::path::Path;
use std::process::Command;

/// Where Debian puts it.
pub const CHROMIUM: &str = "/usr/bin/chromium";

/// Whether it is there and starts.
pub(crate) fn is_present() -> bool {
    run::output(Command::new(CHROMIUM).arg("--version")).is_ok()
}

/// Installs it through apt-get, which may need its lists of packages first.
pub(crate) fn install(log: &Path) -> Result<(), Failure> {
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let install = [
        "install",
        "--yes",
        "--no-install-recommends",
        "chromium",
        "fonts-dejavu-core",
    ];
    run::logged(&mut apt(&install), log)
        .or_else(|_| {
            run::logged(&mut apt(&["update"]), log)?;
            run::logged(&mut apt(&install), log)
        })
        .map_err(|_| {
            Failure::Check(format!(
                "Chromium is not on this machine and apt-get could not install it ({} says why); \
                 install it as root (apt-get install chromium) and run this again.",
                log.display()
            ))
        })?;
    if is_present() {
        return Ok(());
    }
    Err(Failure::Check(format!(
        "Chromium was installed but {CHROMIUM} does not start."
    )))
}
