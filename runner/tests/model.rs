//! The gateway against the scripted model, over real sockets: both wire formats, every way to fail, and requests whose
//! beginning never changes.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by panicking that something is wrong"
)]

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};
use roost_runner::{
    model::{
        Api, Delta, Gateway, ModelConfig, ModelError, ModelRequest, ModelSettings, Piece, ProviderConfig,
    },
    standin::{
        free_port,
        model::{Fault, ModelServer, SCRIPTED_HEADER, SCRIPTED_MODEL, Script, Turn},
    },
    tool::ToolDefinition,
};
use roost_shared::{
    MicroUsd,
    transcript::{Answer, Block, Message, Role, StopReason, ToolCall, ToolResult, Usage},
};
use serde_json::json;

const APIS: [Api; 2] = [Api::Anthropic, Api::Openai];

fn gateway(server: &ModelServer, api: Api) -> Gateway {
    gateway_with(server, api, |_| {})
}

fn gateway_with(server: &ModelServer, api: Api, change: impl FnOnce(&mut ModelConfig)) -> Gateway {
    let mut config = ModelConfig::default();
    config.providers.insert("p".into(), server.provider(api));
    change(&mut config);
    Gateway::new(&config).unwrap()
}

fn user(text: &str) -> Arc<Message> {
    let blocks = vec![Block::Text { text: text.into() }];
    Arc::new(Message {
        role: Role::User,
        blocks,
    })
}

fn assistant(answer: &Answer) -> Arc<Message> {
    let blocks = answer.blocks.clone();
    Arc::new(Message {
        role: Role::Assistant,
        blocks,
    })
}

fn results(answer: &Answer) -> Arc<Message> {
    let result = |call: &ToolCall| {
        Block::ToolResult(ToolResult {
            call: call.id.clone(),
            text: format!("did {}", call.name),
            is_error: false,
        })
    };
    let blocks = answer.tool_calls().map(result).collect();
    Arc::new(Message {
        role: Role::User,
        blocks,
    })
}

fn request(messages: Vec<Arc<Message>>) -> ModelRequest {
    let tool = |name: &str| {
        Arc::new(ToolDefinition {
            name: name.into(),
            description: format!("Does {name}."),
            input_schema: json!({"type": "object", "properties": {"command": {"type": "string"}}}),
        })
    };
    ModelRequest {
        model: "p/some-model".into(),
        system: Arc::from(["You are Roost.".to_owned(), "You are Ann.".to_owned()]),
        tools: Arc::from([tool("read_file"), tool("bash")]),
        messages,
        max_tokens: 1_000,
    }
}

async fn ask(gateway: &Gateway, messages: Vec<Arc<Message>>) -> Result<Answer, ModelError> {
    gateway.ask(request(messages)).await?.answer(|_| {}).await
}

