//! Roost as the peers are measured: an edge on one of three hosts, and where work is wanted, a runner; each a process of its
//! own.

use async_trait::async_trait;
use roost_edge::host::native::DatabaseAddress;
use roost_runner::fixture::Signed;

use super::{arrivals::Arrivals, intake::Intake};
use crate::{
    Sqld, WasmtimeServe, Workerd,
    bench::{
        crew::Crew,
        load,
        model::QuickModel,
        responder::Responder,
        subject::{Subject, channel},
    },
    office::{Channels, MASTER_KEY, Office},
};

/// Runs that a runner drives at a time; what the peers' workers are given too.
const SLOTS: u32 = 16;

/// What runs the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Host {
    /// The binary, with its database in the same process.
    Native,
    /// Cloudflare's runtime, with the libSQL server.
    Workerd,
    /// wasmtime, with the libSQL server.
    Wasmtime,
}

impl Host {
    pub(in crate::bench) fn name(self) -> &'static str {
        match self {
            Self::Native => "native, embedded libSQL",
            Self::Workerd => "workerd, libSQL server",
            Self::Wasmtime => "wasmtime, libSQL server",
        }
    }
}

/// A running edge.
pub(in crate::bench) struct Roost {
    address: String,
    edge: Edge,
    _model: Option<QuickModel>,
    crew: Option<Crew>,
}

enum Edge {
    Native(Box<Subject>),
    Workerd(Workerd, Server),
    Wasmtime(WasmtimeServe, Server),
}

struct Server {
    sqld: Sqld,
    office: Office,
    _channel: Responder,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let sqld = Sqld::start_with(arguments).await;
        let url = sqld.url();
        let office = Office::open(&DatabaseAddress::Server { url, token: None }).await;
        let channel = channel().await;
        let channels = Channels {
            github: channel.url().to_owned(),
            telegram: channel.url().to_owned(),
        };
        office.connect(&channels).await;
        office.employ("roost", "scripted/bench").await;
        Self {
            sqld,
            office,
            _channel: channel,
        }
    }
}

impl Roost {
    pub(in crate::bench) async fn start(host: Host, arrivals: Option<&Arrivals>) -> Self {
        let edge = match host {
            Host::Native => Edge::Native(Box::new(Subject::start().await)),
            Host::Workerd | Host::Wasmtime => {
                let server = Server::start(match host {
                    Host::Wasmtime => &Sqld::FEW_CONNECTIONS,
                    Host::Native | Host::Workerd => &[],
                })
                .await;
                let url = server.sqld.url();
                let variables = [
                    ("ROOST_DATABASE_URL", url.as_str()),
                    ("ROOST_MASTER_KEY", MASTER_KEY),
                    ("ROOST_PUBLIC_URL", "http://127.0.0.1"),
                    ("ROOST_PRIVATE_ADDRESSES", "allowed"),
                ];
                match host {
                    Host::Workerd => Edge::Workerd(Workerd::start(&variables).await, server),
                    _ => Edge::Wasmtime(WasmtimeServe::start(&variables).await, server),
                }
            }
        };
        let url = match &edge {
            Edge::Native(subject) => &subject.address,
            Edge::Workerd(workerd, _) => workerd.url(),
            Edge::Wasmtime(wasmtime, _) => wasmtime.url(),
        };
        let address = url.trim_start_matches("http://").to_owned();
        let (mut model, mut crew) = (None, None);
        if let Some(arrivals) = arrivals {
            let started = arrivals.model().await;
            crew = Some(Crew::start("bench", SLOTS, &address, edge.office(), started.url()).await);
            model = Some(started);
        }
        Self {
            address,
            edge,
            _model: model,
            crew,
        }
    }
}

impl Edge {
    fn office(&self) -> &Office {
        match self {
            Self::Native(subject) => &subject.office,
            Self::Workerd(_, server) | Self::Wasmtime(_, server) => &server.office,
        }
    }
}

const ACCEPTED: &str = "SELECT count(*) FROM deliveries WHERE workspace_id = ?1 AND verdict = 'accepted'";

#[async_trait]
impl Intake for Roost {
    fn address(&self) -> &str {
        &self.address
    }

    fn request(&self, event: &Signed) -> Vec<u8> {
        load::post(&self.address, "/hooks/main/github", &event.headers, &event.body)
    }

    fn processes(&mut self) -> Vec<u32> {
        let mut all = match &mut self.edge {
            Edge::Native(subject) => vec![subject.process_id()],
            Edge::Workerd(workerd, server) => vec![workerd.process().id(), server.sqld.process_id()],
            Edge::Wasmtime(wasmtime, server) => vec![wasmtime.process().id(), server.sqld.process_id()],
        };
        all.extend(self.crew.as_mut().map(Crew::process_id));
        all
    }

    async fn stored_after_crash(self: Box<Self>, _: usize) -> usize {
        drop(self.crew);
        let count = match self.edge {
            Edge::Native(subject) => subject.kill_and_count(ACCEPTED).await,
            Edge::Workerd(mut workerd, server) => {
                workerd.process().kill();
                server.count_after_crash().await
            }
            Edge::Wasmtime(mut wasmtime, server) => {
                wasmtime.process().kill();
                server.count_after_crash().await
            }
        };
        usize::try_from(count).expect("a count")
    }
}

impl Server {
    async fn count_after_crash(mut self) -> i64 {
        self.sqld.kill();
        self.sqld.restart().await;
        self.office.count(ACCEPTED).await
    }
}
