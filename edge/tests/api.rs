//! The public API, each resource from its producer: a webhook that was delivered, a run that a runner drove.

mod common;

use std::time::Duration;

use common::{As, Messages, SECRET, TestEdge, api_request, work};
use http::StatusCode;
use roost_edge::{api::ROUTES, auth::token::Audience, db::Statement, edge::DEFAULT_WORKSPACE, runs};
use serde_json::{Value, json};
use tower::ServiceExt;

const OK: StatusCode = StatusCode::OK;

#[tokio::test]
async fn a_run_is_shown_with_what_its_journal_tells() {
    let t = TestEdge::new().await;
    let (agent, integration) = t.employ("ada").await;
    let run = t.completed("e1").await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let get = async |path: &str| t.api(As::Token(&token), "GET", path, Value::Null).await;

    let (status, list) = get("/runs").await;
    assert_eq!((status, &list["next"]), (OK, &Value::Null), "{list}");
    let (_, shown) = get(&format!("/runs/{run}")).await;
    let row = &list["items"][0];
    for (name, value) in row.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name} differs between the list and the one");
    }
    assert_eq!(
        json!([
            row["phase"],
            row["turns"],
            row["cost"],
            row["tokens"],
            row["outcome"],
            row["runner"]
        ]),
        json!(["completed", 1, 225, 127, "done", "one"])
    );
    assert_eq!(row["agent"]["id"], json!(agent.id));
    assert_eq!(row["integration"]["id"], json!(integration.id));
    assert_eq!(row["asked"]["by"], "a user");
    assert_eq!(shown["work_item"]["text"], "please look");

    let (_, effects) = get(&format!("/effects?run={run}")).await;
    // The outbox is at work on it meanwhile: its state differs from look to look.
    assert_eq!(effects["items"][0]["id"], shown["effects"][0]["id"]);
    assert_eq!(effects["items"][0]["effect"]["text"], "done");
    let (_, none) = get("/effects?state=unknown").await;
    assert_eq!(none["items"], json!([]));

    let delivery = row["asked"]["delivery"].as_str().unwrap();
    let (_, delivered) = get(&format!("/deliveries/{delivery}")).await;
    assert_eq!(delivered["runs"], json!([run]));
    assert_eq!(delivered["headers"]["x-id"], "e1");
    assert!(
        delivered["body"]["text"]
            .as_str()
            .unwrap()
            .contains("please look")
    );

    let (_, runners) = get("/runners").await;
    let runner = &runners["items"][0];
    assert_eq!((&runner["name"], &runner["running"]), (&json!("one"), &json!(0)));
}

