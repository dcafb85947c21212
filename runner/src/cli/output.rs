//! What a command prints: text for people, one JSON value per line for programs.

use std::io::{self, Write};

use roost_shared::{problem::ProblemBody, text::plain};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Failure;
use crate::api_client::Page;

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

    /// The same where text from outside may be in it: nothing of it reaches the terminal but letters and lines.
    pub(crate) fn show(self, data: &impl Serialize, text: &str) {
        self.print(data, &plain(text));
    }

    /// Prints a page of a list as the API gave it, or what `table` makes of it; where it goes on, to standard error.
    pub(crate) fn list<T: DeserializeOwned>(
        self,
        page: &Page<Value>,
        what: &str,
        table: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        if self == Self::Text && page.items.is_empty() {
            note(&format!("There are no such {what}."));
            return Ok(());
        }
        let items: Vec<T> = page.items.iter().map(understood).collect::<Result<_, _>>()?;
        self.show(page, &table(&items));
        if let (Self::Text, Some(next)) = (self, &page.next) {
            note(&format!("There are older ones: --before {next}"));
        }
        Ok(())
    }

    /// Prints an error, to standard error.
    pub(crate) fn error(self, failure: &Failure) {
        let text = match self {
            Self::Text => format!("error: {}", plain(&failure.to_string())),
            Self::Json => {
                let error = failure.problem.clone();
                serde_json::to_string(&ProblemBody { error }).unwrap_or_default()
            }
        };
        note(&text);
    }
}

/// What an edge said, as far as it is shown.
pub(crate) fn understood<T: DeserializeOwned>(data: &Value) -> Result<T, Failure> {
    T::deserialize(data).map_err(|error| {
        let message = format!("the edge's answer makes no sense: {error}; is it one of another version?");
        Failure::failed("answer_malformed", message)
    })
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
