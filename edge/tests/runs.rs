//! From a webhook to a completed run, as a runner sees it: leases, fences, lanes, signals.

mod common;

use std::time::Duration;

use common::{As, TestEdge, lane};
use http::StatusCode;
use roost_edge::{auth::token::Audience, edge::DEFAULT_WORKSPACE, runs::control};
use roost_shared::agent::LaneMode;
use serde_json::json;

#[tokio::test]
async fn a_message_becomes_a_run_that_one_runner_completes() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let (status, first) = t.say("e1", "c1", "hello").await;
    assert_eq!(
        (status, &first["verdict"]),
        (StatusCode::OK, &json!("accepted")),
        "{first}"
    );
    let (status, again) = t.say("e1", "c1", "hello").await;
    assert_eq!((status, again), (StatusCode::OK, json!({"verdict": "duplicate"})));

    let leased = t.poll("one", json!([])).await;
    let lease = &leased["leases"][0];
    assert_eq!(
        (lease["run"].clone(), &lease["epoch"]),
        (first["runs"][0].clone(), &json!(1))
    );
    assert_eq!(lease["journal"][0]["work_item"]["text"], "hello");
    assert_eq!(lease["journal"][1]["type"], "leased");
    assert_eq!(
        t.poll("two", json!([])).await["leases"],
        json!([]),
        "nobody else gets it"
    );

    let path = format!("/runs/{}/events", lease["run"].as_str().unwrap());
    let done = json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "completed", "reply": "hi"}]});
    let asked = json!({"runs": [lease["run"], "01J9ZD6M5N0000000000000000"]});
    let (_, ended) = t.runner("/runs/ended", asked.clone()).await;
    assert_eq!(ended, json!({"ended": []}), "it is under way");
    let (status, body) = t.runner(&path, done.clone()).await;
    assert_eq!((status, &body["next_seq"]), (StatusCode::OK, &json!(3)), "{body}");
    let (_, ended) = t.runner("/runs/ended", asked).await;
    assert_eq!(ended, json!({"ended": [lease["run"]]}));
    let (status, body) = t.runner(&path, done).await;
    assert_eq!(
        (status, &body["next_seq"]),
        (StatusCode::OK, &json!(3)),
        "the same append twice is one append"
    );
    let other = json!({"epoch": 1, "expected_seq": 3, "events": [{"type": "completed", "reply": "again"}]});
    let (status, body) = t.runner(&path, other).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::CONFLICT, &json!("stale_lease"))
    );

    t.say("e2", "c1", "and now?").await;
    let next = t.poll("one", json!([])).await;
    let history = &next["leases"][0]["history"];
    assert_eq!(
        (&history[0]["text"], &history[0]["reply"]),
        (&json!("hello"), &json!("hi"))
    );
}

#[tokio::test]
async fn a_lane_has_one_active_run_and_others_wait_in_order() {
    let t = TestEdge::new().await;
    t.hire("ada", lane(LaneMode::FollowUp, 0)).await;
    for (id, conversation) in [("e1", "c1"), ("e2", "c1"), ("e3", "c2")] {
        t.say(id, conversation, id).await;
        // Ids made in one millisecond have no order; messages of one conversation don't come that fast.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let leased = t.poll("one", json!([])).await;
    let texts: Vec<_> = leased["leases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["journal"][0]["work_item"]["text"])
        .collect();
    assert_eq!(texts, [&json!("e1"), &json!("e3")]);
    assert_eq!(t.poll("two", json!([])).await["leases"], json!([]));
    let run = leased["leases"][0]["run"].as_str().unwrap();
    let done =
        json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "failed", "code": "x", "message": "x"}]});
    t.runner(&format!("/runs/{run}/events"), done).await;
    let next = t.poll("two", json!([])).await;
    assert_eq!(next["leases"][0]["journal"][0]["work_item"]["text"], "e2");
}

#[tokio::test]
async fn a_lease_that_ran_out_goes_to_another_runner_and_fences_the_first() {
    let t = TestEdge::with(|settings| settings.lease = Duration::ZERO).await;
    t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    let first = t.poll("one", json!([])).await;
    let run = first["leases"][0]["run"].as_str().unwrap().to_owned();
    let second = t.poll("two", json!([])).await;
    assert_eq!(
        (&second["leases"][0]["run"], &second["leases"][0]["epoch"]),
        (&json!(run), &json!(2))
    );
    let late = json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "completed", "reply": "late"}]});
    let (status, body) = t.runner(&format!("/runs/{run}/events"), late).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::CONFLICT, &json!("stale_lease"))
    );
    let held = t
        .runner(
            "/poll",
            json!({"runner": "one", "room": 0, "held": [{"run": run, "epoch": 1}]}),
        )
        .await;
    assert_eq!(held.1["lost"], json!([run]));
}

#[tokio::test]
async fn a_withdrawn_poll_gives_back_what_it_took_and_takes_nothing_more() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    let poll = json!({"runner": "one", "poll": "01J9ZD6M5N0000000000000001", "room": 4});
    let (_, taken) = t.runner("/poll", poll.clone()).await;
    let run = taken["leases"][0]["run"].clone();
    let withdraw = "/polls/01J9ZD6M5N0000000000000001/withdraw";
    assert_eq!(
        t.runner(withdraw, json!({})).await,
        (StatusCode::OK, json!({"given_back": [run]}))
    );
    assert_eq!(
        t.runner(withdraw, json!({})).await,
        (StatusCode::OK, json!({"given_back": []})),
        "once"
    );
    // It was under way somewhere and arrives late.
    let (status, late) = t.runner("/poll", poll).await;
    assert_eq!(
        (status, &late["error"]["code"]),
        (StatusCode::CONFLICT, &json!("poll_withdrawn"))
    );
    let next = t.poll("two", json!([])).await;
    assert_eq!(
        (&next["leases"][0]["run"], &next["leases"][0]["epoch"]),
        (&run, &json!(2))
    );
    let kinds: Vec<_> = next["leases"][0]["journal"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(kinds, ["opened", "leased", "released", "leased"]);
}

