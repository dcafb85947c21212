//! A full disk: nothing is acknowledged that is not stored, what only reads goes on, and room is all it takes to recover.
//!
//! The disk is a real one of a few megabytes, in memory, that only the edge sees (a mount namespace of its own).

#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
    process::Command,
    time::Duration,
};

use reqwest::{Client, Response, StatusCode};
use roost_edge::{auth::token::Audience, db::backup::back_up, host::native::DatabaseAddress};
use roost_tests::{
    RoostProcess,
    office::{Channels, MASTER_KEY, Office, SECRET},
    roost_binary,
};
use serde_json::{Value, json};

/// Makes the disk, puts the database on it, and becomes the edge: the directory, the database, the program.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=24m tmpfs "$1" && cp "$2" "$1/roost.db" &&
    exec "$3" edge --database "$1/roost.db" --listen 127.0.0.1:0"#;

/// Webhooks after which a full disk must have shown.
const ENOUGH: u32 = 200;

struct Edge {
    http: Client,
    url: String,
    token: String,
}

impl Edge {
    /// Delivers update `id`, of some kilobytes that hardly can be packed.
    async fn deliver(&self, id: u32) -> Response {
        let mut state = u64::from(id) + 1;
        let noise: String = (0..500)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                format!("{state:016x}")
            })
            .collect();
        self.http
            .post(format!("{}/hooks/main/telegram", self.url))
            .header("x-telegram-bot-api-secret-token", SECRET)
            .json(&json!({ "update_id": id, "noise": { "text": noise } }))
            .send()
            .await
            .unwrap()
    }

    /// The ids of the updates that are stored, in the order of their coming.
    async fn stored(&self) -> Vec<u32> {
        let request = self.http.get(format!("{}/api/v1/deliveries?limit=200", self.url));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        let page: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let items = page["items"].as_array().unwrap().iter().rev();
        items
            .map(|one| one["dedupe_key"].as_str().unwrap().parse().unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_full_disk_is_answered_503_and_room_is_all_it_takes_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (database, copy) = (
        directory.path().join("roost.db"),
        directory.path().join("copy.db"),
    );
    let office = Office::open(&DatabaseAddress::File(database.clone())).await;
    office.connect(&Channels::default()).await;
    let token = office.token(Audience::Api, "a user", Duration::from_secs(3600));
    back_up(&database, &copy).unwrap();
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).unwrap();

    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            ON_A_SMALL_DISK,
            "sh",
        ])
        .args([&disk, &copy, &roost_binary()]);
    let mut process = RoostProcess::of(
        "roost on a small disk",
        command,
        &[("ROOST_MASTER_KEY", MASTER_KEY)],
    );
    let edge = Edge {
        http: Client::new(),
        url: process.address().await,
        token,
    };
    let mut acked: Vec<u32> = (0..5).collect();
    for id in &acked {
        assert_eq!(edge.deliver(*id).await.status(), StatusCode::OK);
    }

    let disk_inside = format!("/proc/{}/root{}", process.process().id(), disk.display());
    let filler = Path::new(&disk_inside).join("filler");
    fill(&filler);
    let mut refused = None;
    for id in 5..ENOUGH {
        let answer = edge.deliver(id).await;
        match answer.status() {
            // What had room in pages that were taken already.
            StatusCode::OK => acked.push(id),
            status => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                assert!(answer.headers().contains_key("retry-after"));
                let said: Value = answer.json().await.unwrap();
                assert_eq!(said["error"]["code"], "database_unavailable", "{said}");
                refused = Some(id);
                break;
            }
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        edge.deliver(refused).await.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "it stays full"
    );
    let health = edge
        .http
        .get(format!("{}/healthz", edge.url))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(edge.stored().await, acked);

    std::fs::remove_file(&filler).unwrap();
    for id in [refused, ENOUGH] {
        assert_eq!(edge.deliver(id).await.status(), StatusCode::OK);
        acked.push(id);
    }
    assert_eq!(edge.stored().await, acked);
    assert!(process.process().terminate().await.success());
}

/// Writes until there is no room for one byte more.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![b'x'; 1 << 16];
    while !block.is_empty() {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                block.truncate(block.len() / 2);
            }
        }
    }
}
