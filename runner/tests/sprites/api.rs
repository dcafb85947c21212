//! The API where it says no, and what it keeps: limits with their codes, settings, exec over HTTP, ports.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use roost_runner::sprite::host::HostConfig;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    fixture::{PATIENCE, Running, TOKEN, run, sh, sprite},
    socket::Socket,
};

async fn ask(host: &Running, method: Method, path: &str, body: Option<Value>) -> Response {
    let request = Client::new()
        .request(method, format!("{}/v1/sprites{path}", host.base))
        .bearer_auth(TOKEN);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

async fn create(host: &Running, body: Value) -> Response {
    ask(host, Method::POST, "", Some(body)).await
}

fn header(response: &Response, name: &str) -> u64 {
    response.headers()[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_host_says_how_many_sprites_it_makes_and_runs_and_who_is_refused_hears_when_to_return() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    (
        config.limits.sprites,
        config.limits.running,
        config.limits.creations_per_minute,
    ) = (3, 1, 4);
    let host = Running::with(config).await;
    let first = create(&host, json!({ "name": "a" })).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    assert_eq!(header(&first, "x-ratelimit-remaining"), 3);
    for name in ["b", "c"] {
        assert_eq!(
            create(&host, json!({ "name": name })).await.status(),
            StatusCode::CREATED
        );
    }
    let full = create(&host, json!({ "name": "d" })).await;
    assert_eq!((full.status().as_u16(), header(&full, "retry-after")), (429, 1));
    let full: Value = full.json().await.unwrap();
    assert_eq!(full["error"], "concurrent_sprite_limit_exceeded");
    assert_eq!((&full["limit"], &full["current_count"]), (&json!(3), &json!(3)));

    // Who waits for room gets it as soon as there is some.
    let waiting = create(&host, json!({ "name": "d", "wait_for_capacity": true }));
    let (waited, ()) = tokio::join!(waiting, async {
        let gone = ask(&host, Method::DELETE, "/c", None).await;
        assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    });
    assert_eq!(waited.status(), StatusCode::CREATED);
    ask(&host, Method::DELETE, "/d", None).await;
    let fast = create(&host, json!({ "name": "e" })).await;
    assert_eq!(fast.status().as_u16(), 429);
    assert_eq!(
        (
            header(&fast, "x-ratelimit-limit"),
            header(&fast, "x-ratelimit-remaining")
        ),
        (4, 0)
    );
    assert!(header(&fast, "x-ratelimit-reset") > 1_700_000_000);
    let wait = header(&fast, "retry-after");
    let fast: Value = fast.json().await.unwrap();
    assert_eq!(fast["error"], "sprite_creation_rate_limited");
    assert_eq!(
        (&fast["window_seconds"], &fast["retry_after_seconds"]),
        (&json!(60), &json!(wait))
    );

    // One sprite may run; it may run twice, another may not.
    let mut busy = Socket::open(&host.base, "/v1/sprites/a/exec?cmd=sleep&cmd=1000")
        .await
        .unwrap();
    assert_eq!(busy.json("").await["type"], "session_info");
    run(&host.sprites.sprite("a"), "true").await;
    let refused = Socket::open(&host.base, "/v1/sprites/b/exec?cmd=true")
        .await
        .err()
        .unwrap();
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.headers()["retry-after"].as_bytes()
        ),
        (429, &b"1"[..])
    );
    let page: Value = ask(&host, Method::GET, "", None).await.json().await.unwrap();
    assert_eq!(
        (&page["running"], &page["cold"], &page["running_limit"]),
        (&json!(1), &json!(1), &json!(1))
    );
    host.stop().await;
}

