//! The scripted model speaks the real protocols: the official clients of Anthropic and OpenAI take it for theirs, answers and
//! errors alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{process::Stdio, time::Duration};

use roost_runner::standin::model::{Fault, ModelServer, SCRIPTED_MODEL, Script, Turn};
use roost_shared::transcript::Usage;
use roost_tests::toolbox;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/model_sdk.mjs");

#[tokio::test]
async fn the_official_clients_take_the_stand_in_for_the_real_thing() {
    let usage = Usage {
        input: 10,
        output: 20,
        cache_read: 30,
        cache_write: 40,
    };
    let first = Turn::think("Let me look.")
        .and_say("I look, ünïcode and all.")
        .and_call("bash", json!({"command": "ls -l, please", "n": 0.1}))
        .using(usage);
    let server = ModelServer::start(Script::turns(vec![first, Turn::say("There is a.txt.")]))
        .await
        .unwrap();
    server.set_key("right");
    // Per API, in the order in which the clients ask: three answers, then these two.
    for _ in 0..2 {
        for _ in 0..3 {
            server.pass_next();
        }
        server.fail_next(Fault::RateLimit {
            retry_after: Some(Duration::from_secs(7)),
        });
        server.fail_next(Fault::ErrorInStream);
        server.pass_next();
        server.pass_next();
    }
    let said = ask_with_the_clients(&server.url()).await;

    let anthropic = &said["anthropic"];
    assert_eq!(anthropic["text"], "I look, ünïcode and all.");
    assert_eq!(anthropic["blocks"], json!(["thinking", "text", "tool_use"]));
    assert_eq!(anthropic["input"], json!({"command": "ls -l, please", "n": 0.1}));
    assert_eq!(anthropic["stop"], "tool_use");
    assert_eq!(anthropic["usage"]["cache_creation_input_tokens"], 40);
    assert_eq!(anthropic["usage"]["output_tokens"], 20);
    assert_failures(
        &anthropic["failures"],
        "overloaded_error",
        "tool_use` ids were found without",
    );

    let openai = &said["openai"];
    assert_eq!(openai["text"], "I look, ünïcode and all.");
    assert_eq!(openai["input"], json!({"command": "ls -l, please", "n": 0.1}));
    assert_eq!(openai["stop"], "tool_calls");
    assert_eq!(openai["usage"]["prompt_tokens"], 80);
    assert_eq!(openai["usage"]["prompt_tokens_details"]["cached_tokens"], 30);
    assert_failures(
        &openai["failures"],
        "server_error",
        "must be followed by tool messages",
    );

    for api in [anthropic, openai] {
        assert_eq!(
            (&api["last"], &api["whole"]),
            (&json!("There is a.txt."), &json!("There is a.txt."))
        );
        assert_eq!(api["model"], SCRIPTED_MODEL);
    }
}

fn assert_failures(failures: &Value, in_stream: &str, torn: &str) {
    let limited = &failures["rateLimited"];
    assert_eq!(
        (&limited["name"], &limited["status"]),
        (&json!("RateLimitError"), &json!(429))
    );
    assert_eq!(limited["retryAfter"], "7");
    assert!(
        limited["requestId"]
            .as_str()
            .is_some_and(|id| id.starts_with("req_scripted_")),
        "{limited}"
    );
    assert_eq!(failures["inStream"]["name"], "APIError", "{failures}");
    assert_eq!(failures["inStream"]["kind"], in_stream, "{failures}");
    assert_eq!(failures["torn"]["name"], "BadRequestError");
    let message = failures["torn"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(torn), "{message}");
    assert_eq!(failures["key"]["name"], "AuthenticationError");
}

async fn ask_with_the_clients(url: &str) -> Value {
    let toolbox = toolbox();
    let modules = toolbox.node_modules().unwrap();
    let clients = Command::new(toolbox.node().unwrap())
        .arg(CLIENTS)
        .arg(modules)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(60), clients)
        .await
        .expect("the clients end in time")
        .expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
