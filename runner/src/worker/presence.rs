//! The worker's presence: one request held open to the edge, so that the edge notices at once when this process dies.
//!
//! Invariant: it is a hint and never in the way. Without it the worker works all the same, and its leases end by expiry.

use std::time::Duration;

use roost_shared::{ProcessId, wire::PresenceRequest};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    clock,
    edge_client::{EdgeClient, EdgeError},
    random,
};

/// How long the worker waits for the first answer before it begins without.
const FIRST: Duration = Duration::from_millis(500);
/// Pauses before a connection that ended is opened again: this, doubling, at most [`LONGEST_PAUSE`], because a death is seen
/// late for as long as it lasts after an edge has come back. The edge gives the
/// first try its grace.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long an edge that does not watch is left alone: another one may have taken its place by then.
const UNWATCHED: Duration = Duration::from_secs(60);

/// Becomes present under this name, or has tried to, and stays so until the task is aborted.
pub(super) async fn hold(edge: EdgeClient, name: &str) -> JoinHandle<()> {
    let request = PresenceRequest {
        runner: name.to_owned(),
        process: ProcessId::new(clock::now(), random::bytes()),
    };
    let (tried, first) = oneshot::channel();
    let holding = tokio::spawn(for_ever(edge, request, tried));
    // Too late or never: the worker begins without.
    let _ = timeout(FIRST, first).await;
    holding
}

async fn for_ever(edge: EdgeClient, request: PresenceRequest, tried: oneshot::Sender<()>) {
    let mut tried = Some(tried);
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = edge.presence(&request).await;
        if let Some(tried) = tried.take() {
            // Nobody waits any more when the edge was slow.
            let _ = tried.send(());
        }
        match outcome {
            Ok((answer, presence)) if answer.watched => {
                pause = FIRST_PAUSE;
                presence.ended().await;
            }
            Ok(_) => pause = UNWATCHED,
            // An older edge, or none at all: the polls say what is wrong.
            Err(EdgeError::Refused(problem)) => {
                tracing::debug!("the edge does not watch this runner: {}", problem.message);
                pause = UNWATCHED;
            }
            Err(error) => tracing::debug!("not present at the edge: {error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
