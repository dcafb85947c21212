//! How a command fails: a stable code, one sentence that says what to do, an exit code.

use std::{fmt, process::ExitCode};

use roost_shared::problem::Problem;

use crate::{config::ConfigError, edge_client::EdgeError};

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Ok,
    /// 1: it was tried and failed.
    Failed,
    /// 2: it could not be tried; usage or configuration is wrong.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
        })
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problem.message)]
pub struct Failure {
    /// Code and sentence.
    pub problem: Problem,
    /// What the process ends with.
    pub exit: Exit,
}

impl Failure {
    /// It was tried and failed.
    pub fn failed(code: &str, message: impl fmt::Display) -> Self {
        Self {
            problem: Problem::new(code, message.to_string()),
            exit: Exit::Failed,
        }
    }

    /// It could not be tried.
    pub fn usage(code: &str, message: impl fmt::Display) -> Self {
        Self {
            problem: Problem::new(code, message.to_string()),
            exit: Exit::Usage,
        }
    }

    /// Nothing can listen at `address`.
    pub fn listen(address: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::failed(
            "listen_failed",
            format!("nothing can listen on {address}: {error}; choose another address with --listen"),
        )
    }

    /// What the edge at `base` answered, or that it did not.
    pub fn edge(base: &str, error: EdgeError) -> Self {
        match error {
            EdgeError::Unavailable {
                reason,
                retry_after: Some(after),
            } => {
                let message = format!(
                    "the edge at {base} is unavailable: {reason}; try again in {} s",
                    after.as_secs()
                );
                Self::failed("edge_unavailable", message)
            }
            EdgeError::Unavailable { reason, .. } => {
                let message = format!(
                    "{base} does not answer: {reason}; start the edge (`roost up`), or say where it is with --edge"
                );
                Self::failed("edge_unreachable", message)
            }
            EdgeError::Refused(problem) if is_about_the_token(&problem.code) => {
                let message = format!(
                    "{}: `roost token api --name NAME` makes one where the master key of {base} is; give it by ROOST_TOKEN",
                    problem.message
                );
                Self::failed(&problem.code, message)
            }
            EdgeError::Refused(problem) => Self::failed(&problem.code, problem.message),
            EdgeError::StaleLease => Self::failed(error.code(), &error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.code(), error)
    }
}

fn is_about_the_token(code: &str) -> bool {
    code == "unauthorized" || code.starts_with("token_")
}
