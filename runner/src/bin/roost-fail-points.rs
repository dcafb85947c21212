//! `roost`, built so that it can die at its fail points: for tests only.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost_runner::cli::main()
}
