//! A service that shall run: started, watched, started again.
//!
//! Invariant: at most one process of a service runs, and its state says what is so. A process that ends by itself is started
//! again after a pause that grows and is never quite the same; one that is stopped stays stopped.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::{Service, log::Log};
use crate::{
    random,
    sprite::{
        Signal,
        host::{
            HostConfig,
            error::ApiError,
            local::LocalSprite,
            output::{Read, Reader},
            request::service_command,
            session::{Session, Terms},
        },
        wire_services::{Definition, LogEvent, Status},
    },
};

/// How long a service waits for those it needs before it counts as failed.
const NEEDS_WITHIN: Duration = Duration::from_secs(60);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One that ran this long begins again with the shortest pause.
const SOUND_AFTER: Duration = Duration::from_secs(60);
const PROBE_FIRST: Duration = Duration::from_millis(20);
const PROBE_SLOWEST: Duration = Duration::from_secs(1);
const PROBE_WITHIN: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 256 << 10;
/// A longer line is cut into several.
const LINE_BYTES: usize = 16 << 10;

/// How a service is asked to stop: how long it may take.
pub(super) type Stop = watch::Receiver<Option<Duration>>;

/// Everything one service needs to run.
pub(super) struct Run {
    pub(super) sprite: Arc<LocalSprite>,
    pub(super) config: Arc<HostConfig>,
    pub(super) service: Arc<Service>,
    pub(super) definition: Definition,
    /// Those it needs itself.
    pub(super) needs: Vec<Arc<Service>>,
    pub(super) stop: Stop,
}

impl Run {
    /// Keeps it running until it is asked to stop.
    pub(super) async fn run(mut self) {
        let shortest = self.config.limits.service_pause;
        let mut pause = shortest;
        loop {
            self.service.change(|state| {
                state.status = Status::Starting;
                (state.error, state.next_restart_at) = (None, None);
            });
            let began = Instant::now();
            let failure = match self.once().await {
                Outcome::Stopped => break,
                Outcome::Failed(failure) => failure,
            };
            if began.elapsed() >= SOUND_AFTER {
                pause = shortest;
            }
            let length = jittered(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            let at = Timestamp::now() + jiff::SignedDuration::try_from(length).unwrap_or_default();
            self.service.change(|state| {
                state.status = Status::Failed;
                state.error = Some(failure.clone());
                state.next_restart_at = Some(at.to_string());
                (state.pid, state.started_at) = (None, None);
            });
            tracing::debug!(service = self.service.name, failure, "a service is started again");
            tokio::select! {
                () = time::sleep(length) => {}
                _ = self.stop.wait_for(Option::is_some) => break,
            }
            self.service.change(|state| state.restart_count += 1);
        }
        self.service.change(|state| {
            state.status = Status::Stopped;
            (state.pid, state.started_at, state.error, state.next_restart_at) = (None, None, None, None);
        });
        self.service.log.tell(event("stopped"));
    }

    /// One process, from its start to its end.
    async fn once(&mut self) -> Outcome {
        let mut stop = self.stop.clone();
        let started = tokio::select! {
            started = self.start() => started,
            _ = stop.wait_for(Option::is_some) => return Outcome::Stopped,
        };
        let (session, reader) = match started {
            Ok(started) => started,
            Err(failure) => {
                self.service.log.tell(LogEvent {
                    data: Some(failure.clone()),
                    ..event("error")
                });
                return Outcome::Failed(failure);
            }
        };
        self.service.set_session(Some(Arc::clone(&session)));
        self.service.change(|state| {
            state.pid = session.pid();
            state.started_at = Some(Timestamp::now().to_string());
            if self.definition.http_port.is_none() {
                state.status = Status::Running;
            }
        });
        self.service.log.tell(event("started"));
        let mut said = tokio::spawn(keep(Arc::clone(&self.service.log), reader));
        let exit = tokio::select! {
            exit = &mut said => Some(exit),
            _ = stop.wait_for(Option::is_some) => None,
            // Never returns.
            () = self.watch_port() => None,
        };
        if let Some(exit) = exit {
            self.service.set_session(None);
            let code = exit.unwrap_or(255);
            self.service.log.tell(exited(code));
            return Outcome::Failed(format!("it exited with code {code}"));
        }
        let within = stop.borrow().unwrap_or_default();
        self.service.change(|state| state.status = Status::Stopping);
        self.service.log.tell(event("stopping"));
        session.signal(Signal::Term).await;
        let code = match time::timeout(within, &mut said).await {
            Ok(code) => code,
            Err(_) => {
                session.kill_tree().await;
                said.await
            }
        };
        self.service.set_session(None);
        self.service.log.tell(exited(code.unwrap_or(255)));
        Outcome::Stopped
    }

    /// Waits for what it needs, and starts its process.
    async fn start(&self) -> Result<(Arc<Session>, Reader), String> {
        for need in &self.needs {
            let running = need.until(|state| state.status == Status::Running);
            if time::timeout(NEEDS_WITHIN, running).await.is_err() {
                return Err(format!("it needs {}, which does not run", need.name));
            }
        }
        let said = |error: ApiError| error.message().to_owned();
        let command = service_command(&self.sprite, &self.config.path, &self.definition).map_err(said)?;
        // Nobody is connected to it, and it goes on all the same. Its end is told by its state, not by the list of sessions.
        let terms = Terms {
            detachable: false,
            keep: None,
        };
        let sprite = Arc::clone(&self.sprite);
        // To its end even if it is to be stopped now: it must not run without anybody who knows.
        let starting = tokio::spawn(async move { sprite.start(command, terms).await });
        let started = starting.await.map_err(|error| error.to_string())?;
        let (session, reader, _) = started.map_err(said)?;
        Ok((session, reader))
    }

    /// It runs once its port answers.
    async fn watch_port(&self) {
        if let Some(port) = self.definition.http_port {
            let mut pause = PROBE_FIRST;
            while !answers(&self.sprite, port).await {
                time::sleep(pause).await;
                pause = (pause * 2).min(PROBE_SLOWEST);
            }
            self.service.change(|state| state.status = Status::Running);
        }
        std::future::pending::<()>().await;
    }
}

enum Outcome {
    Stopped,
    Failed(String),
}

/// Whether something in the sprite listens on its loopback port.
async fn answers(sprite: &LocalSprite, port: u16) -> bool {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let connected = sprite.connect(SocketAddr::new(address, port));
        if matches!(time::timeout(PROBE_WITHIN, connected).await, Ok(Ok(Ok(_)))) {
            return true;
        }
    }
    false
}