#[tokio::test]
async fn settings_outlive_the_host_and_nonsense_changes_none() {
    let dir = tempfile::tempdir().unwrap();
    let host = Running::on(dir.path()).await;
    create(
        &host,
        json!({ "name": "a", "labels": ["old"], "config": { "ram_mb": 64 } }),
    )
    .await;
    let change = json!({ "labels": ["new"], "url_settings": { "auth": "public" } });
    let changed = ask(&host, Method::PUT, "/a", Some(change)).await;
    assert_eq!(changed.status(), StatusCode::OK);
    let changed: Value = changed.json().await.unwrap();
    for nonsense in [
        json!({ "url_settings": { "auth": "nobody" } }),
        json!({ "labels": "new" }),
        json!({ "labels": ["x".repeat(1_000)] }),
    ] {
        let refused = ask(&host, Method::PUT, "/a", Some(nonsense)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(
        ask(&host, Method::PUT, "/b", Some(json!({ "labels": [] })))
            .await
            .status(),
        404
    );
    host.stop().await;
    // A change that was cut off before its rename is no change.
    std::fs::write(dir.path().join("sprites/a/sprite.json.new"), "{ half").unwrap();
    let host = Running::on(dir.path()).await;
    let mut there: Value = ask(&host, Method::GET, "/a", None).await.json().await.unwrap();
    // The port is another one after a restart.
    there["url"] = changed["url"].clone();
    assert_eq!(there, changed);
    assert_eq!(
        (&there["labels"], &there["config"]["ram_mb"]),
        (&json!(["new"]), &json!(64))
    );
    host.stop().await;
}

#[tokio::test]
async fn every_refusal_is_json_with_a_code() {
    let (_dir, host, _sprite) = sprite().await;
    for (method, path, status, code) in [
        (Method::GET, "?max_results=many", 400, "bad_request"),
        (Method::POST, "", 400, "bad_request"),
        (Method::GET, "/%ff", 400, "bad_request"),
        (Method::GET, "/absent", 404, "sprite_not_found"),
        (Method::GET, "/agent-7/absent", 404, "no_such_endpoint"),
        (Method::PATCH, "/agent-7", 405, "method_not_allowed"),
        (Method::GET, "/agent-7/control", 400, "bad_request"),
        (
            Method::POST,
            "/agent-7/exec/absent/kill",
            404,
            "session_not_found",
        ),
    ] {
        let refused = ask(&host, method, path, None).await;
        assert_eq!(refused.status().as_u16(), status, "{path}");
        let refused: Value = refused.json().await.unwrap();
        assert_eq!(refused["error"], code, "{path}: {refused}");
        assert!(
            refused["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{path}"
        );
    }
    host.stop().await;
}

#[tokio::test]
async fn a_name_is_free_as_soon_as_its_sprite_is_gone_whoever_asks_meanwhile() {
    let (_dir, host, sprite) = sprite().await;
    for round in 0..20 {
        let id = host.sprites.get("agent-7").await.unwrap().id;
        // A command that is under way, several who delete, and somebody who keeps asking.
        let (_, deleted, again, asked) = tokio::join!(
            sprite.exec(sh("sleep 1000")),
            ask(&host, Method::DELETE, "/agent-7", None),
            ask(&host, Method::DELETE, "/agent-7", None),
            sprite.exec(sh("true")),
        );
        let mut outcomes = [deleted.status().as_u16(), again.status().as_u16()];
        outcomes.sort_unstable();
        assert_eq!(outcomes, [204, 404], "round {round}");
        if let Err(error) = asked {
            assert_eq!(error.code(), "sprite_gone", "{error}");
        }
        assert_eq!(
            create(&host, json!({ "name": "agent-7" })).await.status(),
            StatusCode::CREATED
        );
        assert_ne!(host.sprites.get("agent-7").await.unwrap().id, id);
        run(&sprite, "true").await;
    }
    host.stop().await;
}

#[tokio::test]
async fn exec_over_http_has_whole_frames_and_its_command_ends_after_its_client() {
    let (_dir, host, sprite) = sprite().await;
    let exec = |query: &str, body: &'static str| {
        Client::new()
            .post(format!("{}/v1/sprites/agent-7/exec?{query}", host.base))
            .bearer_auth(TOKEN)
            .body(body)
    };
    let mut answer = exec(
        "cmd=sh&cmd=-c&cmd=cat;echo%20err%20>%262;exit%203&stdin=true",
        "in",
    )
    .send()
    .await
    .unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = answer.chunk().await.unwrap() {
        frames.push(frame.to_vec());
    }
    assert_eq!(frames, [&b"\x01in"[..], b"\x02err\n", b"\x03\x03"]);
    // A body that nobody asked for is nobody's stdin.
    let empty = exec("cmd=cat", "in").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&empty[..], b"\x03\0");
    for (query, status) in [("cmd=true&tty=true", 400), ("id=x", 400)] {
        assert_eq!(
            exec(query, "").send().await.unwrap().status().as_u16(),
            status,
            "{query}"
        );
    }
    let script = "trap%20'touch%20ended'%20TERM;echo%20up;sleep%201000%20%26%20wait";
    let query = format!("cmd=bash&cmd=-c&cmd={script}&max_run_after_disconnect=50ms");
    let mut cut = exec(&query, "").send().await.unwrap();
    assert_eq!(&cut.chunk().await.unwrap().unwrap()[..], b"\x01up\n");
    drop(cut);
    let ended = timeout(PATIENCE, async {
        while sprite.read("ended").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    ended.await.expect("the command was told to end");
    host.stop().await;
}

#[tokio::test]
async fn tunnels_lead_into_the_sprite_and_nowhere_else() {
    let (_dir, host, _sprite) = sprite().await;
    // Something of the machine's own that listens on its loopback: the host itself.
    let own_port: u16 = host.base.rsplit(':').next().unwrap().parse().unwrap();
    for (first, reason) in [
        (
            json!({ "host": "localhost", "port": own_port }).to_string(),
            "inside the sprite",
        ),
        (
            json!({ "host": "10.0.0.1", "port": 80 }).to_string(),
            "not inside the sprite",
        ),
        (
            json!({ "host": "example.org", "port": 80 }).to_string(),
            "not inside the sprite",
        ),
        ("what?".to_owned(), "must be JSON"),
    ] {
        let mut tunnel = Socket::open(&host.base, "/v1/sprites/agent-7/proxy")
            .await
            .unwrap();
        tunnel.text(first.clone()).await;
        let answer = tunnel.json("").await;
        assert_eq!(answer["status"], "error", "{first}");
        assert!(answer["error"].as_str().unwrap().contains(reason), "{answer}");
        assert!(matches!(
            tunnel.next().await,
            tokio_tungstenite::tungstenite::Message::Close(_)
        ));
    }
    let watched = ask(&host, Method::GET, "/agent-7/ports/watch", None).await;
    assert_eq!(
        watched.status(),
        StatusCode::BAD_REQUEST,
        "a WebSocket or nothing"
    );
    host.stop().await;
}
