//! A stand-in for model providers: Anthropic Messages and Chat Completions on one port, driven by a script.
//!
//! Invariant: what the real APIs would refuse is refused here too. Every answer bears the header [`SCRIPTED_HEADER`] and the
//! model name [`SCRIPTED_MODEL`], whatever model was asked for.

mod anthropic;
mod anthropic_wire;
mod openai;
mod openai_wire;
mod script;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, StatusCode, header};
use roost_shared::transcript::{Message, Usage};
use serde_json::json;

use super::recording::{Recording, Served};
use crate::model::{Api, ProviderConfig};

pub use script::{Asked, Fault, Script, Turn};

/// The name every answer gives as its model.
pub const SCRIPTED_MODEL: &str = "scripted";

/// The header every answer bears.
pub const SCRIPTED_HEADER: HeaderName = HeaderName::from_static("x-roost-scripted");

const BODY_BYTES: usize = 64 * 1024 * 1024;
const REQUESTS_KEPT: usize = 4_096;

/// A running stand-in; ends when dropped.
#[derive(Debug)]
pub struct ModelServer {
    shared: Arc<Shared>,
    served: Served,
}

/// One request as it came in, and how it was answered.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The API it was sent to.
    pub api: Api,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// The status it was answered with.
    pub status: StatusCode,
    /// What was wrong with it, where the real API would have refused it.
    pub refused: Option<String>,
    /// How many answers of the model were in the conversation; none where it was refused.
    pub position: Option<usize>,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    settings: Mutex<Settings>,
    requests: Recording<Recorded>,
    request_ids: AtomicU64,
}

#[derive(Debug, Default)]
struct Settings {
    key: Option<String>,
    per_token: Duration,
    faults: VecDeque<Option<Fault>>,
}

/// What a request says, in no API's own format.
struct Heard {
    model: String,
    stream: bool,
    include_usage: bool,
    system: String,
    tools: Vec<String>,
    messages: Vec<Message>,
}

/// How a request is refused.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            message: message.into(),
            retry_after: None,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }
}

/// An answer on its way out: where it is in the run of the script, and what it cost.
struct Out<'a> {
    turn: &'a Turn,
    usage: Usage,
    position: usize,
    request_id: &'a str,
}

impl ModelServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(script: Script) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            script,
            settings: Mutex::default(),
            requests: Recording::of_the_last(REQUESTS_KEPT),
            request_ids: AtomicU64::new(1),
        });
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/messages", post(messages))
            .route("/v1/chat/completions", post(chat_completions))
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .with_state(Arc::clone(&shared));
        let served = Served::start("model", router).await?;
        Ok(Self { shared, served })
    }

    /// `http://127.0.0.1:PORT`: the base URL for Anthropic's clients. OpenAI's want `/v1` after it.
    pub fn url(&self) -> String {
        self.served.url()
    }

    /// The settings by which a [`crate::model::Gateway`] reaches it.
    pub fn provider(&self, api: Api) -> ProviderConfig {
        let url = match api {
            Api::Anthropic => self.url(),
            Api::Openai => format!("{}/v1", self.url()),
        };
        ProviderConfig::new(api, Some(url), Some("scripted-key".into()))
    }

    /// From now on only this key is taken.
    pub fn set_key(&self, key: impl Into<String>) {
        self.settings().key = Some(key.into());
    }

    /// Waits this long before every token of an answer.
    pub fn set_pace(&self, per_token: Duration) {
        self.settings().per_token = per_token;
    }

    /// The next request that isn't spoken for meets this fault.
    pub fn fail_next(&self, fault: Fault) {
        self.settings().faults.push_back(Some(fault));
    }

    /// The next request that isn't spoken for meets none: for faults that come after it.
    pub fn pass_next(&self) {
        self.settings().faults.push_back(None);
    }

    /// The requests so far, oldest first; only the last few thousand are kept.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.all()
    }

    /// Waits until `count` requests have come in since the start.
    pub async fn received(&self, count: usize) {
        self.shared.requests.counted(count).await;
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.shared.settings()
    }
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, api: Api, headers: HeaderMap, body: Bytes) -> Response {
        let n = self.request_ids.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("req_scripted_{n}");
        let (key, per_token) = {
            let settings = self.settings();
            (settings.key.clone(), settings.per_token)
        };
        let heard = match api {
            Api::Anthropic => anthropic::hear(&headers, &body, key.as_deref()),
            Api::Openai => openai::hear(&headers, &body, key.as_deref()),
        };
        let fault = self.settings().faults.pop_front().flatten();
        let wrong = heard.as_ref().err().map(|refusal| refusal.message.clone());
        let heard = heard.and_then(|heard| match fault.as_ref().and_then(Fault::refusal) {
            Some(refusal) => Err(refusal),
            None => Ok(heard),
        });
        let mut recorded = Recorded {
            api,
            headers,
            status: StatusCode::OK,
            refused: wrong,
            position: None,
            body,
        };
        let response = match heard {
            Err(refusal) => {
                recorded.status = refusal.status;
                refuse(api, &refusal, &request_id)
            }
            Ok(heard) => {
                let position = script::position(&heard.messages);
                recorded.position = Some(position);
                let turn = self.script.turn(&heard, api, position);
                let usage = turn.usage(recorded.body.len());
                let out = Out {
                    turn: &turn,
                    usage,
                    position,
                    request_id: &request_id,
                };
                say(api, &heard, &out, fault.as_ref(), per_token)
            }
        };
        self.requests.push(recorded);
        response
    }
}

