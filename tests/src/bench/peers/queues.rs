//! Two queues of Node behind one HTTP front: BullMQ on Redis, graphile-worker on PostgreSQL. Both databases write and sync
//! before they answer.

use std::process::Command;

use async_trait::async_trait;
use roost_runner::fixture::Signed;
use xtask::{debian::DebianProgram, peers};

use super::{
    arrivals::Arrivals,
    intake::Intake,
    programs::{Workshop, listening, on_a_port, printed, ready, said},
};
use crate::{Process, bench::load, toolbox};

const REDIS_IS_READY: &str = "Ready to accept connections";
const POSTGRES_IS_READY: &str = "database system is ready to accept connections";

/// A database, a front and perhaps a worker.
struct Queue {
    script: &'static str,
    workshop: Workshop,
    database: Process,
    port: u16,
    variables: Vec<(&'static str, String)>,
    front: Process,
    address: String,
    worker: Option<Process>,
}

impl Queue {
    async fn open(
        script: &'static str,
        workshop: Workshop,
        (database, port): (Process, u16),
        mut variables: Vec<(&'static str, String)>,
        arrivals: Option<&Arrivals>,
    ) -> Self {
        let (front, address) = listening(script, workshop.node(script, "front", &variables)).await;
        let worker = match arrivals {
            None => None,
            Some(arrivals) => {
                variables.push(("REPORT", arrivals.address()));
                ready(script, workshop.node(script, "work", &variables), "working").await
            }
        };
        Self {
            script,
            workshop,
            database,
            port,
            variables,
            front,
            address,
            worker,
        }
    }

    fn kill(&mut self) {
        self.front.kill();
        if let Some(worker) = &mut self.worker {
            worker.kill();
        }
        self.database.kill();
    }

    fn processes(&self) -> Vec<u32> {
        let all = [&self.front, &self.database].into_iter().chain(&self.worker);
        all.map(Process::id).collect()
    }

    async fn count(&self) -> usize {
        printed(
            self.script,
            self.workshop.node(self.script, "count", &self.variables),
        )
        .await
    }

    fn request(&self, event: &Signed) -> Vec<u8> {
        load::post(&self.address, "/", &event.headers, &event.body)
    }
}

/// BullMQ.
pub(super) struct BullMq(Queue);

impl BullMq {
    pub(super) fn name() -> String {
        let versions = Workshop::new()
            .and_then(|workshop| {
                Ok((
                    workshop.version("bullmq"),
                    peers::redis(&toolbox()).map_err(said)?,
                ))
            })
            .map(|(bullmq, redis)| format!(" {bullmq}, Redis {}", version(&redis, "v=")));
        format!(
            "node + BullMQ{}, appendfsync always",
            versions.unwrap_or_default()
        )
    }

    pub(super) async fn start(arrivals: Option<&Arrivals>) -> Result<Self, String> {
        let workshop = Workshop::new()?;
        let program = peers::redis(&toolbox()).map_err(said)?;
        let start = |port| ready("redis", redis(&program, &workshop, port), REDIS_IS_READY);
        let (database, port) = on_a_port("Redis", start).await?;
        let variables = vec![("REDIS_PORT", port.to_string())];
        Ok(Self(
            Queue::open("bullmq.mjs", workshop, (database, port), variables, arrivals).await,
        ))
    }
}

fn redis(program: &DebianProgram, workshop: &Workshop, port: u16) -> Command {
    let mut command = program.command();
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
        .arg(workshop.path());
    command
}

#[async_trait]
impl Intake for BullMq {
    fn address(&self) -> &str {
        &self.0.address
    }

    fn request(&self, event: &Signed) -> Vec<u8> {
        self.0.request(event)
    }

    fn processes(&mut self) -> Vec<u32> {
        self.0.processes()
    }

