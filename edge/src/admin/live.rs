//! A run's page kept up to date: rendered elements as server-sent events.
//!
//! A message carries whole elements. The script puts each in the place of the one with the same id, or at the end of
//! the timeline; so a message that comes twice changes nothing. Its `id` is the seq of the event it tells, by which the
//! browser asks for the rest after a cut.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use roost_shared::{
    RunId, UnixMillis,
    event::{Event, EventBody},
};
use serde::Deserialize;

use super::{
    control::{Controls, actions},
    run,
    timeline::Timeline,
    visitor::{Refusal, Visitor, id},
};
use crate::{
    api::{
        effects::{self, EffectView},
        follow::{Follower, Step},
        runs,
        sse::{self, Message},
    },
    db::DbError,
    edge::Edge,
};

/// How long the end of a run waits for its reply to be sent.
const SENDING: std::time::Duration = std::time::Duration::from_secs(30);

/// What the page has already.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct From {
    from: u64,
}

struct Live {
    follower: Follower,
    timeline: Timeline,
    /// Events before this one are on the page already.
    from: u64,
    sent: String,
    controls: Option<Controls>,
    asked: Asked,
    stage: Stage,
}

/// What the run's runner had been asked, and by whom, when the page was made; no event tells of it.
struct Asked {
    to_cancel: Option<String>,
    to_pause: Option<String>,
}

enum Stage {
    Journal,
    Effects(UnixMillis),
    Over,
}

/// `GET /admin/runs/{id}/live?from=N`.
pub(super) async fn stream(
    State(edge): State<Arc<Edge>>,
    Visitor(person): Visitor,
    Path(run): Path<String>,
    Query(From { from }): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let run: RunId = id(&run, "run")?;
    let detail = runs::detail(&person, run).await?;
    let last = sse::last_id(&headers);
    let from = last.map_or(from, |last| last.saturating_add(1));
    let live = Live {
        // Entries lean on events before them, so the fold begins at the beginning.
        follower: Follower::new(edge, person, run, 0),
        timeline: Timeline::new(&detail.run.agent.name),
        from,
        sent: String::new(),
        controls: None,
        asked: Asked {
            to_cancel: detail.cancel_asked_by,
            to_pause: detail.pause_asked_by,
        },
        stage: Stage::Journal,
    };
    let stream = stream::unfold(live, |mut live| async move {
        let bytes = live.step().await?;
        Some((bytes, live))
    });
    Ok(sse::response(stream))
}

impl Live {
    /// The next thing to send.
    async fn step(&mut self) -> Option<Bytes> {
        loop {
            match self.stage {
                Stage::Journal => match self.follower.step().await {
                    Step::Grown(events) => {
                        if let Some(bytes) = self.grown(&events) {
                            return Some(bytes);
                        }
                    }
                    Step::Quiet => return Some(sse::heartbeat()),
                    Step::Over => self.stage = Stage::Effects(self.follower.edge.now() + SENDING),
                    Step::Stopped => return None,
                },
                Stage::Effects(until) => {
                    if let Some(bytes) = self.sent(until).await.ok()? {
                        return Some(bytes);
                    }
                }
                Stage::Over => return None,
            }
        }
    }

    /// The entries of new events, each event a message of its own, and the sums with the last.
    fn grown(&mut self, events: &[Event]) -> Option<Bytes> {
        let mut text = String::new();
        for (at, event) in events.iter().enumerate() {
            let entries = self.timeline.push(event);
            if event.seq < self.from {
                continue;
            }
            if matches!(event.body, EventBody::Paused { .. }) {
                self.asked.to_pause = None;
            }
            let mut data: String = entries.into_iter().map(|entry| entry.html).collect();
            if at + 1 == events.len() {
                data.push_str(&self.timeline.summary().into_string());
                // Only when they change: somebody may be filling them in.
                let controls = Controls {
                    cancel_asked_by: self.asked.to_cancel.clone(),
                    pause_asked_by: self.asked.to_pause.clone(),
                    ..self.timeline.controls(self.follower.run)
                };
                if self.controls.as_ref() != Some(&controls) {
                    data.push_str(&actions(&controls).into_string());
                    self.controls = Some(controls);
                }
            }
            let message = Message {
                id: Some(event.seq),
                event: None,
                data: &data,
            };
            message.write(&mut text);
        }
        (!text.is_empty()).then(|| text.into())
    }

    /// What became of the effects, when that has changed; after that, the end.
    async fn sent(&mut self, until: UnixMillis) -> Result<Option<Bytes>, DbError> {
        let effects = self.effects().await?;
        let settled = effects.iter().all(|effect| effect.due_at.is_none());
        let edge = &self.follower.edge;
        let now = edge.now();
        let html = run::effects(now, &effects).into_string();
        let over = settled || now >= until || edge.bells.closed();
        let mut text = String::new();
        if html != self.sent {
            let message = Message {
                id: None,
                event: None,
                data: &html,
            };
            message.write(&mut text);
            self.sent = html;
        }
        if over {
            self.stage = Stage::Over;
            let message = Message {
                id: None,
                event: Some("end"),
                data: "",
            };
            message.write(&mut text);
        } else if text.is_empty() {
            edge.ports.clock.sleep(edge.settings.look_again).await;
        }
        Ok((!text.is_empty()).then(|| text.into()))
    }

    async fn effects(&self) -> Result<Vec<EffectView>, DbError> {
        let person = &self.follower.person;
        let batch = vec![person.guard(), effects::of_run(&person.scope, self.follower.run)];
        let results = person.scope.read(batch).await?;
        let rows = results.get(1).into_iter().flatten();
        Ok(rows.map(effects::view).collect::<Result<_, _>>()?)
    }
}
