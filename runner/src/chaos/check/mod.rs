//! The checker: compares what was promised with what happened, job by job and run by run.
//!
//! Invariant: it only ever says `in doubt` where the system itself says that it does not know and has asked a person;
//! everything else that is missing is lost.

use std::collections::{BTreeMap, BTreeSet};

use roost_shared::{
    event::{Event, EventBody},
    run::flaws,
};
use serde::Serialize;

use super::{
    history::{History, Told},
    script,
    senders::Job,
};

/// How a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something did not happen.
    Lost,
    /// Something happened twice.
    Doubled,
    /// A journal is not what a journal must be.
    Torn,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offence {
    /// How it was broken.
    pub kind: Kind,
    /// The job.
    pub job: Option<u32>,
    /// What happened, in one sentence.
    pub what: String,
}

/// What the checker counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Webhooks that were made up, each once.
    pub webhooks: usize,
    /// Those answered 2xx.
    pub accepted: usize,
    /// Requests of senders, those that came again included.
    pub requests: usize,
    /// Runs.
    pub runs: usize,
    /// Replies that arrived.
    pub replies: usize,
    /// Replies whose fate nobody knows and a person is asked about.
    pub in_doubt: usize,
    /// Commands that were run.
    pub commands: usize,
    /// Commands that were cut off by the end of their sprite host, and that the model was told of.
    pub cut_commands: usize,
    /// Answers of the model in journals.
    pub answers: usize,
    /// Times the model was asked again for what had not been journaled.
    pub repeated: usize,
    /// Times a run was kept from runners because too many had died under it, and a person resumed it.
    pub kept_back: usize,
    /// Leases that did not end by their run's own doing.
    pub broken_leases: usize,
}

/// Checks everything; offences in the order of their jobs.
pub fn check(history: &History) -> (Counts, Vec<Offence>) {
    let mut checker = Checker {
        history,
        counts: Counts {
            webhooks: history.jobs.len(),
            requests: history.jobs.iter().map(|job| job.answers.len()).sum(),
            runs: history.runs.len(),
            replies: history.arrived.len(),
            commands: history.ledger.values().sum(),
            ..Counts::default()
        },
        offences: Vec::new(),
    };
    for job in &history.jobs {
        checker.job(job);
    }
    for told in &history.runs {
        checker.run(told);
    }
    checker.strays();
    checker.ledger();
    (checker.counts, checker.offences)
}

struct Checker<'a> {
    history: &'a History,
    counts: Counts,
    offences: Vec<Offence>,
}

