//! A single command of a tool's own in the sprite, bounded in time and output.
//!
//! Invariant: arguments go to the program as they are, no shell reads them; a command that says more than the limit is left
//! at that and ended by the host. Such a command only looks, so one that was cut off is run again from its beginning, and
//! what it had said is forgotten.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{sleep, timeout};

use super::{ToolContext, ToolOutput, input::sprite_error};
use crate::sprite::{Disconnected, Exec, ExecFrame, ExecRequest, SpriteError, retry::Pauses};

const TIME: Duration = Duration::from_secs(60);
const STDERR_BYTES: usize = 4_096;
/// Pauses after a cut, and how many.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const REPEATS: u32 = 5;

/// What a command said.
pub(super) struct Finished {
    pub(super) stdout: BytesMut,
    pub(super) stderr: String,
    /// `None` when it was not waited for.
    pub(super) exit: Option<i32>,
    /// Whether `stdout` is all of it.
    pub(super) complete: bool,
}

/// Runs a program that only looks, with its arguments, in the home directory, up to `limit` bytes of output.
pub(super) async fn run(
    context: &ToolContext,
    command: &[&str],
    limit: usize,
) -> Result<Finished, ToolOutput> {
    let request = ExecRequest::new(command.iter().copied())
        .disconnected(Disconnected::RunFor(Duration::from_millis(1)));
    let work = async {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, REPEATS);
        loop {
            let look = async { collect(context.sprite().brief(request.clone()).await?, limit).await };
            match (look.await, pauses.next()) {
                (Err(SpriteError::Unavailable { .. }), Some(pause)) => sleep(pause).await,
                (looked, _) => return looked,
            }
        }
    };
    match timeout(TIME, work).await {
        Ok(done) => done.map_err(|error| sprite_error(&error)),
        Err(_) => {
            let seconds = TIME.as_secs();
            Err(ToolOutput::error(format!(
                "It took longer than {seconds} s and was stopped. Narrow it down."
            )))
        }
    }
}

async fn collect(mut exec: Exec, limit: usize) -> Result<Finished, SpriteError> {
    let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
    let (mut exit, mut complete) = (None, false);
    while let Some(frame) = exec.next().await {
        match frame? {
            ExecFrame::Stdout(bytes) => {
                let room = (limit - stdout.len()).min(bytes.len());
                stdout.extend_from_slice(&bytes[..room]);
                if room < bytes.len() {
                    break;
                }
            }
            ExecFrame::Stderr(bytes) => {
                let room = (STDERR_BYTES - stderr.len()).min(bytes.len());
                stderr.extend_from_slice(&bytes[..room]);
            }
            ExecFrame::Exit(code) => {
                exit = Some(code);
                complete = true;
            }
        }
    }
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Finished {
        stdout,
        stderr,
        exit,
        complete,
    })
}
