//! Senders that behave as the providers do: GitHub sends a webhook once and does not look back, Telegram sends it until it
//! is answered 2xx; and both send some of them again, as happens.
//!
//! Invariant: what is written down as accepted was answered 2xx. That is the promise which the end is measured by.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    api::{AGENTS, SECRET},
    chance::{Chance, Luck},
    script,
    stage::Stage,
};
use crate::{
    clock,
    fixture::{Fixture, Order, Place, Signed},
};

/// How long a provider waits for an answer.
const PROVIDER_WAITS: Duration = Duration::from_secs(10);
/// Between two tries of Telegram.
const TELEGRAM_PAUSE: Duration = Duration::from_millis(400);
/// How long Telegram tries.
const TELEGRAM_TRIES_FOR: Duration = Duration::from_secs(120);
/// Share of webhooks that come again after they were answered.
const AGAIN: f64 = 0.2;
/// Share of webhooks that name both agents.
const BOTH: f64 = 0.25;
/// Runs that may wait; with more, the senders pause, for a machine that is too small would never settle.
const MOST_WAITING: usize = 40;

/// By which channel a job came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// GitHub.
    Github,
    /// Telegram.
    Telegram,
}

/// One webhook and what its senders heard.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its number; also that of its issue or chat, so that every job has a lane of its own.
    pub number: u32,
    /// Its channel.
    pub channel: Channel,
    /// Whom it names.
    pub agents: Vec<&'static str>,
    /// Every answer: a status, or none where no answer came.
    pub answers: Vec<Option<u16>>,
    /// When it was first sent, in milliseconds since the epoch.
    pub sent_at: i64,
}

impl Job {
    /// Whether it was answered 2xx.
    pub fn is_accepted(&self) -> bool {
        self.answers
            .iter()
            .flatten()
            .any(|status| (200..300).contains(status))
    }
}

/// What was sent so far.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Mutex<Vec<Job>>>);

impl Sent {
    /// All jobs.
    pub fn all(&self) -> Vec<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_accepted(&self, number: u32) -> bool {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().any(|job| job.number == number && job.is_accepted())
    }

    fn begin(&self, job: Job) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    fn heard(&self, number: u32, answer: Option<u16>) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.iter_mut().find(|job| job.number == number) {
            job.answers.push(answer);
        }
    }
}

/// What senders heed.
#[derive(Debug, Default)]
pub struct Heed {
    /// Enough has been sent.
    pub stop: AtomicBool,
    /// Runs and effects that wait.
    pub waiting: AtomicUsize,
}

/// Sends webhooks until told to stop, then waits for the last answers.
pub async fn send(stage: &Stage, per_second: f64, mut chance: Chance, sent: &Sent, heed: &Heed) {
    let mut under_way = JoinSet::new();
    let mut number = 0;
    let pause = Duration::from_secs_f64(1.0 / per_second.max(0.01));
    while !heed.stop.load(Ordering::SeqCst) {
        sleep(chance.between(pause / 2, pause * 3 / 2)).await;
        while under_way.try_join_next().is_some() {}
        if heed.waiting.load(Ordering::SeqCst) > MOST_WAITING {
            continue;
        }
        number += 1;
        let job = choose(&mut chance, number);
        sent.begin(job.clone());
        let doors = &stage.doors;
        let sender = Sender {
            url: format!(
                "{}/hooks/main/{}",
                doors[chance.below(doors.len())],
                name(job.channel)
            ),
            other: doors[chance.below(doors.len())].clone(),
            http: stage.http.clone(),
            sent: sent.clone(),
            again: chance.happens(AGAIN),
            pause: chance.between(Duration::ZERO, Duration::from_secs(2)),
        };
        under_way.spawn(sender.deliver(job));
    }
    while under_way.join_next().await.is_some() {}
}

fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Github => "github",
        Channel::Telegram => "telegram",
    }
}

fn choose(chance: &mut Chance, number: u32) -> Job {
    let channel = chance.pick(&[(Channel::Github, 3), (Channel::Telegram, 1)]);
    let channel = channel.unwrap_or(Channel::Github);
    let (both, one) = (chance.happens(BOTH), chance.below(AGENTS.len()));
    let agents = match channel {
        // A private message is for the agent that listens there longest.
        Channel::Telegram => vec![AGENTS[0]],
        Channel::Github if both == Luck::Yes => AGENTS.to_vec(),
        Channel::Github => vec![AGENTS[one]],
    };
    Job {
        number,
        channel,
        agents,
        answers: Vec::new(),
        sent_at: clock::now().0,
    }
}

struct Sender {
    url: String,
    other: String,
    http: reqwest::Client,
    sent: Sent,
    again: Luck,
    pause: Duration,
}

impl Sender {
    async fn deliver(self, job: Job) {
        let webhook = webhook(&job);
        match job.channel {
            Channel::Github => self.once(&self.url, &job, &webhook).await,
            Channel::Telegram => {
                let until = Instant::now() + TELEGRAM_TRIES_FOR;
                self.once(&self.url, &job, &webhook).await;
                while !self.sent.is_accepted(job.number) && Instant::now() < until {
                    sleep(TELEGRAM_PAUSE).await;
                    self.once(&self.url, &job, &webhook).await;
                }
            }
        }
        if self.again == Luck::Yes {
            // Twice at once, by the same and perhaps another edge, a little later.
            sleep(self.pause).await;
            let other = format!("{}/hooks/main/{}", self.other, name(job.channel));
            futures::join!(
                self.once(&self.url, &job, &webhook),
                self.once(&other, &job, &webhook)
            );
        }
    }

    /// Sends it and writes the answer down.
    async fn once(&self, url: &str, job: &Job, webhook: &Signed) {
        let status = self.post(url, webhook).await;
        self.sent.heard(job.number, status);
    }

    async fn post(&self, url: &str, webhook: &Signed) -> Option<u16> {
        let request = self
            .http
            .post(url)
            .headers(webhook.headers.clone())
            .body(webhook.body.clone())
            .timeout(PROVIDER_WAITS);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        // An answer that breaks off has arrived all the same: its status counts.
        drop(response.bytes().await);
        Some(status)
    }
}

fn webhook(job: &Job) -> Signed {
    let order = Order {
        secret: SECRET,
        text: &script::order(&job.agents, job.number),
        id: job.number.into(),
        now: clock::now(),
        place: Place {
            number: job.number,
            ..Place::default()
        },
        ..Order::default()
    };
    match job.channel {
        Channel::Github => Fixture::GithubIssueComment.make(&order),
        Channel::Telegram => Fixture::TelegramMessage.make(&order),
    }
}
