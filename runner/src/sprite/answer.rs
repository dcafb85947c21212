//! Requests on their way: sent, sent again where that is safe, and their answers read within bounds.
//!
//! Invariant: every answer that is not a success becomes one [`SpriteError`]; a body that is cut is asked for again only
//! where the request may be (see [`super::retry`]), so that half an answer is never taken for a whole one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Method, Request, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::{
    SpriteError,
    retry::{Pauses, Twice},
    wire::ApiErrorBody,
    wire_files::{FileErrorBody, FileErrorKind},
};

/// Answers that are JSON are small; this keeps a foreign server from filling our memory.
const MAX_JSON_BYTES: usize = 16 << 20;

/// A success, its body still to be read.
pub(super) struct Answer {
    response: Response,
    /// How to ask again if the body is cut.
    sender: Sender,
}

impl Answer {
    /// Which success it is.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }
}

/// A request with what it takes to send it again.
struct Sender {
    client: Client,
    method: Method,
    /// None once a request that can't be copied, because its body is a stream, was sent.
    request: Option<Request>,
    twice: Twice,
    pauses: Pauses,
    repeats: u32,
}

impl Sender {
    fn new(request: RequestBuilder, twice: impl FnOnce(&Method) -> Twice) -> Result<Self, SpriteError> {
        let (client, request) = request.build_split();
        let request = request.map_err(transport)?;
        Ok(Self {
            client,
            twice: twice(request.method()),
            method: request.method().clone(),
            request: Some(request),
            pauses: Pauses::of_request(),
            repeats: 0,
        })
    }

    /// Sends until there is an answer of the host itself, or no repeat is left or safe.
    async fn send(&mut self) -> Result<Response, SpriteError> {
        loop {
            let copy = self.request.as_ref().and_then(Request::try_clone);
            let Some(copy) = copy.or_else(|| self.request.take()) else {
                return Err(SpriteError::unavailable(
                    "the connection was cut while a stream was sent",
                ));
            };
            let failed = match self.client.execute(copy).await {
                Ok(response) if !self.is_passing(response.status()) => return Ok(response),
                Ok(response) => Err(response),
                Err(error) if error.is_timeout() => return Err(transport(error)),
                // What never arrived can be sent again, whatever it is.
                Err(error) if !error.is_connect() && self.twice == Twice::Differs => {
                    return Err(transport(error));
                }
                Err(error) => Ok(error),
            };
            match (self.pause().await, failed) {
                (true, _) => {}
                (false, Ok(error)) => return Err(transport(error)),
                (false, Err(response)) => return Ok(response),
            }
        }
    }

    /// A proxy or a host on its way up or down.
    fn is_passing(&self, status: StatusCode) -> bool {
        self.twice == Twice::IsOnce && matches!(status.as_u16(), 502..=504)
    }

    /// Waits for the next repeat; `false` when there is none.
    async fn pause(&mut self) -> bool {
        let Some(pause) = self.pauses.next() else {
            return false;
        };
        self.repeats += 1;
        tokio::time::sleep(pause).await;
        true
    }
}

/// Sends a request of the API; `what` names what was asked for.
pub(super) async fn send(
    request: RequestBuilder,
    what: impl FnOnce() -> String,
) -> Result<Answer, SpriteError> {
    let mut sender = Sender::new(request, Twice::of)?;
    let response = sender.send().await?;
    if response.status().is_success() {
        return Ok(Answer { response, sender });
    }
    Err(api_error(response, what).await)
}

/// Asks for an upgrade, which starts something at the other end: it is repeated only if it never arrived.
pub(super) async fn upgrade(
    request: RequestBuilder,
    what: impl FnOnce() -> String,
) -> Result<Response, SpriteError> {
    let response = Sender::new(request, |_| Twice::Differs)?.send().await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    Err(api_error(response, what).await)
}

/// As [`send`] for the file endpoints, whose errors carry a POSIX code and the path.
pub(super) async fn send_file(request: RequestBuilder, path: &str) -> Result<Answer, SpriteError> {
    let mut sender = Sender::new(request, Twice::of)?;
    let response = sender.send().await?;
    if response.status().is_success() {
        return Ok(Answer { response, sender });
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let body = bounded(response, MAX_JSON_BYTES, &|| "an error".into())
        .await
        .unwrap_or_default();
    let Some(file) = serde_json::from_slice::<FileErrorBody>(&body)
        .ok()
        .filter(|file| !file.code.is_empty())
    else {
        return Err(classify(status, &headers, &body, || "the sprite".into()));
    };
    let kind = FileErrorKind::from_code(&file.code);
    if kind == FileErrorKind::NotFound && sender.repeats > 0 && sender.method == Method::DELETE {
        // The first try did it, and its answer was lost.
        let response = http::Response::new(Bytes::new()).into();
        return Ok(Answer { response, sender });
    }
    Err(SpriteError::File {
        kind,
        path: path.to_owned(),
        message: file.error,
    })
}

/// Reads a JSON answer.
pub(super) async fn json<T: DeserializeOwned>(answer: Answer) -> Result<T, SpriteError> {
    let body = limited(answer, MAX_JSON_BYTES, || "an answer".into()).await?;
    serde_json::from_slice(&body).map_err(SpriteError::protocol)
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn limited(
    answer: Answer,
    limit: usize,
    what: impl Fn() -> String,
) -> Result<Bytes, SpriteError> {
    let Answer {
        mut response,
        mut sender,
    } = answer;
    loop {
        let cut = match bounded(response, limit, &what).await {
            Err(error @ SpriteError::Unavailable { .. }) if sender.twice == Twice::IsOnce => error,
            settled => return settled,
        };
        if !sender.pause().await {
            return Err(cut);
        }
        response = sender.send().await?;
        if !response.status().is_success() {
            return Err(api_error(response, what).await);
        }
    }
}

async fn bounded(
    mut response: Response,
    limit: usize,
    what: &impl Fn() -> String,
) -> Result<Bytes, SpriteError> {
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(SpriteError::TooLarge { what: what(), limit });
    }
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > limit {
            return Err(SpriteError::TooLarge { what: what(), limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

pub(super) fn transport(error: reqwest::Error) -> SpriteError {
    // The URL would repeat what the caller knows; the source says what happened.
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    SpriteError::Unavailable { reason }
}

async fn api_error(response: Response, what: impl FnOnce() -> String) -> SpriteError {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = bounded(response, MAX_JSON_BYTES, &|| "an error".into())
        .await
        .unwrap_or_default();
    classify(status, &headers, &body, what)
}

fn classify(
    status: StatusCode,
    headers: &reqwest::header::HeaderMap,
    body: &[u8],
    what: impl FnOnce() -> String,
) -> SpriteError {
    let parsed: ApiErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let reason = if parsed.error.is_empty() {
        format!("http_{}", status.as_u16())
    } else {
        parsed.error
    };
    let message = if parsed.message.is_empty() {
        status.to_string()
    } else {
        parsed.message
    };
    match status.as_u16() {
        404 | 410 if reason == "session_not_found" => SpriteError::Gone { what: message },
        404 | 410 => SpriteError::Gone { what: what() },
        429 => {
            let header = headers
                .get(reqwest::header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.parse().ok());
            let seconds = parsed
                .retry_after_seconds
                .filter(|seconds| *seconds > 0)
                .or(header);
            SpriteError::Limited {
                reason,
                message,
                retry_after: seconds.map(Duration::from_secs),
            }
        }
        500.. => SpriteError::Unavailable {
            reason: format!("{status}: {message}"),
        },
        status => SpriteError::Refused {
            status,
            reason,
            message,
        },
    }
}
