//! The binary `roost`: all it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost_runner::cli::main()
}