#[tokio::test]
async fn lists_are_filtered_and_paged_without_gap_or_double() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let (bob, hooks) = t.employ("bob").await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let get = async |path: &str| t.api(As::Token(&token), "GET", path, Value::Null).await.1;
    for id in ["e1", "e2", "e3"] {
        t.say(id, id, "whoever").await;
        t.say(&format!("{id}b"), id, "@bob").await;
    }
    let mut seen = Vec::new();
    let mut path = "/runs?limit=2".to_owned();
    loop {
        let page = get(&path).await;
        let ids = page["items"].as_array().unwrap().iter();
        seen.extend(ids.map(|run| run["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/runs?limit=2&cursor={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (6, &sorted));

    let of_bob = get(&format!("/runs?agent={}&phase=queued", bob.id)).await;
    assert_eq!(of_bob["items"].as_array().unwrap().len(), 3);
    assert_eq!(get("/runs?phase=failed").await["items"], json!([]));
    assert_eq!(get("/runs?phase=odd").await["error"]["code"], "invalid_request");

    let only = get(&format!("/deliveries?integration={}&verdict=accepted", hooks.id)).await;
    assert_eq!(only["items"].as_array().unwrap().len(), 6);
    assert_eq!(get("/deliveries?verdict=ignored").await["items"], json!([]));
}

#[tokio::test]
async fn an_ignored_delivery_says_why() {
    let t = TestEdge::new().await;
    let (agent, _) = t.employ("ada").await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let as_user = || As::Token(&token);
    let (_, subscriptions) = t.api(as_user(), "GET", "/subscriptions", Value::Null).await;
    let subscription = &subscriptions["items"][0];
    assert_eq!(subscription["agent"], json!(agent.id));
    let path = format!("/subscriptions/{}", subscription["id"].as_str().unwrap());
    let (status, _) = t.api(as_user(), "DELETE", &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    t.say("e1", "c1", "anybody?").await;
    let (_, list) = t
        .api(as_user(), "GET", "/deliveries?verdict=ignored", Value::Null)
        .await;
    assert_eq!(list["items"][0]["reason"], "no agent listens for this");
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_without_gap_or_double() {
    // Only the bell can wake the stream in time.
    let t = TestEdge::with(|settings| settings.look_again = Duration::from_secs(3600)).await;
    t.employ("ada").await;
    let (_, received) = t.say("e1", "c1", "hello").await;
    let run = received["runs"][0].as_str().unwrap().to_owned();
    t.lease().await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let open = async |last: Option<u64>| {
        let path = format!("/runs/{run}/events?from=0");
        let mut request = api_request(As::Token(&token), "GET", &path, Value::Null);
        request
            .headers_mut()
            .insert("accept", "text/event-stream".parse().unwrap());
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.into());
        }
        t.edge.router().oneshot(request).await.unwrap()
    };

    let mut seen = Vec::new();
    let mut first = Messages::of(open(None).await);
    for _ in 0..2 {
        seen.push(first.next().await.unwrap());
    }
    let [answer, tool, end] = work();
    let grow = async {
        tokio::task::yield_now().await;
        t.append(&run, 2, answer).await;
    };
    let heard = tokio::time::timeout(Duration::from_secs(5), first.next());
    let (message, ()) = tokio::join!(heard, grow);
    seen.push(message.unwrap().unwrap());
    drop(first);

    t.append(&run, 3, tool).await;
    let mut second = Messages::of(open(Some(2)).await);
    seen.push(second.next().await.unwrap());
    t.append(&run, 5, end).await;
    while let Some(message) = second.next().await {
        seen.push(message);
    }

    let ids: Vec<_> = seen.iter().map(|message| message.id.unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
    let (_, page) = t
        .api(
            As::Token(&token),
            "GET",
            &format!("/runs/{run}/events"),
            Value::Null,
        )
        .await;
    let streamed: Vec<Value> = seen
        .iter()
        .map(|message| serde_json::from_str(&message.data).unwrap())
        .collect();
    assert_eq!(json!(streamed), page["items"]);
    assert_eq!(
        open(Some(5)).await.status(),
        StatusCode::NO_CONTENT,
        "a client that comes back is told to stop"
    );

    let (_, part) = t
        .api(
            As::Token(&token),
            "GET",
            &format!("/runs/{run}/events?from=1&limit=2"),
            Value::Null,
        )
        .await;
    assert_eq!(
        json!([part["items"][0]["seq"], part["items"][1]["seq"], part["next"]]),
        json!([1, 2, 3])
    );
}

#[tokio::test]
async fn a_stream_sees_what_another_process_writes_and_ends_with_the_token() {
    let t = TestEdge::with(|settings| settings.look_again = Duration::from_millis(5)).await;
    t.employ("ada").await;
    let (_, received) = t.say("e1", "c1", "hello").await;
    let run = received["runs"][0].as_str().unwrap().to_owned();
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let mut request = api_request(
        As::Token(&token),
        "GET",
        &format!("/runs/{run}/events?from=1"),
        Value::Null,
    );
    request
        .headers_mut()
        .insert("accept", "text/event-stream".parse().unwrap());
    let mut stream = Messages::of(t.edge.router().oneshot(request).await.unwrap());
    // Another process rings no bell here: it writes to the database and that is all.
    let write = |sql: &'static str| {
        let batch = vec![Statement::new(sql, Vec::new())];
        t.edge.ports.database.batch(roost_edge::db::Mode::Write, batch)
    };
    let elsewhere = async {
        tokio::task::yield_now().await;
        write(
            "/* all */ INSERT INTO events (run_id, seq, workspace_id, epoch, at, body) SELECT id, 1, workspace_id, 1, 1, \
             '{\"type\":\"leased\",\"runner\":\"afar\"}' FROM runs",
        )
        .await
        .unwrap();
        write("/* all */ UPDATE runs SET next_seq = 2, phase = 'running'")
            .await
            .unwrap();
    };
    let (message, ()) = tokio::join!(stream.next(), elsewhere);
    assert!(message.unwrap().data.contains("afar"));

    let claims = t.edge.tokens.check(Audience::Api, &token, t.edge.now()).unwrap();
    let admin = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let path = format!("/tokens/{}", claims.jti);
    let (status, _) = t.api(As::Token(&admin), "DELETE", &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn cancelling_says_what_it_came_to() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let cancel = async |run: &Value| {
        let path = format!("/runs/{}/cancel", run.as_str().unwrap());
        t.api(As::Token(&token), "POST", &path, Value::Null).await
    };
    let (_, waiting) = t.say("e1", "c1", "hello").await;
    assert_eq!(
        cancel(&waiting["runs"][0]).await,
        (OK, json!({"status": "cancelled"}))
    );
    let (status, late) = cancel(&waiting["runs"][0]).await;
    assert_eq!(
        (status, &late["error"]["code"]),
        (StatusCode::CONFLICT, &json!("run_ended"))
    );
    let (_, running) = t.say("e2", "c2", "hello").await;
    t.lease().await;
    assert_eq!(
        cancel(&running["runs"][0]).await,
        (OK, json!({"status": "cancelling"}))
    );
    let path = format!("/runs/{}", running["runs"][0].as_str().unwrap());
    let (_, shown) = t.api(As::Token(&token), "GET", &path, Value::Null).await;
    assert_eq!(shown["cancel_asked_by"], "a user");
}

/// Pause keeps a run from runners until it is resumed, and an answer brings a run that asked back to them; each says what
/// it came to, and refuses what it can't be.
#[tokio::test]
async fn pausing_resuming_and_answering_say_what_they_came_to() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let (_, received) = t.say("e1", "c1", "hello").await;
    let run = received["runs"][0].as_str().unwrap();
    let control = async |what: &str, body: Value| {
        let path = format!("/runs/{run}/{what}");
        let (status, answer) = t.api(As::Token(&token), "POST", &path, body).await;
        let said = if status == OK {
            &answer["status"]
        } else {
            &answer["error"]["code"]
        };
        (status.as_u16(), said.clone())
    };
    let none = || Value::Null;
    assert_eq!(control("resume", none()).await, (409, json!("run_not_waiting")));
    assert_eq!(control("pause", none()).await, (200, json!("paused")));
    assert_eq!(control("pause", none()).await, (200, json!("paused")));
    assert!(t.lease().await.is_empty());
    assert_eq!(
        control("answer", json!({"text": "go on"})).await,
        (409, json!("no_question"))
    );
    assert_eq!(control("resume", none()).await, (200, json!("resumed")));

    let lease = &t.lease().await[0];
    assert_eq!(lease["run"], json!(run), "{lease}");
    let seq = lease["journal"].as_array().unwrap().len() as u64;
    let call = json!({"type": "tool_call", "id": "t1", "name": "bash", "input": {"command": "ls"}});
    let usage = json!({"input": 100, "output": 20, "cache_read": 0, "cache_write": 0});
    let question = json!({"call": "t1", "text": "Was it sent?", "options": ["done", "run", "skip"]});
    let asked = json!([
        {"type": "model_answered", "model": "demo", "blocks": [call], "stop": "tool_use", "usage": usage,
         "cost": 1, "first_byte_ms": 3, "took_ms": 9},
        {"type": "tool_started", "call": "t1", "class": "at_most_once"},
        {"type": "asked", "question": question, "until": common::real_now() + 86_400_000},
    ]);
    let append = json!({"epoch": lease["epoch"], "expected_seq": seq, "events": asked});
    let (status, answer) = t.runner(&format!("/runs/{run}/events"), append).await;
    assert_eq!(status, OK, "{answer}");
    assert_eq!(control("resume", none()).await, (409, json!("answer_wanted")));
    assert_eq!(control("pause", none()).await, (409, json!("run_waits")));
    let wrong = control("answer", json!({"choice": "perhaps"})).await;
    assert_eq!(wrong.0 / 100, 4, "{wrong:?}");
    assert_eq!(
        control("answer", json!({"choice": "done", "text": "I saw it"})).await,
        (200, json!("answered"))
    );
    let lease = &t.lease().await[0];
    let told = lease["signals"].to_string() + &lease["journal"].to_string();
    assert!(told.contains("I saw it"), "{lease}");
}

#[tokio::test]
async fn integrations_and_agents_are_edited_and_secrets_never_shown() {
    let t = TestEdge::new().await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let call =
        async |method: &str, path: &str, body: Value| t.api(As::Token(&token), method, path, body).await;
    let mut draft = json!({"name": "in", "settings": {"channel": "generic"},
        "secrets": {"channel": "generic", "signing": [SECRET]}});
    let (status, made) = call("POST", "/integrations", draft.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["webhook_url"], "http://127.0.0.1/hooks/main/in");
    let (status, taken) = call("POST", "/integrations", draft.clone()).await;
    assert_eq!(
        (status, &taken["error"]["code"]),
        (StatusCode::CONFLICT, &json!("name_taken"))
    );
    draft["secrets"] = Value::Null;
    draft["enabled"] = json!(false);
    let path = format!("/integrations/{}", made["id"].as_str().unwrap());
    let (status, changed) = call("PUT", &path, draft).await;
    assert_eq!((status, &changed["enabled"]), (OK, &json!(false)));
    let (_, all) = call("GET", "/integrations", Value::Null).await;
    assert_eq!(all["items"], json!([changed]));
    assert!(!all.to_string().contains(SECRET));

    let draft = json!({"handle": "ada", "name": "Ada", "model": "scripted/demo", "limits": {"max_turns": 7}});
    let (status, ada) = call("POST", "/agents", draft.clone()).await;
    assert_eq!(
        (status, &ada["version"]),
        (StatusCode::CREATED, &json!(1)),
        "{ada}"
    );
    let path = format!("/agents/{}", ada["id"].as_str().unwrap());
    let mut next = draft;
    next["enabled"] = json!(false);
    next["persona"] = json!("Careful.");
    let (_, ada) = call("PUT", &path, next).await;
    assert_eq!(
        json!([
            ada["version"],
            ada["enabled"],
            ada["persona"],
            ada["limits"]["max_turns"]
        ]),
        json!([2, false, "Careful.", 7])
    );
    assert_eq!(
        call("GET", "/agents", Value::Null).await.1["items"],
        json!([ada]),
        "a disabled one is still listed"
    );

    let rule = json!({"agent": ada["id"], "integration": made["id"], "rule": {"on": "label", "name": "bug"}});
    let (status, made) = call("POST", "/subscriptions", rule.clone()).await;
    assert_eq!((status, &made["rule"]), (StatusCode::CREATED, &rule["rule"]));
    let (status, twice) = call("POST", "/subscriptions", rule).await;
    assert_eq!(
        (status, &twice["error"]["code"]),
        (StatusCode::CONFLICT, &json!("already_subscribed"))
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_code() {
    let t = TestEdge::new().await;
    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    for (method, path, body, status, code) in [
        ("GET", "/nothing", Value::Null, 404, "not_found"),
        ("PATCH", "/runs", Value::Null, 405, "method_not_allowed"),
        ("GET", "/runs/not-an-id", Value::Null, 404, "not_found"),
        ("GET", "/runs?limit=many", Value::Null, 400, "invalid_request"),
        ("POST", "/agents", json!({"handle": 1}), 400, "invalid_request"),
        ("POST", "/agents", Value::Null, 400, "invalid_request"),
        (
            "POST",
            "/tokens",
            json!({"for": "session", "name": "x"}),
            400,
            "invalid_request",
        ),
        (
            "POST",
            "/tokens",
            json!({"for": "api", "name": "x", "days": 0}),
            400,
            "invalid_request",
        ),
        (
            "POST",
            "/integrations",
            json!({"name": "github", "settings": {"channel": "github", "bot_login": "bot"},
                   "secrets": {"channel": "github", "webhook_secret": "x", "token": "github_pat_\u{2026}"}}),
            400,
            "invalid_request",
        ),
        (
            "POST",
            "/agents",
            json!({"handle": "x".repeat(3 << 20)}),
            413,
            "body_too_large",
        ),
    ] {
        let (got, answer) = t.api(As::Token(&token), method, path, body).await;
        assert_eq!(
            (got.as_u16(), &answer["error"]["code"]),
            (status, &json!(code)),
            "{method} {path}: {answer}"
        );
    }
}

#[test]
fn the_reference_describes_every_route_and_no_other() {
    let reference = include_str!("../../docs/reference/api.md");
    let mut described: Vec<String> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`').map(str::to_owned))
        .collect();
    let mut routes: Vec<String> = ROUTES
        .iter()
        .map(|(method, path)| format!("{} {path}", method.to_uppercase()))
        .chain(runs::ROUTES.iter().map(|path| format!("POST {path}")))
        .collect();
    described.sort();
    routes.sort();
    assert_eq!(described, routes);
}
