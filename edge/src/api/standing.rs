//! How integrations stand with their channels: whether sending goes well, and what the last look for missed deliveries found.

use std::collections::HashMap;

use roost_shared::{IntegrationId, UnixMillis};
use serde::Serialize;

use crate::{
    db::{DbError, Scope},
    ingress::sweep::Report,
};

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
    sweeps: HashMap<IntegrationId, Report>,
}

impl Standings {
    /// Reads them.
    pub(crate) async fn read(scope: &Scope) -> Result<Self, DbError> {
        let results = scope
            .read(vec![
                scope.sql(
                    "SELECT integration_id, failures, failing_since, paused_at, code, reason FROM senders \
                     WHERE workspace_id = ?1 AND (failures > 0 OR paused_at IS NOT NULL)",
                    [],
                ),
                scope.sql(
                    "SELECT integration_id, report FROM sweeps WHERE workspace_id = ?1 AND report IS NOT NULL",
                    [],
                ),
            ])
            .await?;
        let [senders, sweeps] = results.as_slice() else {
            return Err(DbError::Sql("the database answered with too few results".into()));
        };
        let sending = senders
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
        let sweeps = sweeps
            .iter()
            .map(|row| Ok((row.parse(0)?, row.json(1)?)))
            .collect::<Result<_, DbError>>()?;
        Ok(Self { sending, sweeps })
    }

    /// How sending by one goes.
    pub(crate) fn sending(&self, integration: IntegrationId) -> Sending {
        self.sending.get(&integration).cloned().unwrap_or_default()
    }

    /// What the last sweep of one came to.
    pub(crate) fn sweep(&self, integration: IntegrationId) -> Option<Report> {
        self.sweeps.get(&integration).cloned()
    }
}
