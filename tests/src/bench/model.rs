//! A model that takes next to no time: it counts the answers in a request and gives the next one in one piece. The stand-in that
//! tests use reads every word and refuses what a provider would.
//!
//! Invariant: an answer depends on its request alone.

use std::time::Instant;

use memchr::memmem;
use roost_runner::model::{Api, ModelConfig, ProviderConfig};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::responder::Responder;

/// A running model; ends when dropped.
pub(super) struct QuickModel {
    server: Responder,
    asked: watch::Sender<usize>,
}

/// What it is asked.
pub(super) struct Asked<'a> {
    /// When the request began to arrive.
    pub(super) at: Instant,
    /// How many answers are in the conversation.
    pub(super) position: usize,
    /// The request's body.
    pub(super) body: &'a [u8],
}

/// What it says.
pub(super) enum Says {
    /// A word, and the run is over.
    Done,
    /// That it wants the tool `noop`.
    Noop,
}

impl QuickModel {
    /// Starts one that answers what `says` decides.
    pub(super) async fn start(says: impl Fn(&Asked<'_>) -> Says + Send + Sync + 'static) -> Self {
        let asked = watch::Sender::new(0);
        let count = asked.clone();
        let server = Responder::start(move |at, body| {
            let position = memmem::find_iter(body, br#""role":"assistant""#).count();
            let said = says(&Asked { at, position, body });
            count.send_modify(|count| *count += 1);
            answer(&said, position)
        });
        Self {
            server: server.await,
            asked,
        }
    }

    /// `http://127.0.0.1:PORT`, as Anthropic's clients want it.
    pub(super) fn url(&self) -> &str {
        self.server.url()
    }

    /// How a gateway reaches it, as the provider `scripted`.
    pub(super) fn config(&self) -> ModelConfig {
        let mut models = ModelConfig::default();
        let provider = ProviderConfig::new(Api::Anthropic, Some(self.url().to_owned()), Some("a key".into()));
        models.providers.insert("scripted".into(), provider);
        models
    }

    /// How often it has been asked.
    pub(super) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it has been asked so often.
    pub(super) async fn asked_times(&self, times: usize) {
        // The sender lives as long as `self`, so this can't fail.
        let _ = self.asked.subscribe().wait_for(|count| *count >= times).await;
    }
}

/// The events of an answer, in the order the API sends them.
fn answer(says: &Says, position: usize) -> Vec<u8> {
    let (block, delta, stop) = match says {
        Says::Done => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": "Done."}),
            "end_turn",
        ),
        Says::Noop => (
            json!({"type": "tool_use", "id": format!("call_{position}"), "name": "noop", "input": {}}),
            json!({"type": "input_json_delta", "partial_json": format!("{{\"n\":{position}}}")}),
            "tool_use",
        ),
    };
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let message = json!({"id": format!("msg_{position}"), "type": "message", "role": "assistant", "model": "quick",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    let events = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ];
    let body: String = events.iter().map(frame).collect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncontent-length";
    format!("{head}: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn frame(event: &Value) -> String {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {event}\n\n")
}
