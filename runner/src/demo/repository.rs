//! The repository of the demo: a small Python project, one of whose tests fails.

use std::{fs, path::Path, process::Command};

use crate::cli::Failure;

/// Its name on the GitHub stand-in.
pub(super) const NAME: &str = "octo/shop";
/// The file with the mistake.
pub(super) const FILE: &str = "prices.py";
/// The mistake.
pub(super) const WRONG: &str = "(1 - discount / 10)";
/// What should stand there.
pub(super) const RIGHT: &str = "(1 - discount / 100)";

const PRICES: &str = r#""""Prices of the shop, in cents."""


def total(prices, discount=0):
    """The sum of all prices, less a discount in percent."""
    return round(sum(prices) * (1 - discount / 10))


def cheapest(prices):
    """The lowest price, or None where there are no prices."""
    return min(prices, default=None)
"#;

const TESTS: &str = r#"import unittest

from prices import cheapest, total


class Prices(unittest.TestCase):
    def test_total(self):
        self.assertEqual(total([250, 750]), 1000)

    def test_total_with_discount(self):
        self.assertEqual(total([250, 750], discount=15), 850)

    def test_cheapest(self):
        self.assertEqual(cheapest([250, 750]), 250)
        self.assertIsNone(cheapest([]))


if __name__ == "__main__":
    unittest.main()
"#;

/// Makes the bare repository at `bare`, ready to be served as files; blocks.
pub(super) fn make(scratch: &Path, bare: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed("demo_repository", format!("no repository can be made: {error}"))
    };
    let work = scratch.join("shop");
    fs::create_dir_all(&work).map_err(failed)?;
    fs::write(work.join(FILE), PRICES).map_err(failed)?;
    fs::write(work.join("test_prices.py"), TESTS).map_err(failed)?;
    fs::write(work.join(".gitignore"), "__pycache__\n").map_err(failed)?;
    git(&work, &["init", "--quiet", "--initial-branch=main"])?;
    git(&work, &["add", "."])?;
    git(&work, &["commit", "--quiet", "--message=Discounts"])?;
    let (from, to) = (work.to_string_lossy(), bare.to_string_lossy());
    git(scratch, &["clone", "--quiet", "--bare", &from, &to])?;
    git(bare, &["update-server-info"])
}

fn git(directory: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .current_dir(directory)
        // What the user has configured must not change the demo.
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .map_err(|error| {
            Failure::failed(
                "git_missing",
                format!("git can't be run: {error}; install it (apt-get install git)"),
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(
        "demo_repository",
        format!("git {} failed: {}", arguments.join(" "), said.trim()),
    ))
}
