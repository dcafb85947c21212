//! What a command prints: text for people, one JSON value per line for programs.

use std::io::{self, Write};

use roost_shared::problem::ProblemBody;
use serde::Serialize;

use super::Failure;

/// The flag of every command whose output is data.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print JSON, errors included
    #[arg(long)]
    json: bool,
}

/// For whom to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl OutputArgs {
    pub(crate) fn format(self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

impl Format {
    /// Prints `data` as one line of JSON, or `text`.
    pub(crate) fn print(self, data: &impl Serialize, text: &str) {
        match self {
            Self::Text => line(text),
            Self::Json => line(&serde_json::to_string(data).unwrap_or_default()),
        }
    }

    /// Prints an error, to standard error.
    pub(crate) fn error(self, failure: &Failure) {
        let text = match self {
            Self::Text => format!("error: {failure}"),
            Self::Json => {
                let error = failure.problem.clone();
                serde_json::to_string(&ProblemBody { error }).unwrap_or_default()
            }
        };
        note(&text);
    }
}

/// Prints a line to standard output. A reader that went away is no error: it has seen what it wanted.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints a line to standard error.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