impl Checker<'_> {
    fn offence(&mut self, kind: Kind, job: Option<u32>, what: String) {
        self.offences.push(Offence { kind, job, what });
    }

    /// One run per agent that was named, and one reply of each.
    fn job(&mut self, job: &Job) {
        let number = Some(job.number);
        if job.is_accepted() {
            self.counts.accepted += 1;
        }
        for agent in &job.agents {
            let runs = self
                .history
                .runs_of(job.number)
                .filter(|told| told.agent == *agent)
                .count();
            match runs {
                0 if job.is_accepted() => {
                    let what = format!("answered 2xx, but there is no run of {agent}");
                    self.offence(Kind::Lost, number, what);
                }
                0 | 1 => {}
                more => self.offence(Kind::Doubled, number, format!("{more} runs of {agent}")),
            }
        }
        let others = self
            .history
            .runs_of(job.number)
            .filter(|told| !job.agents.contains(&told.agent.as_str()));
        if others.count() > 0 {
            self.offence(
                Kind::Doubled,
                number,
                "a run of an agent that was not named".into(),
            );
        }
    }

    fn run(&mut self, told: &Told) {
        self.journal(told);
        self.calls(told);
        let Some(job) = told.job else {
            let what = format!("run {} is about no job", told.run.id);
            self.offence(Kind::Torn, None, what);
            return;
        };
        if told.run.phase != "completed" {
            let how = told.run.outcome.as_deref().unwrap_or("without a word");
            let what = format!(
                "run {} of {} is {}: {how}",
                told.run.id, told.agent, told.run.phase
            );
            self.offence(Kind::Lost, told.job, what);
            return;
        }
        let reply = script::reply(&told.agent, job);
        let here = self
            .history
            .arrived
            .iter()
            .filter(|arrived| arrived.job == job && arrived.text == reply);
        match here.count() {
            0 if self.history.is_in_doubt(told.run.id) => self.counts.in_doubt += 1,
            0 => self.offence(
                Kind::Lost,
                told.job,
                format!("the reply of {} did not arrive", told.agent),
            ),
            1 => {}
            more => {
                let what = format!("the reply of {} arrived {more} times", told.agent);
                self.offence(Kind::Doubled, told.job, what);
            }
        }
    }

    /// Whether the journal is gapless and legal, its epochs go up, and its transcript is valid.
    fn journal(&mut self, told: &Told) {
        let journal = &told.journal;
        for what in flaws(journal) {
            let what = format!("the journal of run {} has {what}", told.run.id);
            self.offence(Kind::Torn, told.job, what);
        }
        let answers = journal
            .iter()
            .filter(|event| matches!(event.body, EventBody::ModelAnswered(_)));
        self.counts.answers += answers.count();
        let kept_back = journal
            .iter()
            .filter(|event| matches!(event.body, EventBody::Poisoned { .. }));
        self.counts.kept_back += kept_back.count();
    }

    /// The model is asked again for an answer only where a lease was broken before the answer was journaled.
    fn calls(&mut self, told: &Told) {
        let asked = self
            .history
            .calls
            .iter()
            .filter(|call| Some(call.job) == told.job && call.agent == told.agent);
        let mut by_position = BTreeMap::<usize, usize>::new();
        for call in asked {
            *by_position.entry(call.position).or_default() += 1;
        }
        let repeated: usize = by_position.values().map(|times| times - 1).sum();
        let broken = broken_leases(&told.journal);
        self.counts.repeated += repeated;
        self.counts.broken_leases += broken;
        if repeated > broken {
            let what = format!(
                "run {} asked the model {repeated} times again, with {broken} leases broken",
                told.run.id
            );
            self.offence(Kind::Doubled, told.job, what);
        }
    }

    /// What arrived that nobody should have sent.
    fn strays(&mut self) {
        let known: BTreeSet<(u32, String)> = self
            .history
            .runs
            .iter()
            .filter_map(|told| Some((told.job?, script::reply(&told.agent, told.job?))))
            .collect();
        for arrived in &self.history.arrived {
            if !known.contains(&(arrived.job, arrived.text.clone())) {
                let what = format!("a reply that no run gave: {:?}", arrived.text);
                self.offence(Kind::Doubled, Some(arrived.job), what);
            }
        }
        if self.history.restless > 0 {
            let what = format!("{} runs or effects had not come to rest", self.history.restless);
            self.offence(Kind::Lost, None, what);
        }
        for effect in &self.history.failed {
            let Some(run) = effect.run else { continue };
            let why = effect.reason.as_deref().unwrap_or("without a word");
            let what = format!("effect {} of run {run} was given up: {why}", effect.id);
            self.offence(Kind::Lost, None, what);
        }
    }

    /// Every command ran once; one whose sprite host died under it may not have.
    fn ledger(&mut self) {
        for ((agent, line), times) in &self.history.ledger {
            if *times > 1 {
                let what = format!("{line:?} was run {times} times by {agent}");
                let job = script::job_of(line);
                self.offences.push(Offence {
                    kind: Kind::Doubled,
                    job,
                    what,
                });
            }
        }
        for told in &self.history.runs {
            let Some(job) = told.job else { continue };
            for (step, result) in results(&told.journal).enumerate() {
                let line = script::line(job, step);
                let ran = self
                    .history
                    .ledger
                    .contains_key(&(told.agent.clone(), line.clone()));
                match result {
                    Outcome::Done if !ran => {
                        let what = format!("{line:?} of {} is said to have run, and did not", told.agent);
                        self.offence(Kind::Lost, told.job, what);
                    }
                    Outcome::Done => {}
                    Outcome::Cut => self.counts.cut_commands += 1,
                }
            }
        }
    }
}

/// How a command ended, as its run was told.
enum Outcome {
    Done,
    Cut,
}

fn results(journal: &[Event]) -> impl Iterator<Item = Outcome> {
    journal.iter().filter_map(|event| match &event.body {
        EventBody::ToolFinished { result, .. } if result.is_error => Some(Outcome::Cut),
        EventBody::ToolFinished { .. } => Some(Outcome::Done),
        _ => None,
    })
}

/// Leases after the first that did not follow a rest of the run's own.
fn broken_leases(journal: &[Event]) -> usize {
    let leases = journal
        .iter()
        .filter(|event| matches!(event.body, EventBody::Leased { .. }))
        .count();
    let rests = journal
        .iter()
        .filter(|event| matches!(event.body, EventBody::Parked { .. }))
        .count();
    leases.saturating_sub(1).saturating_sub(rests)
}

#[cfg(test)]
mod tests;
