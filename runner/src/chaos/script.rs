//! What the scripted model does with a job, and a record of every time it was asked.
//!
//! Invariant: a job is two commands of up to 0.6 s, each of which writes one line of its own into the ledger of its agent's sprite, and
//! one reply that names the job; so every command and every reply that was lost or doubled can be told.

use std::sync::{Arc, Mutex, PoisonError};

use roost_shared::{UnixMillis, transcript::Block};
use serde_json::json;

use crate::{
    clock,
    standin::model::{Asked, Script, Turn},
};

/// Commands of one job.
pub const STEPS: usize = 2;
/// The file in an agent's home that its commands write to.
pub const LEDGER: &str = "ledger";

/// One time the model was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The job.
    pub job: u32,
    /// The agent's handle.
    pub agent: String,
    /// Which answer was asked for, from 0.
    pub position: usize,
    /// When.
    pub at: UnixMillis,
}

/// Every time the model was asked.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    /// All of them, in order.
    pub fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// What a message asks of agents.
pub fn order(agents: &[&str], job: u32) -> String {
    let names: Vec<String> = agents.iter().map(|agent| format!("@{agent}")).collect();
    format!("{} please do job {job}.", names.join(" "))
}

/// The line a step writes into the ledger.
pub fn line(job: u32, step: usize) -> String {
    format!("job {job} step {step}")
}

/// The job whose step wrote a line.
pub fn job_of(line: &str) -> Option<u32> {
    line.strip_prefix("job ")?.split(' ').next()?.parse().ok()
}

/// What is replied when a job is done.
pub fn reply(agent: &str, job: u32) -> String {
    format!("Job {job} is done by {agent}.")
}

/// The job a text is about.
pub fn job_in(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("please do job ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

/// The script; it records in `calls`.
pub fn script(calls: Calls) -> Script {
    Script::by(move |asked| turn(asked, &calls))
}

fn turn(asked: &Asked<'_>, calls: &Calls) -> Turn {
    let texts = asked.messages.iter().flat_map(|message| &message.blocks);
    let job = texts
        .filter_map(|block| match block {
            Block::Text { text } => job_in(text),
            _ => None,
        })
        .next_back();
    let Some(job) = job else {
        return Turn::say("There is no job.");
    };
    calls.record(Call {
        job,
        agent: asked.model.to_owned(),
        position: asked.position,
        at: clock::now(),
    });
    match asked.position {
        step if step < STEPS => {
            let line = line(job, step);
            let tenths = job % 7;
            let command = format!("echo '{line}' >> ~/{LEDGER}; sleep 0.{tenths}; echo '{line} was done'");
            Turn::say("I go on.").and_call("bash", json!({ "command": command }))
        }
        _ => Turn::say(reply(asked.model, job)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_read_from_its_order() {
        let order = order(&["ada", "bob"], 17);
        assert_eq!(job_in(&format!("somebody writes: {order} Thanks")), Some(17));
        assert_eq!(job_in("please do job of it"), None);
    }
}