#[tokio::test]
async fn an_answer_comes_whole_and_piece_by_piece_and_goes_back_as_it_came() {
    let usage = Usage {
        input: 10,
        output: 20,
        cache_read: 30,
        cache_write: 40,
    };
    let first = Turn::think("Let me look.")
        .and_say("I read two files, ünïcode too.")
        .and_call(
            "read_file",
            json!({"path": "a, b.txt", "ratio": 0.1, "deep": {"z": [1, 2], "a": null}}),
        )
        .and_call("bash", json!({"command": "ls -l /tmp"}))
        .using(usage);
    let script = Script::turns(vec![first, Turn::say("Done.")]);
    let server = ModelServer::start(script).await.unwrap();
    for api in APIS {
        let gateway = gateway_with(&server, api, |config| {
            let price = toml::from_str(
                "input = 1000000\noutput = 2000000\ncache_read = 100000\ncache_write = 1500000",
            );
            let settings = ModelSettings {
                price: Some(price.unwrap()),
                window: Some(9),
            };
            config.models.insert("p/some-model".into(), settings);
        });
        let mut stream = gateway.ask(request(vec![user("hello")])).await.unwrap();
        let (mut text, mut thinking, mut inputs) =
            (String::new(), String::new(), [String::new(), String::new()]);
        let mut pieces = 0;
        let answer = loop {
            match stream.next().await.unwrap().expect("an answer before the end") {
                Piece::Delta(Delta::Text(more)) => text.push_str(&more),
                Piece::Delta(Delta::Thinking(more)) => thinking.push_str(&more),
                Piece::Delta(Delta::ToolInput { index, json }) => inputs[index - 2].push_str(&json),
                Piece::Delta(Delta::ToolCall { .. }) => pieces += 1,
                Piece::Answer(answer) => break *answer,
            }
        };
        assert_eq!(stream.next().await.unwrap(), None);
        assert_eq!(
            (pieces, text.as_str(), thinking.as_str()),
            (2, "I read two files, ünïcode too.", "Let me look.")
        );
        let calls: Vec<&ToolCall> = answer.tool_calls().collect();
        assert_eq!(
            calls[0].input,
            json!({"path": "a, b.txt", "ratio": 0.1, "deep": {"z": [1, 2], "a": null}})
        );
        assert_eq!(calls[1].input, json!({"command": "ls -l /tmp"}));
        for (call, input) in calls.iter().zip(&inputs) {
            assert_eq!(
                call.input,
                serde_json::from_str::<serde_json::Value>(input).unwrap()
            );
        }
        assert_eq!(answer.text(), text);
        assert_eq!((answer.stop, answer.usage), (StopReason::ToolUse, usage));
        assert_eq!(answer.cost, MicroUsd(10 + 40 + 3 + 60));
        assert_eq!(answer.model, SCRIPTED_MODEL);
        assert!(
            answer
                .request_id
                .as_deref()
                .is_some_and(|id| id.starts_with("req_scripted_"))
        );

        let messages = vec![user("hello"), assistant(&answer), results(&answer)];
        let last = ask(&gateway, messages).await.unwrap();
        assert_eq!((last.text().as_str(), last.stop), ("Done.", StopReason::EndTurn));
        let sent = server.requests().pop().unwrap();
        assert_eq!((sent.refused, sent.position), (None, Some(1)), "{api:?}");
        assert!(
            String::from_utf8_lossy(&sent.body).contains("Let me look."),
            "thinking goes back with its calls"
        );
    }
}

#[tokio::test]
async fn every_stop_reason_is_understood() {
    use StopReason::{ContextExceeded, EndTurn, MaxTokens, PauseTurn, Refusal, StopSequence, ToolUse};
    let all = [
        EndTurn,
        ToolUse,
        MaxTokens,
        StopSequence,
        PauseTurn,
        Refusal,
        ContextExceeded,
    ];
    for api in APIS {
        for stop in all {
            let script = Script::turns(vec![Turn::say("so").stopping(stop)]);
            let server = ModelServer::start(script).await.unwrap();
            let answer = ask(&gateway(&server, api), vec![user("hello")]).await.unwrap();
            let expected = match (api, stop) {
                (Api::Openai, PauseTurn | StopSequence) => EndTurn,
                (Api::Openai, ContextExceeded) => MaxTokens,
                _ => stop,
            };
            assert_eq!(answer.stop, expected);
        }
    }
}

#[tokio::test]
async fn every_failure_has_its_code() {
    let server = ModelServer::start(Script::turns(vec![Turn::say("never mind the rest of it")]))
        .await
        .unwrap();
    let wait = Some(Duration::from_secs(7));
    let cases = [
        (Fault::RefuseKey, "model_key_refused", None),
        (Fault::RateLimit { retry_after: wait }, "model_rate_limited", wait),
        (Fault::RateLimit { retry_after: None }, "model_rate_limited", None),
        (Fault::Overloaded, "model_overloaded", None),
        (Fault::ServerError, "model_unavailable", None),
        (Fault::NoSuchModel, "model_not_found", None),
        (Fault::ContextExceeded, "model_context_exceeded", None),
        (Fault::ErrorInStream, "model_overloaded", None),
        (Fault::Cut { after: 0 }, "model_stream_cut", None),
        (Fault::Cut { after: 40 }, "model_stream_cut", None),
    ];
    for api in APIS {
        for (fault, code, wait) in cases {
            server.fail_next(fault);
            // One of its own each: a gateway that has met a limit keeps to it.
            let error = ask(&gateway(&server, api), vec![user("hello")])
                .await
                .unwrap_err();
            assert_eq!(
                (error.code(), error.retry_after()),
                (code, wait),
                "{api:?} {fault:?}: {error}"
            );
            assert!(!format!("{error} {error:?}").contains("scripted-key"));
        }
        let gateway = gateway(&server, api);
        assert!(
            ask(&gateway, vec![user("hello")]).await.is_ok(),
            "faults are for one request each"
        );

        let refused = ask(&gateway, vec![]).await.unwrap_err();
        assert_eq!(refused.code(), "model_request_invalid");
    }
    assert!(!format!("{:?}", gateway(&server, Api::Openai)).contains("scripted-key"));
}

