//! Ctrl-C and SIGTERM: the first one asks the process to end well, a second one ends it at once.

use std::io;

use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{
    Failure,
    output::{self, Format},
};

/// Becomes true once the process is asked to end.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

/// Listens for the signals from now on; call once, inside a runtime.
pub(crate) fn listen() -> Result<Shutdown, Failure> {
    let failed = |error: io::Error| Failure::failed("no_signals", format!("signals can't be heard: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (asked, hears) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.send_replace(true) {
                output::note("stopped at once");
                // What a shell expects of a process that Ctrl-C ended.
                std::process::exit(130);
            }
        }
    });
    Ok(Shutdown(hears))
}

impl Shutdown {
    /// As [`asked`](Self::asked), and says so: giving work back may take a while.
    pub(crate) async fn told(self, format: Format) {
        self.asked().await;
        format.print(
            &json!({ "event": "stopping" }),
            "Stopping: gives running work back. Ctrl-C again stops at once.",
        );
    }

    /// Completes once the process is asked to end.
    pub(crate) async fn asked(mut self) {
        // The sender lives as long as the runtime, so this waits for the signal and nothing else.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
