//! `roost demo` as a user runs it: every step it promises happens, in order.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use roost_runner::standin::model::{ModelServer, Script};
use serde_json::Value;

#[test]
fn the_demo_keeps_its_promises() {
    let output = Command::new(env!("CARGO_BIN_EXE_roost"))
        .args(["demo", "--json", "--model", "scripted", "--timeout", "60"])
        .env_remove("ROOST_CONFIG")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    let events: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[..2], ["begin", "webhook"]);
    assert_eq!(events[0]["scripted"], true);
    for kind in [
        "stored",
        "acknowledged",
        "leased",
        "model",
        "call",
        "result",
        "ended",
        "reply",
    ] {
        assert!(kinds.contains(&kind), "{kind} is missing in {kinds:?}");
    }
    let outputs: Vec<&str> = events
        .iter()
        .filter(|event| event["event"] == "result")
        .map(|event| event["output"].as_str().unwrap())
        .collect();
    let failed = outputs
        .iter()
        .position(|output| output.contains("FAILED (failures=1)"));
    let passed = outputs
        .iter()
        .position(|output| output.contains("Ran 3 tests") && output.contains("\nOK"));
    assert!(failed.unwrap() < passed.unwrap(), "{outputs:?}");
    let reply = events.iter().find(|event| event["event"] == "reply").unwrap();
    assert!(
        reply["text"].as_str().unwrap().contains("prices.py | 2 +-"),
        "{reply}"
    );
    let summary = &events.last().unwrap()["summary"];
    assert!(summary["total_ms"].as_f64().unwrap() > summary["ack_ms"].as_f64().unwrap());
    assert_eq!(summary["turns"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_whose_model_refuses_the_key_fails_and_says_so() {
    let model = ModelServer::start(Script::turns(Vec::new())).await.unwrap();
    model.set_key("another");
    let output = Command::new(env!("CARGO_BIN_EXE_roost"))
        .args(["demo", "--model", "openai/x", "--timeout", "60"])
        .env_remove("ROOST_CONFIG")
        .env("OPENAI_BASE_URL", format!("{}/v1", model.url()))
        .env("OPENAI_API_KEY", "a key")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(
        complaint.starts_with("error: the run failed: model_key_refused"),
        "{complaint}"
    );
}