/// The models it has, for whoever has the key: what both APIs are asked to see whether a key is good.
async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let given = header("x-api-key").or(bearer);
    let key = shared.settings().key.clone();
    if given.is_none() || key.is_some_and(|key| given != Some(&key)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(json!({"data": [{"id": "scripted"}]})).into_response()
}

async fn messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    shared.answer(Api::Anthropic, headers, body)
}

async fn chat_completions(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    shared.answer(Api::Openai, headers, body)
}

fn refuse(api: Api, refusal: &Refusal, request_id: &str) -> Response {
    let body = match api {
        Api::Anthropic => anthropic_wire::refusal(refusal, request_id),
        Api::Openai => openai_wire::refusal(refusal),
    };
    let mut response = respond(api, "application/json", request_id, Body::from(body.to_string()));
    *response.status_mut() = refusal.status;
    if let Some(wait) = refusal.retry_after {
        // Whole seconds, as the real APIs send it.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn say(api: Api, heard: &Heard, out: &Out<'_>, fault: Option<&Fault>, per_token: Duration) -> Response {
    if !heard.stream {
        let body = match api {
            Api::Anthropic => anthropic_wire::whole(out),
            Api::Openai => openai_wire::whole(out),
        };
        return respond(
            api,
            "application/json",
            out.request_id,
            Body::from(body.to_string()),
        );
    }
    let mut frames = match api {
        Api::Anthropic => anthropic_wire::frames(out),
        Api::Openai => openai_wire::frames(out, heard.include_usage),
    };
    let mut end = End::Normal;
    match fault {
        Some(Fault::Cut { after }) => {
            frames = first_bytes(&frames, *after);
            end = End::Broken;
        }
        Some(Fault::Stall { after }) => {
            frames = first_bytes(&frames, *after);
            end = End::Silent;
        }
        Some(Fault::ErrorInStream) => {
            frames.truncate(frames.len() / 2);
            frames.push(match api {
                Api::Anthropic => anthropic_wire::error_frame(),
                Api::Openai => openai_wire::error_frame(),
            });
        }
        _ => {}
    }
    let frames = stream::iter(frames.into_iter().map(Ok::<_, io::Error>)).then(move |frame| async move {
        if !per_token.is_zero() {
            tokio::time::sleep(per_token).await;
        }
        frame
    });
    let body = match end {
        End::Normal => Body::from_stream(frames),
        End::Broken => Body::from_stream(frames.chain(stream::once(async {
            // Lets what came before reach the socket: a server drops what it has not sent yet when a body fails.
            tokio::task::yield_now().await;
            Err(io::Error::other("cut by script"))
        }))),
        End::Silent => Body::from_stream(frames.chain(stream::pending())),
    };
    respond(api, "text/event-stream; charset=utf-8", out.request_id, body)
}

enum End {
    Normal,
    Broken,
    Silent,
}

fn first_bytes(frames: &[Bytes], count: usize) -> Vec<Bytes> {
    let mut whole: Vec<u8> = frames.concat();
    whole.truncate(count);
    vec![Bytes::from(whole)]
}

fn respond(api: Api, kind: &'static str, request_id: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(SCRIPTED_HEADER, http::HeaderValue::from_static("true"));
    let name = match api {
        Api::Anthropic => "request-id",
        Api::Openai => "x-request-id",
    };
    if let Ok(value) = request_id.parse() {
        headers.insert(name, value);
    }
    response
}
