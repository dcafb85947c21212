//! Following a run's journal by server-sent events.
//!
//! Invariant: each event is told once and in order: a stream that was cut, or that the edge has ended, is asked for again from
//! the next seq on.

use std::collections::VecDeque;

use futures::StreamExt;
use http::{StatusCode, header::ACCEPT};
use reqwest::Method;
use roost_shared::{RunId, event::Event, problem::Problem};
use tokio::time::{Instant, sleep, timeout};

use super::{ApiClient, PAUSE};
use crate::{
    edge_client::{EdgeError, SILENCE, accepted, silent, unavailable, understood},
    sse::SseParser,
};

/// Bytes of an event at most: more than the edge takes for one.
const EVENT: usize = 64 * 1024 * 1024;

/// How a stream ended.
enum End {
    /// Nothing follows: the run has ended.
    Over,
    /// There may be more.
    Cut,
}

impl ApiClient {
    /// Tells a run's events from `next` on, each as it comes, until the run has ended; `next` follows them. Where the stream is
    /// cut it is asked for again, for as long as the edge may be away.
    ///
    /// # Errors
    /// See [`EdgeError`].
    pub async fn follow(
        &self,
        run: RunId,
        next: &mut u64,
        mut tell: impl FnMut(Event),
    ) -> Result<(), EdgeError> {
        let mut given_up_at = Instant::now() + self.patience.away;
        loop {
            let before = *next;
            let ended = self.stream(run, next, &mut tell).await;
            if *next > before {
                given_up_at = Instant::now() + self.patience.away;
            }
            match ended {
                Ok(End::Over) => return Ok(()),
                Ok(End::Cut) => {}
                Err(EdgeError::Unavailable { .. }) if Instant::now() + PAUSE < given_up_at => {}
                Err(error) => return Err(error),
            }
            sleep(PAUSE).await;
        }
    }

    /// Tells what one stream brings.
    async fn stream(
        &self,
        run: RunId,
        next: &mut u64,
        tell: &mut impl FnMut(Event),
    ) -> Result<End, EdgeError> {
        let request = self.request(Method::GET, &format!("runs/{run}/events?from={next}"));
        let asking = request.header(ACCEPT, "text/event-stream").send();
        let asked = timeout(self.patience.answer, asking).await;
        let response = accepted(asked.map_err(|_| silent())?.map_err(unavailable)?).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(End::Over);
        }
        let mut chunks = response.bytes_stream();
        let (mut parser, mut messages) = (SseParser::new(EVENT), VecDeque::new());
        while let Ok(Some(chunk)) = timeout(SILENCE, chunks.next()).await {
            let fed = parser.feed(&chunk.map_err(unavailable)?, &mut messages);
            fed.map_err(|_| too_large())?;
            for message in messages.drain(..) {
                let event: Event = understood(message.data.as_bytes())?;
                *next = event.seq + 1;
                tell(event);
            }
        }
        Ok(End::Cut)
    }
}

fn too_large() -> EdgeError {
    let message = format!("the edge sent an event of more than {} MiB", EVENT >> 20);
    EdgeError::Refused(Problem::new("answer_malformed", message))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use axum::{
        Router,
        body::Body,
        extract::{RawQuery, State},
        response::{IntoResponse, Response},
        routing::get,
    };
    use futures::stream;
    use roost_shared::{UnixMillis, event::EventBody};

    use super::*;
    use crate::api_client::Patience;

    fn message(seq: u64) -> String {
        let event = Event {
            seq,
            epoch: 1,
            at: UnixMillis(0),
            body: EventBody::Resumed { by: "me".into() },
        };
        format!("id: {seq}\ndata: {}\n\n", serde_json::to_string(&event).unwrap())
    }

    /// Of five events each answer has three, and is cut off in the middle of the third.
    async fn answer(State(asked): State<Arc<Mutex<Vec<u64>>>>, RawQuery(query): RawQuery) -> Response {
        let from: u64 = query.unwrap().strip_prefix("from=").unwrap().parse().unwrap();
        asked.lock().unwrap().push(from);
        if from == 5 {
            return StatusCode::NO_CONTENT.into_response();
        }
        let mut text: String = (from..5).take(3).map(message).collect();
        if from < 4 {
            text.truncate(text.len() - 20);
        }
        let cut = stream::once(async {
            // What came before goes out first: a server drops what it has not sent yet when a body fails.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("cut"))
        });
        Body::from_stream(stream::iter([Ok(text)]).chain(cut)).into_response()
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_is_followed_from_where_it_was() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new()
            .route("/api/v1/runs/{run}/events", get(answer))
            .with_state(asked.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let patience = Patience {
            away: Duration::from_secs(5),
            ..Patience::ONCE
        };
        let client = ApiClient::new(reqwest::Client::new(), &base, "token".into(), patience);
        let run = RunId::new(UnixMillis(1), [0; 10]);
        let (mut next, mut told) = (0, Vec::new());
        client
            .follow(run, &mut next, |event| told.push(event.seq))
            .await
            .unwrap();
        server.abort();
        assert_eq!((next, told), (5, vec![0, 1, 2, 3, 4]));
        assert_eq!(*asked.lock().unwrap(), [0, 2, 4, 5]);
    }
}
