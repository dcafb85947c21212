//! Restate's server with a service of its TypeScript SDK, on ports of ours.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::HeaderMap;
use roost_runner::fixture::Signed;
use serde_json::{Value, json};

use super::{
    arrivals::Arrivals,
    intake::Intake,
    programs::{Workshop, listening},
};
use crate::{Process, bench::load, free_port};

/// How long it may take from its start until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Server and service.
pub(super) struct Restate {
    workshop: Workshop,
    server: Process,
    service: Process,
    ports: Ports,
    address: String,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    ingress: u16,
    admin: u16,
    node: u16,
}

impl Restate {
    pub(super) fn name() -> String {
        let version = Workshop::new().map(|workshop| workshop.version("@restatedev/restate-server"));
        format!("Restate {}", version.unwrap_or_default())
    }

    pub(super) async fn start(arrivals: Option<&Arrivals>) -> Result<Self, String> {
        let workshop = Workshop::new()?;
        let report = arrivals.map(|arrivals| ("REPORT", arrivals.address()));
        let service = workshop.node("restate.mjs", "serve", report.as_slice());
        let (service, service_address) = listening("Restate's service", service).await;
        let ports = Ports {
            ingress: free_port(),
            admin: free_port(),
            node: free_port(),
        };
        let server = Process::start("Restate", command(&workshop, ports)?);
        let restate = Self {
            workshop,
            server,
            service,
            ports,
            address: format!("127.0.0.1:{}", ports.ingress),
        };
        restate.answers().await?;
        let deployment = json!({ "uri": format!("http://{service_address}") });
        restate.admin("deployments", &deployment).await?;
        Ok(restate)
    }

    /// Waits until both of its sides answer.
    async fn answers(&self) -> Result<(), String> {
        let began = Instant::now();
        let Ports { ingress, admin, .. } = self.ports;
        let urls = [
            format!("http://127.0.0.1:{admin}/health"),
            format!("http://127.0.0.1:{ingress}/restate/health"),
        ];
        for url in urls {
            while !reqwest::get(&url)
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                if began.elapsed() > PATIENCE {
                    return Err("Restate does not answer".to_owned());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    async fn admin(&self, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/{path}", self.ports.admin);
        let posting = reqwest::Client::new()
            .post(url)
            .header("accept", "application/json")
            .json(body);
        let answer = posting.send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("Restate answers {} to {path}", answer.status()));
        }
        answer.json().await.map_err(|error| error.to_string())
    }

    /// Invocations of a service that it holds.
    async fn count(&self, service: &str) -> usize {
        let query =
            format!("SELECT count(*) AS n FROM sys_invocation WHERE target_service_name = '{service}'");
        let answer = self
            .admin("query", &json!({ "query": query }))
            .await
            .unwrap_or_default();
        let n = answer["rows"][0]["n"].as_u64().unwrap_or_default();
        usize::try_from(n).expect("small")
    }

    /// Takes `turns` turns of two durable steps each; how long one turn took, as the handler saw it.
    pub(super) async fn take_turns(&self, client: &reqwest::Client, turns: u32) -> Duration {
        let posting = client
            .post(format!("http://{}/turns/take", self.address))
            .json(&turns);
        let answer = posting.send().await.expect("Restate answers");
        let took: f64 = answer.json().await.expect("a number of milliseconds");
        Duration::from_secs_f64(took / 1e3) / turns
    }

    /// Kills it, starts it again on the same data, and counts a service's invocations until there are `expected`, or there
    /// have not been more for some seconds.
    pub(super) async fn crash(&mut self, service: &str, expected: usize) -> usize {
        self.server.kill();
        self.service.kill();
        let Ok(again) = command(&self.workshop, self.ports) else {
            return 0;
        };
        self.server = Process::start("Restate", again);
        if self.answers().await.is_err() {
            return 0;
        }
        let (mut most, mut changed) = (0, Instant::now());
        while most < expected && changed.elapsed() < Duration::from_secs(5) {
            let count = self.count(service).await;
            if count > most {
                (most, changed) = (count, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        most
    }

    /// The server's process id.
    pub(super) fn server(&self) -> u32 {
        self.server.id()
    }

    /// The server's program.
    pub(super) fn program(&self) -> Result<PathBuf, String> {
        program(&self.workshop)
    }

    /// How long it takes from its start, on the data it has, until it takes requests.
    pub(super) async fn ready_in(&mut self) -> Result<Duration, String> {
        self.server.kill();
        let again = command(&self.workshop, self.ports)?;
        let began = Instant::now();
        self.server = Process::start("Restate", again);
        self.answers().await?;
        Ok(began.elapsed())
    }
}

fn program(workshop: &Workshop) -> Result<PathBuf, String> {
    let platform = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    };
    let program = workshop.path().join(format!(
        "node_modules/@restatedev/restate-server-{system}-{platform}/bin/restate-server"
    ));
    if program.is_file() {
        return Ok(program);
    }
    Err("there is no Restate server for this platform".to_owned())
}

fn command(workshop: &Workshop, ports: Ports) -> Result<Command, String> {
    let mut command = Command::new(program(workshop)?);
    command
        .args(["--no-logo", "--node-name", "bench", "--listen-mode", "tcp"])
        .args(["--bind-ip", "127.0.0.1", "--bind-port", &ports.node.to_string()])
        .arg("--base-dir")
        .arg(workshop.path().join("restate"))
        .env(
            "RESTATE_INGRESS__BIND_ADDRESS",
            format!("127.0.0.1:{}", ports.ingress),
        )
        .env(
            "RESTATE_ADMIN__BIND_ADDRESS",
            format!("127.0.0.1:{}", ports.admin),
        )
        // Where it leaves a directory per invoker.
        .env("TMPDIR", workshop.path())
        .env("RESTATE_LOG_FILTER", "warn")
        .env("RESTATE_DISABLE_TELEMETRY", "true");
    Ok(command)
}

#[async_trait]
impl Intake for Restate {
    fn address(&self) -> &str {
        &self.address
    }

    fn request(&self, event: &Signed) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        if let Some(delivery) = event.headers.get("x-github-delivery") {
            headers.insert("idempotency-key", delivery.clone());
        }
        load::post(&self.address, "/events/take/send", &headers, &event.body)
    }

    fn processes(&mut self) -> Vec<u32> {
        vec![self.server.id(), self.service.id()]
    }

    async fn stored_after_crash(mut self: Box<Self>, expected: usize) -> usize {
        self.crash("events", expected).await
    }
}
