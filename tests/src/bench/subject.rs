//! What is measured: a native edge as a process of its own, on an embedded database in a directory of its own.

use std::ops::Range;

use roost_edge::host::native::DatabaseAddress;
use roost_runner::fixture::{Fixture, Order, Place};
use tempfile::TempDir;

use super::{
    load::{self, Pace},
    responder::Responder,
};
use crate::{
    RoostProcess,
    office::{Channels, MASTER_KEY, Office, SECRET},
};

/// A running edge, set up.
pub(super) struct Subject {
    process: RoostProcess,
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
    /// A look into its database.
    pub(super) office: Office,
    directory: TempDir,
    _channel: Responder,
}

impl Subject {
    /// Starts one in `directory`'s place, with an agent that answers to `@roost` by the model `scripted/bench`.
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir_in("target").expect("a directory");
        let database = directory.path().join("roost.db");
        let settings = directory.path().join("roost.toml");
        std::fs::write(&settings, "[edge]\nprivate_addresses = \"allowed\"\n").expect("written");
        let channel = channel().await;
        let office = Office::open(&DatabaseAddress::File(database.clone())).await;
        office
            .connect(&Channels {
                github: channel.url().to_owned(),
                telegram: channel.url().to_owned(),
            })
            .await;
        office.employ("roost", "scripted/bench").await;
        let (database, settings) = (database.display().to_string(), settings.display().to_string());
        let mut process = RoostProcess::start(
            &[
                "edge",
                "--database",
                &database,
                "--listen",
                "127.0.0.1:0",
                "--config",
                &settings,
            ],
            &[("ROOST_MASTER_KEY", MASTER_KEY)],
        );
        let address = process.address().await;
        let address = address.trim_start_matches("http://").to_owned();
        Self {
            process,
            address,
            office,
            directory,
            _channel: channel,
        }
    }

    /// A comment with this number on an issue with the same, as the request that GitHub would send.
    pub(super) fn comment(&self, number: u32, text: &str) -> Vec<u8> {
        let place = Place {
            number,
            ..Place::default()
        };
        let signed = Fixture::GithubIssueComment.make(&Order {
            secret: SECRET,
            text,
            id: number.into(),
            now: self.office.edge.now(),
            place,
            ..Order::default()
        });
        load::post(&self.address, "/hooks/main/github", &signed.headers, &signed.body)
    }

    /// Sends such comments, at most 16 at a time.
    pub(super) async fn say(&self, numbers: Range<u32>, text: &str) {
        let requests: Vec<Vec<u8>> = numbers.map(|number| self.comment(number, text)).collect();
        let connections = requests.len().min(16);
        load::run(&self.address, requests, connections, Pace::Closed).await;
    }

    /// Kills the edge as a power cut would, and counts what its database holds.
    pub(super) async fn kill_and_count(mut self, sql: &'static str) -> i64 {
        self.process.process().kill();
        let database = self.directory.path().join("roost.db");
        Office::open(&DatabaseAddress::File(database))
            .await
            .count(sql)
            .await
    }

    /// The edge's process id.
    pub(super) fn process_id(&mut self) -> u32 {
        self.process.process().id()
    }
}

/// A channel that takes everything: acknowledgements have to go somewhere.
pub(super) async fn channel() -> Responder {
    Responder::start(|_, _| {
        let answer =
            "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{\"id\":1}";
        answer.into()
    })
    .await
}