#[tokio::test]
async fn a_cut_stream_never_passes_for_an_answer() {
    let turn = || Turn::say("One two three.").and_call("bash", json!({"command": "rm -rf build"}));
    let server = ModelServer::start(Script::turns(vec![turn()])).await.unwrap();
    for api in APIS {
        let gateway = gateway(&server, api);
        let whole = ask(&gateway, vec![user("hello")]).await.unwrap();
        let mut complete = 0;
        for after in (0..3_000).step_by(13) {
            server.fail_next(Fault::Cut { after });
            match ask(&gateway, vec![user("hello")]).await {
                Err(error) => {
                    assert_eq!(error.code(), "model_stream_cut", "{api:?} after {after}: {error}");
                    assert_eq!(complete, 0, "{api:?} after {after}");
                }
                Ok(answer) => {
                    complete += 1;
                    assert_eq!(answer.blocks, whole.blocks, "{api:?} after {after}");
                }
            }
        }
        assert!(complete > 0, "the whole answer is shorter than the longest cut");
    }
}

#[tokio::test]
async fn silence_and_floods_are_bounded() {
    let server = ModelServer::start(Script::turns(vec![Turn::say("word ".repeat(2_000))]))
        .await
        .unwrap();
    let impatient = |limit: usize| {
        gateway_with(&server, Api::Anthropic, |config| {
            config.patience.idle_s = 1;
            config.patience.max_answer_bytes = limit;
        })
    };
    server.fail_next(Fault::Stall { after: 300 });
    let silent = ask(&impatient(1 << 20), vec![user("hello")]).await.unwrap_err();
    assert_eq!(silent.code(), "model_stream_cut");
    let flooded = ask(&impatient(10_000), vec![user("hello")]).await.unwrap_err();
    assert_eq!(
        (flooded.code(), flooded.is_retryable()),
        ("model_answer_too_large", false)
    );
}

#[tokio::test]
async fn what_is_no_provider_says_so() {
    let server = ModelServer::start(Script::turns(vec![])).await.unwrap();
    let mut nowhere = gateway(&server, Api::Anthropic);
    for model in ["some-model", "q/some-model", "p/"] {
        let request = ModelRequest {
            model: model.into(),
            ..request(vec![user("hello")])
        };
        let error = nowhere.ask(request).await.unwrap_err();
        assert_eq!(error.code(), "model_provider_unknown");
        assert!(error.to_string().contains("(p)"), "{error}");
    }
    let mut config = ModelConfig::default();
    let closed = format!("http://127.0.0.1:{}", free_port().unwrap());
    config.providers.insert(
        "p".into(),
        ProviderConfig::new(Api::Anthropic, Some(closed), None),
    );
    nowhere = Gateway::new(&config).unwrap();
    let error = ask(&nowhere, vec![user("hello")]).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("model_unavailable", true));

    let wrong = ProviderConfig::new(Api::Openai, Some("nowhere".into()), None);
    config.providers.insert("q".into(), wrong);
    assert_eq!(
        Gateway::new(&config).unwrap_err().code(),
        "model_provider_invalid"
    );
}

