//! Services: kept running across their own end, a restore and the host's; in order; with bounded logs.

use std::{path::Path, time::Duration};

use reqwest::{Client, Method, RequestBuilder};
use roost_runner::sprite::{Sprite, host::HostConfig};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::fixture::{PATIENCE, Running, TOKEN, run};

/// The service endpoints of the sprite `agent-7`.
struct Services {
    http: Client,
    base: String,
}

impl Services {
    fn of(host: &Running) -> Self {
        Self {
            http: Client::new(),
            base: format!("{}/v1/sprites/agent-7/services", host.base),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/{path}", self.base);
        self.http.request(method, url).bearer_auth(TOKEN)
    }

    /// Status, and what was answered line by line.
    async fn send(&self, request: RequestBuilder) -> (u16, Vec<Value>) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (status, lines.collect())
    }

    async fn put(&self, name: &str, body: Value) -> (u16, Vec<Value>) {
        let request = self.request(Method::PUT, &format!("{name}?duration=10ms"));
        self.send(request.json(&body)).await
    }

    async fn script(&self, name: &str, script: &str, needs: &[&str]) {
        let body = json!({"cmd": "bash", "args": ["-c", script], "needs": needs});
        let (status, said) = self.put(name, body).await;
        assert_eq!(status, 200, "{said:?}");
    }

    async fn post(&self, path: &str) -> (u16, Vec<Value>) {
        self.send(self.request(Method::POST, path)).await
    }

    async fn state(&self, name: &str) -> Value {
        let (status, mut said) = self.send(self.request(Method::GET, name)).await;
        assert_eq!(status, 200, "{said:?}");
        said[0]["state"].take()
    }

    /// Looks until the state is so.
    async fn until(&self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let state = self.state(name).await;
                if so(&state) {
                    return state;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let found = timeout(PATIENCE, look).await;
        match found {
            Ok(state) => state,
            Err(_) => panic!("{name} stays {}", self.state(name).await),
        }
    }
}

async fn host(dir: &Path) -> (Running, Services, Sprite) {
    let mut config = HostConfig::new(dir, TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.limits.service_pause = Duration::from_millis(50);
    config.limits.service_log_bytes = 10_000;
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    let services = Services::of(&host);
    (host, services, sprite)
}

#[tokio::test]
async fn what_ends_is_started_again_and_what_was_stopped_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (running, services, sprite) = host(dir.path()).await;
    services.script("falls", "echo $$ >> falls; exit 3", &[]).await;
    services
        .script("stays", "echo $$ > stays; exec sleep 1000", &[])
        .await;
    services.script("stopped", "exec sleep 1000", &[]).await;
    let failed = services
        .until("falls", |state| {
            state["restart_count"].as_u64() >= Some(2) && state["status"] == "failed"
        })
        .await;
    assert_eq!(failed["error"], "it exited with code 3");
    assert!(failed["next_restart_at"].is_string(), "{failed}");
    let (_, said) = services.post("stopped/stop").await;
    assert_eq!(said.last().unwrap()["type"], "complete");
    let first = services
        .until("stays", |state| state["status"] == "running")
        .await;

    // A restore ends everything, and the services come back.
    run(&sprite, "sync").await;
    sprite.checkpoint(None).await.unwrap();
    sprite.restore("v1").await.unwrap();
    let second = services
        .until("stays", |state| {
            state["status"] == "running" && state["started_at"] != first["started_at"]
        })
        .await;
    assert_eq!(second["restart_count"], 1);

    drop(sprite);
    running.stop().await;
    let (running, services, sprite) = host(dir.path()).await;
    services
        .until("stays", |state| state["status"] == "running")
        .await;
    services
        .until("falls", |state| state["restart_count"].as_u64() >= Some(1))
        .await;
    assert_eq!(services.state("stopped").await["status"], "stopped");
    assert_eq!(
        run(&sprite, "kill -0 $(cat stays) && echo it runs").await,
        "it runs\n"
    );
    assert_eq!(running.sprites.get("agent-7").await.unwrap().status, "running");
    drop(sprite);
    running.stop().await;
}

#[tokio::test]
async fn a_service_starts_once_what_it_needs_answers_on_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let (running, services, sprite) = host(dir.path()).await;
    // Listens when it is told to, on a port that it finds itself.
    let listen = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die; \
                  print $s->sockport, \"\\n\"";
    let port: u16 = run(
        &sprite,
        &format!("perl -e \"{}\"", listen.replace('$', "\\$").replace('"', "\\\"")),
    )
    .await
    .trim()
    .parse()
    .unwrap();
    let server = format!(
        "until [ -e go ]; do sleep 0.02; done; exec perl -e 'use IO::Socket::INET; my $s = IO::Socket::INET->new(\
         LocalAddr => \"127.0.0.1:{port}\", Listen => 5, ReuseAddr => 1) or die; while (1) {{ $s->accept }}'"
    );
    let body = json!({"cmd": "bash", "args": ["-c", server], "http_port": port});
    assert_eq!(services.put("db", body.clone()).await.0, 200);
    services.script("app", "exec sleep 1000", &["db"]).await;
    let begun = services.until("db", |state| state["pid"].is_u64()).await;
    let waiting = (begun, services.state("app").await);
    assert_eq!(
        (&waiting.0["status"], &waiting.1["status"]),
        (&json!("starting"), &json!("starting"))
    );
    assert!(waiting.1["pid"].is_null());
    let (status, refused) = services.put("second", body).await;
    assert_eq!((status, &refused[0]["error"]), (409, &json!("service_conflict")));

