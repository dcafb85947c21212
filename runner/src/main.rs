//! The binary `roost`: all it does is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    roost_runner::cli::main()
}