#[tokio::test]
async fn the_stand_in_refuses_what_the_real_apis_refuse() {
    let server = ModelServer::start(Script::turns(vec![Turn::say("fine")]))
        .await
        .unwrap();
    server.set_key("right");
    let client = reqwest::Client::new();
    let hello = json!([{"role": "user", "content": "hello"}]);
    let torn = json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "bash", "input": {}}]},
        {"role": "user", "content": "and?"},
    ]);
    let torn_openai = json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "bash", "arguments": "{}"}}]},
        {"role": "user", "content": "and?"},
    ]);
    let tools = json!([{"name": "bash", "input_schema": {"type": "object"}}]);
    let marked = |n: usize| {
        let block = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        json!([{"role": "user", "content": vec![block; n]}])
    };
    let cases = [
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "max_tokens": 9, "messages": hello}),
            200,
        ),
        (
            "/v1/messages",
            "wrong",
            json!({"model": "m", "max_tokens": 9, "messages": hello}),
            401,
        ),
        (
            "/v1/messages",
            "",
            json!({"model": "m", "max_tokens": 9, "messages": hello}),
            401,
        ),
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "messages": hello}),
            400,
        ),
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "max_tokens": 9, "messages": []}),
            400,
        ),
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "max_tokens": 9, "messages": hello, "n": 2}),
            400,
        ),
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "max_tokens": 9, "messages": torn, "tools": tools}),
            400,
        ),
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "max_tokens": 9, "messages": marked(4)}),
            200,
        ),
        (
            "/v1/messages",
            "right",
            json!({"model": "m", "max_tokens": 9, "messages": marked(5)}),
            400,
        ),
        (
            "/v1/chat/completions",
            "right",
            json!({"model": "m", "messages": hello}),
            200,
        ),
        (
            "/v1/chat/completions",
            "wrong",
            json!({"model": "m", "messages": hello}),
            401,
        ),
        (
            "/v1/chat/completions",
            "",
            json!({"model": "m", "messages": hello}),
            401,
        ),
        ("/v1/chat/completions", "right", json!({"messages": hello}), 400),
        (
            "/v1/chat/completions",
            "right",
            json!({"model": "m", "messages": hello, "max_token": 2}),
            400,
        ),
        (
            "/v1/chat/completions",
            "right",
            json!({"model": "m", "messages": torn_openai}),
            400,
        ),
    ];
    for (path, key, body, status) in cases {
        let mut call = client
            .post(format!("{}{path}", server.url()))
            .header("anthropic-version", "2023-06-01");
        if !key.is_empty() {
            call = call.bearer_auth(key);
        }
        let response = call.json(&body).send().await.unwrap();
        assert_eq!(response.status(), status, "{path} {key} {body}");
        assert!(response.headers().contains_key(SCRIPTED_HEADER));
        let said: serde_json::Value = response.json().await.unwrap();
        assert!(status == 200 || said["error"]["message"].is_string(), "{said}");
    }
}

/// What comes before the messages, and the messages without the marks that move, in bytes.
fn parts(body: &[u8]) -> (String, String) {
    let body = std::str::from_utf8(body).unwrap();
    let (before, rest) = body.split_once(r#""messages":["#).unwrap();
    let messages = rest.rsplit_once(r#"],"max_tokens""#).unwrap().0;
    (
        before.to_owned(),
        messages.replace(r#","cache_control":{"type":"ephemeral"}"#, ""),
    )
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let number = prop_oneof![
        any::<f64>().prop_filter("JSON", |n| n.is_finite()),
        Just(0.1),
        Just(1e300)
    ];
    (
        ".{0,12}[a-z]",
        vec(("[a-zA-Z0-9_-]{1,8}", ".{0,20}", number), 1..4),
        any::<bool>(),
    )
        .prop_map(|(text, calls, thinks)| {
            let turn = if thinks {
                Turn::think("hm")
            } else {
                Turn::default()
            };
            let call = |turn: Turn, (name, text, number): (String, String, f64)| {
                turn.and_call(name, json!({"text": text, "number": number}))
            };
            calls.into_iter().fold(turn.and_say(text), call)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_turn_more_leaves_the_bytes_before_it_as_they_were(turns in vec(any_turn(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            for api in APIS {
                let server = ModelServer::start(Script::turns(turns.clone())).await.unwrap();
                let gateway = gateway(&server, api);
                let mut messages = vec![user("hello")];
                for _ in 0..=turns.len() {
                    let answer = ask(&gateway, messages.clone()).await;
                    let answer = answer.map_err(|error| TestCaseError::fail(error.to_string()))?;
                    // As it is after a restart: read back from the journal.
                    let answer: Answer = serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
                    messages.push(assistant(&answer));
                    messages.push(results(&answer));
                }
                let bodies: Vec<_> = server.requests().iter().map(|request| parts(&request.body)).collect();
                for pair in bodies.windows(2) {
                    prop_assert_eq!(&pair[0].0, &pair[1].0);
                    prop_assert!(pair[1].1.starts_with(&pair[0].1), "{} is no beginning of {}", pair[0].1, pair[1].1);
                    prop_assert!(pair[1].1.len() > pair[0].1.len());
                }
            }
            Ok(())
        })?;
    }
}
