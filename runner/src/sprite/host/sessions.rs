//! The exec sessions of one sprite.
//!
//! Invariant: at most the limit runs at once, counting those that are being started; once closed, nothing starts any more.
//! An ended session stays if it is detachable, until its time or its place in the row of ended ones is over.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
};

use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, mpsc},
    time,
};

use super::{
    Limits,
    activity::Busy,
    error::ApiError,
    output::{Output, Reader},
    process::{Command, Io, Started},
    pump,
    sandbox::Sandbox,
    session::{Client, STDIN_BYTES, Session, Terms},
};
use crate::{random::hex_id, sprite::wire::SessionInfo};

const STDIN_MESSAGES: usize = 256;

/// The sessions of one sprite. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    closed: bool,
    /// Commands that are being started.
    starting: usize,
    by_id: BTreeMap<String, Arc<Session>>,
}

impl Table {
    fn running(&self) -> usize {
        self.starting + self.by_id.values().filter(|session| session.running()).count()
    }
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: &str) -> Result<Arc<Session>, ApiError> {
        self.table()
            .by_id
            .get(id)
            .cloned()
            .ok_or_else(|| ApiError::no_session(id))
    }

    /// All sessions, the oldest first.
    pub(super) fn list(&self) -> Vec<SessionInfo> {
        let mut sessions: Vec<_> = self.table().by_id.values().cloned().collect();
        sessions.sort_by_key(|session| session.created);
        sessions.iter().map(|session| session.info()).collect()
    }

    /// From now on nothing starts; what runs is the caller's to kill.
    pub(super) fn close(&self) {
        self.table().closed = true;
    }

    /// Whether something may still start.
    pub(super) fn check_open(&self) -> Result<(), ApiError> {
        if self.table().closed {
            return Err(ApiError::gone(
                "the sprite is being deleted or its host is shutting down",
            ));
        }
        Ok(())
    }

    /// Starts a command. The reader and the client are there before the command is, so no byte is missed. The sprite is
    /// busy until the command has ended.
    ///
    /// A program that can't be run is a session that says so and exits as a shell would have it. To be run to its end:
    /// a dropped future could leave a command behind that nobody knows.
    pub(super) async fn start(
        &self,
        sandbox: &Sandbox,
        command: Command,
        terms: Terms,
        limits: &Limits,
        busy: Busy,
    ) -> Result<(Arc<Session>, Reader, Client), ApiError> {
        self.reserve(limits)?;
        let (line, workdir) = (command.arguments.join(" "), command.dir.display().to_string());
        let (tty, program) = (command.tty.is_some(), command.program.clone());
        let (started, failure) = match sandbox.run(command).await {
            Ok(started) => (Some(started), None),
            Err(error) => (None, Some(error)),
        };
        let (handle, running) = match started {
            Some(Started { handle, exit, io }) => (Some(handle), Some((exit, io))),
            None => (None, None),
        };
        let terminal = running.as_ref().and_then(|(_, io)| match io {
            Io::Terminal { terminal, .. } => Some(terminal.clone()),
            Io::Pipes { .. } => None,
        });
        let output = Output::new(limits.history_bytes);
        let reader = output.reader();
        let (stdin, inputs) = mpsc::channel(STDIN_MESSAGES);
        let session = Arc::new(Session {
            id: hex_id(),
            command: line,
            workdir,
            tty,
            created: Timestamp::now(),
            terms,
            output,
            handle,
            terminal,
            stdin,
            stdin_room: Arc::new(Semaphore::new(STDIN_BYTES)),
            clients: Mutex::default(),
            bytes: AtomicU64::new(0),
            last_activity: AtomicI64::new(Timestamp::now().as_millisecond()),
        });
        let client = session.client();
        let closed = {
            let mut table = self.table();
            table.starting -= 1;
            table.by_id.insert(session.id.clone(), Arc::clone(&session));
            table.closed
        };
        if closed {
            session.kill_tree().await;
        }
        let (table, driven, limits) = (self.clone(), Arc::clone(&session), limits.clone());
        tokio::spawn(async move {
            if let Some((exit, io)) = running {
                pump::drive(Arc::clone(&driven), exit, io, inputs).await;
            }
            if let Some(error) = failure {
                pump::refuse(&driven, &program, &error).await;
            }
            drop(busy);
            table.retire(&driven, &limits).await;
        });
        Ok((session, reader, client))
    }

    fn reserve(&self, limits: &Limits) -> Result<(), ApiError> {
        let mut table = self.table();
        if table.closed {
            return Err(ApiError::gone(
                "the sprite is being deleted or its host is shutting down",
            ));
        }
        if table.running() >= limits.sessions {
            let message = format!(
                "the sprite runs {} commands already; end some first",
                limits.sessions
            );
            return Err(ApiError::limit(
                "concurrent_session_limit_exceeded",
                message,
                limits.sessions,
            ));
        }
        table.starting += 1;
        Ok(())
    }

    /// Forgets an ended session: at once, or for a detachable one when its time is over or its place is needed.
    async fn retire(&self, session: &Session, limits: &Limits) {
        if session.terms.detachable {
            {
                let mut table = self.table();
                let mut ended: Vec<_> = table
                    .by_id
                    .values()
                    .filter(|session| !session.running())
                    .cloned()
                    .collect();
                ended.sort_by_key(|session| session.created);
                let excess = ended.len().saturating_sub(limits.ended_sessions);
                for session in ended.iter().take(excess) {
                    table.by_id.remove(&session.id);
                }
            }
            time::sleep(limits.ended_for).await;
        }
        self.table().by_id.remove(&session.id);
    }
}
