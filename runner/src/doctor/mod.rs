//! `roost doctor`: looks at everything a set-up needs and says what to do about what is missing.
//!
//! Invariant: it changes nothing, and every check ends within [`PATIENCE`]. What is not configured is not looked for.

pub mod chaos;
mod machine;
mod network;

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use crate::config::Config;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to look at.
#[derive(Debug, Clone)]
pub struct Patient {
    /// The data directory.
    pub data: PathBuf,
    /// The configuration.
    pub config: Config,
    /// The edge to ask, if there is one to ask.
    pub edge: Option<String>,
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub status: Status,
    /// One sentence; what to do, where something is to be done.
    pub message: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but not everything will.
    Warn,
    /// It will not work.
    Fail,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, message)
    }

    fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Status::Warn, message)
    }

    fn fail(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Status::Fail, message)
    }

    fn new(check: &'static str, status: Status, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            check,
            status,
            message,
        }
    }
}

/// Looks at everything; call inside a runtime.
pub async fn examine(patient: &Patient) -> Vec<Finding> {
    let mut findings = machine::programs().await;
    findings.push(machine::data_directory(&patient.data));
    findings.push(machine::master_key(patient));
    findings.extend(machine::database(patient).await);
    findings.push(machine::isolation(&patient.config).await);
    if let Some(edge) = &patient.edge {
        findings.extend(network::edge(edge, patient).await);
    }
    findings.extend(network::public_url(&patient.config).await);
    findings.extend(network::sprites(&patient.config).await);
    findings.extend(network::models(&patient.config).await);
    findings
}
