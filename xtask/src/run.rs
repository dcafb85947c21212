//! Running other programs: with their output on the terminal, or kept and shown only when they fail.
//!
//! Invariant: no program started here is left running, and none reads our standard input.

use crate::Failure;
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// How many lines of a failed program's kept output are shown.
const SHOWN_LINES: usize = 25;

/// Runs `command` with its output on our terminal.
pub fn shown(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| cannot_start(command, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(said_no(command, status, String::new()))
    }
}

/// Runs `command` with all it prints going to `log`; a failure carries the log's last lines.
pub fn logged(command: &mut Command, log: &Path) -> Result<(), Failure> {
    let out = File::create(log).map_err(Failure::file(log))?;
    let err = out.try_clone().map_err(Failure::file(log))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .map_err(|error| cannot_start(command, error))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read(log).map_err(Failure::file(log))?;
    Err(said_no(command, status, tail(&String::from_utf8_lossy(&text))))
}

/// Runs `command` and returns what it printed on standard output, trimmed.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| cannot_start(command, error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(said_no(
            command,
            output.status,
            tail(&String::from_utf8_lossy(&output.stderr)),
        ))
    }
}

/// The command as a person would type it.
fn as_typed(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn cannot_start(command: &Command, error: std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() != std::io::ErrorKind::NotFound {
        return Failure::File {
            path: program.into(),
            source: error,
        };
    }
    let hint = match program.as_str() {
        "npm" | "node" => "Node.js with npm (Debian: apt-get install nodejs npm)",
        "python3" => "Python 3 with pip (Debian: apt-get install python3-pip)",
        "perf" => "perf (Debian: apt-get install linux-perf)",
        "rustup" | "rustc" | "cargo" => "Rust through rustup",
        _ => "it",
    };
    Failure::MissingProgram {
        program,
        hint: hint.to_owned(),
    }
}

fn said_no(command: &Command, status: ExitStatus, detail: String) -> Failure {
    Failure::Program {
        what: as_typed(command),
        status: status.to_string(),
        detail,
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..]
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}
