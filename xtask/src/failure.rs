//! The one error type of the developer commands; every message is a sentence that says what to do.

use std::path::{Path, PathBuf};

/// Why a developer command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}.")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program that set-up does not install is not on this machine.
    #[error("{program} is not on this machine; install {hint} and run this again.")]
    MissingProgram {
        /// The program as it was called.
        program: String,
        /// What to install, in words.
        hint: String,
    },
    /// A program ran and said no.
    #[error("{what} failed ({status}).{detail}")]
    Program {
        /// The command line.
        what: String,
        /// Its exit status.
        status: String,
        /// The end of its output, on new lines, or nothing where it was printed already.
        detail: String,
    },
    /// A tool that set-up provides is not there.
    #[error("{tool} is not installed; run `cargo xtask setup`.")]
    NotSetUp {
        /// The tool's name in the list of items.
        tool: String,
    },
    /// A check found something wrong.
    #[error("{0}")]
    Check(String),
    /// A file holds something else than what it should.
    #[error("{path} cannot be understood: {reason}.")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
}

impl Failure {
    /// For `map_err` on an I/O call about `path`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }

    /// For `map_err` on a parser's error about `path`.
    pub fn format<E: ToString>(path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Format {
            path,
            reason: reason.to_string(),
        }
    }
}