#[tokio::test]
async fn a_run_that_has_just_ended_is_not_reported_lost() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    let run = t.lease().await[0]["run"].as_str().unwrap().to_owned();
    t.append(&run, 2, json!([{"type": "completed", "reply": "hi"}]))
        .await;
    // The poll was on its way when the run ended.
    let answer = t.poll("one", json!([{"run": run, "epoch": 1}])).await;
    assert_eq!(answer["lost"], json!([]));
}

#[tokio::test]
async fn cancelling_reaches_a_running_run_and_ends_a_waiting_one() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let (_, waiting) = t.say("e1", "c1", "hello").await;
    let run = waiting["runs"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(
        control::cancel(&t.edge, &scope, run, "a user").await.unwrap(),
        control::Outcome::Now
    );
    assert_eq!(
        control::cancel(&t.edge, &scope, run, "a user").await.unwrap(),
        control::Outcome::TooLate
    );

    t.say("e2", "c1", "hello").await;
    let lease = t.poll("one", json!([])).await["leases"][0].clone();
    let run = lease["run"].as_str().unwrap();
    let parsed = run.parse().unwrap();
    assert_eq!(
        control::cancel(&t.edge, &scope, parsed, "a user").await.unwrap(),
        control::Outcome::Soon
    );
    let heard = t.poll("one", json!([{"run": run, "epoch": 1}])).await;
    assert_eq!(heard["signals"][0]["type"], "cancel");
    let held = json!([{"run": run, "epoch": 1}]);
    let again = json!({"runner": "one", "room": 0, "held": held, "heard": [heard["signals"][0]["id"]]});
    assert_eq!(
        t.runner("/poll", again).await.1["signals"],
        json!([]),
        "what was heard is not told again"
    );
    let end = json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "cancelled", "by": "a user"}]});
    let (status, _) = t.runner(&format!("/runs/{run}/events"), end).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(t.poll("one", json!([])).await["signals"], json!([]));
}

#[tokio::test]
async fn a_held_poll_is_answered_when_work_comes() {
    let t = TestEdge::with(|settings| settings.look_again = Duration::from_secs(3600)).await;
    t.employ("ada").await;
    let poll = t.runner("/poll", json!({"runner": "one", "room": 1, "wait_ms": 20_000}));
    let say = async {
        tokio::task::yield_now().await;
        t.say("e1", "c1", "hello").await
    };
    let ((status, body), _) = tokio::join!(poll, say);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["leases"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_illegal_event_and_a_forged_token_are_refused() {
    let t = TestEdge::new().await;
    t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    let lease = t.poll("one", json!([])).await["leases"][0].clone();
    let path = format!("/runs/{}/events", lease["run"].as_str().unwrap());
    let illegal = json!({"epoch": 1, "expected_seq": 2, "events": [{"type": "leased", "runner": "me"}]});
    let (status, body) = t.runner(&path, illegal).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("illegal_event"))
    );
    let forged = TestEdge {
        runner_token: format!("{}x", t.runner_token),
        ..t
    };
    let (status, body) = forged.runner("/tick", json!({})).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::UNAUTHORIZED, &json!("token_invalid"))
    );
}

#[tokio::test]
async fn a_runner_without_room_for_sprites_takes_only_what_needs_none() {
    let t = TestEdge::new().await;
    let (ada, _) = t.employ("ada").await;
    t.say("e1", "c1", "hello").await;
    let poll = async |only: serde_json::Value| {
        let body = json!({"runner": "one", "room": 8, "wait_ms": 0, "only": only});
        let (status, answer) = t.runner("/poll", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["leases"].as_array().unwrap().clone()
    };
    assert!(poll(json!([])).await.is_empty());
    assert!(poll(json!(["01J9ZD6M5N0000000000000000"])).await.is_empty());
    let leases = poll(json!([ada.id])).await;
    assert_eq!(leases.len(), 1);
    assert_eq!(
        leases[0]["sprite"],
        format!("agent-{}", ada.id.to_string().to_lowercase())
    );

    let token = t.token(Audience::Api, DEFAULT_WORKSPACE);
    let path = format!("/agents/{}", ada.id);
    let draft = json!({"handle": "ada", "name": "Ada", "model": "a/b", "sprite": "run"});
    let (status, answer) = t.api(As::Token(&token), "PUT", &path, draft).await;
    assert_eq!(
        (status, &answer["sprite"]),
        (StatusCode::OK, &json!("run")),
        "{answer}"
    );
    t.say("e2", "c2", "hello").await;
    assert!(
        poll(json!([ada.id])).await.is_empty(),
        "its run needs a new sprite"
    );
    let leases = poll(json!(null)).await;
    let run = leases[0]["run"].as_str().unwrap().to_lowercase();
    assert_eq!(leases[0]["sprite"], format!("run-{run}"));
}