/// Keeps what a process says until its end; its exit code.
async fn keep(log: Arc<Log>, mut reader: Reader) -> i32 {
    let mut open = [Vec::new(), Vec::new()];
    loop {
        let (chunks, exit) = match reader.next(READ_BYTES).await {
            Read::Chunks(chunks) => (chunks, None),
            Read::End(exit) => (Vec::new(), Some(exit)),
        };
        let mut lines = Vec::new();
        for chunk in &chunks {
            let Some((stream, text)) = chunk.split_first() else {
                continue;
            };
            let kind = if *stream == 2 { "stderr" } else { "stdout" };
            let rest = &mut open[usize::from(*stream == 2)];
            for part in text.split_inclusive(|byte| *byte == b'\n') {
                rest.extend_from_slice(part);
                if rest.ends_with(b"\n") || rest.len() >= LINE_BYTES {
                    lines.push(line(kind, rest));
                }
            }
        }
        if exit.is_some() {
            for (kind, rest) in ["stdout", "stderr"].into_iter().zip(&mut open) {
                if !rest.is_empty() {
                    lines.push(line(kind, rest));
                }
            }
        }
        log.write(lines).await;
        if let Some(exit) = exit {
            return exit;
        }
    }
}

fn line(kind: &str, bytes: &mut Vec<u8>) -> LogEvent {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let data = Some(String::from_utf8_lossy(text).into_owned());
    bytes.clear();
    LogEvent { data, ..event(kind) }
}

pub(super) fn event(kind: &str) -> LogEvent {
    LogEvent {
        kind: kind.into(),
        timestamp: Timestamp::now().as_millisecond(),
        ..LogEvent::default()
    }
}

fn exited(code: i32) -> LogEvent {
    LogEvent {
        exit_code: Some(code),
        ..event("exit")
    }
}

/// Between the half of it and the whole, so that services that fell together do not start together.
fn jittered(pause: Duration) -> Duration {
    let part = f64::from(u16::from_le_bytes(random::bytes::<2>())) / f64::from(u16::MAX);
    pause.mul_f64(0.5 + part / 2.0)
}