    async fn stored_after_crash(mut self: Box<Self>, _: usize) -> usize {
        let queue = &mut self.0;
        queue.kill();
        let program = peers::redis(&toolbox()).expect("it was there a moment ago");
        let command = redis(&program, &queue.workshop, queue.port);
        queue.database = ready("redis", command, REDIS_IS_READY)
            .await
            .expect("it starts again");
        queue.count().await
    }
}

/// graphile-worker.
pub(super) struct Graphile(Queue);

impl Graphile {
    pub(super) fn name() -> String {
        let versions = Workshop::new()
            .and_then(|workshop| {
                let postgres = peers::postgres(&toolbox()).map_err(said)?;
                Ok((workshop.version("graphile-worker"), postgres))
            })
            .map(|(graphile, postgres)| {
                format!(" {graphile}, PostgreSQL {}", version(&postgres, "(PostgreSQL) "))
            });
        format!("node + graphile-worker{}", versions.unwrap_or_default())
    }

    pub(super) async fn start(arrivals: Option<&Arrivals>) -> Result<Self, String> {
        let workshop = Workshop::new()?;
        let program = peers::postgres(&toolbox()).map_err(said)?;
        let mut initdb = not_root(&program, "initdb");
        initdb
            .args([
                "--username",
                "bench",
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--no-locale",
            ])
            .arg("--pgdata")
            .arg(workshop.path().join("postgres"));
        let mut initdb = Process::start("initdb", initdb);
        if !initdb.exit().await.success() {
            return Err(format!("PostgreSQL makes no database: {}", initdb.log()));
        }
        let start = |port| ready("postgres", postgres(&program, &workshop, port), POSTGRES_IS_READY);
        let (database, port) = on_a_port("PostgreSQL", start).await?;
        let url = format!("postgres://bench@127.0.0.1:{port}/postgres");
        let variables = vec![("DATABASE_URL", url)];
        let mut migrate = Process::start("migrate", workshop.node("graphile.mjs", "migrate", &variables));
        if !migrate.exit().await.success() {
            return Err(format!("graphile-worker does not migrate: {}", migrate.log()));
        }
        Ok(Self(
            Queue::open("graphile.mjs", workshop, (database, port), variables, arrivals).await,
        ))
    }
}

fn postgres(program: &DebianProgram, workshop: &Workshop, port: u16) -> Command {
    let mut command = not_root(program, "postgres");
    // fsync and synchronous_commit are on by default; they are said for the reader.
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=on",
        "synchronous_commit=on",
    ] {
        command.args(["-c", setting]);
    }
    command
        .args(["-p", &port.to_string(), "-D"])
        .arg(workshop.path().join("postgres"));
    command
}

/// PostgreSQL refuses to run as root: there it gets a user namespace, in which it is nobody and owns what root owns.
fn not_root(program: &DebianProgram, name: &str) -> Command {
    let plain = program.beside(name);
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("a process"));
    if uid != 0 {
        return plain;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-user=65534", "--map-group=65534"])
        .arg(plain.get_program())
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[async_trait]
impl Intake for Graphile {
    fn address(&self) -> &str {
        &self.0.address
    }

    fn request(&self, event: &Signed) -> Vec<u8> {
        self.0.request(event)
    }

    fn processes(&mut self) -> Vec<u32> {
        self.0.processes()
    }

    async fn stored_after_crash(mut self: Box<Self>, _: usize) -> usize {
        let queue = &mut self.0;
        queue.kill();
        let program = peers::postgres(&toolbox()).expect("it was there a moment ago");
        // Its children notice that their parent is gone and leave; until then the directory is taken.
        for _ in 0..50 {
            let command = postgres(&program, &queue.workshop, queue.port);
            if let Some(database) = ready("postgres", command, POSTGRES_IS_READY).await {
                queue.database = database;
                return queue.count().await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        0
    }
}

/// The word after `mark` in what the program says of its version.
fn version(program: &DebianProgram, mark: &str) -> String {
    let said = program.command().arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let word = said.ok().and_then(|said| {
        let (_, rest) = said.split_once(mark)?;
        Some(rest.split_whitespace().next()?.to_owned())
    });
    word.unwrap_or_else(|| "?".to_owned())
}
