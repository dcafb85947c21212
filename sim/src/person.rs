//! The person who looks after runs: pauses and cancels some while things break, resumes what waits, answers what asks and tries
//! again what failed.
//!
//! Invariant: what is written down as done was answered 2xx; what may have been done is written down before it is asked for.
//! Once people write no more, nothing is left waiting or failed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use roost_edge::ports::HttpClient;
use roost_shared::RunId;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    chance::{Chance, Luck},
    network::Network,
    sender::EDGES,
    trace::Trace,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// Something a person wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// That it ends.
    Cancel,
    /// That it stops until it is resumed.
    Pause,
    /// That it goes on, or tries again if it has failed.
    Resume,
    /// An answer to its question.
    Answer,
}

impl Want {
    fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Answer => "answer",
        }
    }
}

/// Something a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Of which run.
    pub run: RunId,
    /// What.
    pub want: Want,
    /// The edge's word, if it said yes: `cancelled`, `cancelling` and so on.
    pub done: Option<String>,
    /// Where the run's journal ended when it was seen next.
    pub seen_after: Option<u64>,
}

/// All that was asked for, in order. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Deeds(Arc<Mutex<Vec<Deed>>>);

impl Deeds {
    /// All of them.
    pub fn all(&self) -> Vec<Deed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, run: RunId, want: Want) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Deed {
            run,
            want,
            done: None,
            seen_after: None,
        });
        all.len() - 1
    }

    fn amend(&self, place: usize, amend: impl FnOnce(&mut Deed)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deed) = all.get_mut(place) {
            amend(deed);
        }
    }
}

/// A run as a person sees it.
#[derive(Debug, Clone, Deserialize)]
struct Seen {
    id: RunId,
    phase: String,
    waits: Option<String>,
    next_seq: u64,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Seen>,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

/// The person.
#[derive(Clone)]
pub struct Person {
    /// Signs in with it.
    pub token: String,
    /// For how long they meddle; after it they only help.
    pub meddles: Duration,
    /// What they asked for.
    pub deeds: Deeds,
    /// Where it is written down.
    pub trace: Trace,
    /// Decides what they do.
    pub seed: u64,
}

impl Person {
    /// Looks after runs for as long as the simulation lasts.
    ///
    /// # Errors
    /// Never.
    pub async fn live(self) -> turmoil::Result {
        let mut chance = Chance::new(self.seed, "person");
        let network = Network::new("person", PATIENCE, &self.trace);
        loop {
            tokio::time::sleep(chance.between(50, 700)).await;
            let edge = *chance.one_of(&EDGES);
            let phases = ["waiting", "queued", "running", "parked", "failed"];
            let phase = *chance.one_of(&phases);
            let path = format!("runs?limit=200&phase={phase}");
            let Some(page) = self.ask::<Page>(&network, edge, (Method::GET, &path), None).await else {
                continue;
            };
            if page.items.is_empty() {
                continue;
            }
            let seen = chance.one_of(&page.items).clone();
            let Some(want) = self.wants(&seen, &mut chance) else {
                continue;
            };
            let done = self.does(&network, &mut chance, &seen, want).await;
            if done.as_deref() == Some("pausing") && chance.in_hundred(50) == Luck::Yes {
                // Second thoughts, before the run's runner has come to it.
                self.does(&network, &mut chance, &seen, Want::Resume).await;
            }
        }
    }

    /// What to do about a run.
    fn wants(&self, seen: &Seen, chance: &mut Chance) -> Option<Want> {
        let helps = turmoil::sim_elapsed().unwrap_or_default() >= self.meddles;
        let help = match (seen.phase.as_str(), seen.waits.as_deref()) {
            ("waiting", Some("asked")) => Some(Want::Answer),
            ("waiting" | "failed", _) => Some(Want::Resume),
            _ => None,
        };
        if helps {
            return help;
        }
        let meddle = *chance.one_of(&[Want::Pause, Want::Pause, Want::Cancel, Want::Resume]);
        match (help, chance.in_hundred(60)) {
            (Some(help), Luck::Yes) => Some(help),
            _ if seen.phase == "failed" => None,
            _ if seen.phase == "waiting" => (meddle == Want::Cancel).then_some(meddle),
            _ => Some(meddle),
        }
    }

    /// Does it; the edge's word, if it said yes.
    async fn does(&self, network: &Network, chance: &mut Chance, seen: &Seen, want: Want) -> Option<String> {
        let edge = *chance.one_of(&EDGES);
        let place = self.deeds.add(seen.id, want);
        let choice = *chance.one_of(&["run", "run", "skip"]);
        let body = (want == Want::Answer).then(|| json!({ "choice": choice }));
        let path = format!("runs/{}/{}", seen.id, want.verb());
        let said: Status = self.ask(network, edge, (Method::POST, &path), body).await?;
        self.deeds
            .amend(place, |deed| deed.done = Some(said.status.clone()));
        let path = format!("runs/{}", seen.id);
        let now: Option<Seen> = self.ask(network, edge, (Method::GET, &path), None).await;
        self.deeds
            .amend(place, |deed| deed.seen_after = now.map(|now| now.next_seq));
        Some(said.status)
    }

    /// The answer, if it was 2xx.
    async fn ask<T: DeserializeOwned>(
        &self,
        network: &Network,
        edge: &str,
        (method, path): (Method, &str),
        body: Option<Value>,
    ) -> Option<T> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{edge}/api/v1/{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(body)
            .ok()?;
        let answer = network.send(request).await.ok()?;
        let is_done = answer.status().is_success();
        is_done
            .then(|| serde_json::from_slice(answer.body()).ok())
            .flatten()
    }
}
