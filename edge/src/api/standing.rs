//! How integrations stand with their channels: whether sending goes well.

use std::collections::HashMap;

use roost_shared::{IntegrationId, UnixMillis};
use serde::Serialize;

use crate::db::{DbError, Scope};

/// How sending by one integration goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sending {
    /// Attempts that failed since the last that did not.
    pub failures: u64,
    /// When the first of them was.
    pub failing_since: Option<UnixMillis>,
    /// When sending was paused, until a person resumes it.
    pub paused_at: Option<UnixMillis>,
    /// Stable code of the last failure.
    pub code: Option<String>,
    /// The same in a sentence.
    pub reason: Option<String>,
}

/// How every integration stands that has something to tell.
pub(crate) struct Standings {
    sending: HashMap<IntegrationId, Sending>,
}

impl Standings {
    /// Reads them.
    pub(crate) async fn read(scope: &Scope) -> Result<Self, DbError> {
        let rows = scope
            .query(
                "SELECT integration_id, failures, failing_since, paused_at, code, reason FROM senders \
                 WHERE workspace_id = ?1 AND (failures > 0 OR paused_at IS NOT NULL)",
                [],
            )
            .await?;
        let sending = rows
            .iter()
            .map(|row| {
                let moment = |column| Ok::<_, DbError>(row.optional_integer(column)?.map(UnixMillis));
                let text = |column| Ok::<_, DbError>(row.optional_text(column)?.map(str::to_owned));
                let sending = Sending {
                    failures: row.unsigned(1)?,
                    failing_since: moment(2)?,
                    paused_at: moment(3)?,
                    code: text(4)?,
                    reason: text(5)?,
                };
                Ok((row.parse(0)?, sending))
            })
            .collect::<Result<_, DbError>>()?;
        Ok(Self { sending })
    }

    /// How sending by one goes.
    pub(crate) fn sending(&self, integration: IntegrationId) -> Sending {
        self.sending.get(&integration).cloned().unwrap_or_default()
    }
}