    run(&sprite, "touch go").await;
    services.until("app", |state| state["status"] == "running").await;
    assert_eq!(services.state("db").await["status"], "running");
    // Starting what needs it starts it as well.
    for name in ["app", "db"] {
        assert_eq!(services.post(&format!("{name}/stop")).await.0, 200);
    }
    assert_eq!(services.post("app/start?duration=10ms").await.0, 200);
    services.until("app", |state| state["status"] == "running").await;
    assert_eq!(services.state("db").await["status"], "running");
    running.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_listen_to_reason_is_killed_and_its_log_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let (running, services, sprite) = host(dir.path()).await;
    let script = "trap '' TERM; seq -f 'line %.0f' 3000; until [ -e go ]; do sleep 0.02; done; \
                  seq -f 'line %.0f' 3001 6000; echo ready > said; while :; do sleep 1; done";
    services.script("deaf", script, &[]).await;
    // All of the first half is in the file before the second comes, so there is something to put aside.
    loop {
        let (_, lines) = services
            .send(services.request(Method::GET, "deaf/logs?lines=1"))
            .await;
        if lines.iter().any(|line| line["data"] == "line 3000") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    run(&sprite, "touch go").await;
    let wait = "until [ -e said ]; do sleep 0.02; done";
    run(&sprite, wait).await;
    let (status, said) = services.post("deaf/stop?timeout=200ms").await;
    let exit = said.iter().find(|event| event["type"] == "exit").unwrap();
    assert_eq!((status, &exit["exit_code"]), (200, &json!(137)));

    let (_, lines) = services
        .send(services.request(Method::GET, "deaf/logs?lines=40"))
        .await;
    let texts: Vec<_> = lines.iter().filter_map(|line| line["data"].as_str()).collect();
    let wanted: Vec<_> = (5961..=6000).map(|number| format!("line {number}")).collect();
    assert_eq!(texts, wanted);
    let sizes = run(
        &sprite,
        &format!(
            "stat -c %s {}*",
            lines.last().unwrap()["log_files"]["stdout"].as_str().unwrap()
        ),
    )
    .await;
    let sizes: Vec<u64> = sizes.lines().map(|size| size.parse().unwrap()).collect();
    // A file may go beyond its limit by what is written at once.
    assert!(
        sizes.len() == 2 && sizes.iter().sum::<u64>() < 300_000,
        "{sizes:?}"
    );
    running.stop().await;
}
