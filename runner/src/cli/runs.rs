//! `roost runs`: what a person does with runs, through the public API.

mod journal;
mod show;

use std::time::{Duration, Instant};

use clap::{Subcommand, builder::PossibleValuesParser};
use roost_shared::{
    RunId,
    event::Event,
    question::Choice,
    run::Phase,
    text::{ago, line, plain},
};
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    client::{EdgeArgs, ListArgs, named, of_one},
    output::{self, Format, OutputArgs},
    table::table,
    views::{Run, RunDetail},
};
use crate::{
    all_in_one::runtime,
    api_client::{ApiClient, Patience},
    clock,
    edge_client::EdgeError,
};

/// Who follows a run waits so long for an edge that is away.
const WAITS: Patience = Patience {
    away: Duration::from_secs(60),
    ..Patience::ONCE
};
/// A token that is refused later than this was good at first.
const ACCEPTED: Duration = Duration::from_secs(60);

/// See runs, and cancel, pause, resume or answer them
///
/// Without a command it lists them, newest first.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  roost runs --data ./roost-data --phase waiting
  roost runs show 01J9ZD6M5N0000000000000000
  roost runs follow 01J9ZD6M5N0000000000000000
  roost runs answer 01J9ZD6M5N0000000000000000 done
  roost runs --edge https://roost.example --json | jq -r '.items[].id'"
)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them, newest first
    List(List),
    /// Show one: where it stands and why, what was sent, its journal
    Show(One),
    /// Show one's journal as it grows, until the run has ended
    ///
    /// With --json an event per line. Ends with Ctrl-C, too; the run goes on.
    Follow(One),
    /// End one; what it has not heard becomes a run after it
    Cancel(One),
    /// Pause one once it has finished its step, until it is resumed
    Pause(One),
    /// Let one go on that is paused or kept from runners, wake one that sleeps, try one again that failed
    ///
    /// One that failed goes on where it stood: no model answer and no tool result is asked for again.
    Resume(One),
    /// Answer a run's question
    Answer(Answer),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this phase
    #[arg(long, value_parser = PossibleValuesParser::new(Phase::ALL.map(Phase::as_str)))]
    phase: Option<String>,
    /// Only this agent's
    #[arg(long, value_name = "HANDLE")]
    agent: Option<String>,
    /// Only those older than this one
    #[arg(long, value_name = "RUN")]
    before: Option<RunId>,
    #[command(flatten)]
    page: ListArgs,
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its id
    run: RunId,
    #[command(flatten)]
    edge: EdgeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Without a choice the step is not run, and the agent reads the text.")]
struct Answer {
    /// The run's id
    run: RunId,
    /// One of the question's options
    #[arg(required_unless_present = "text", value_parser = PossibleValuesParser::new(Choice::ALL.map(Choice::as_str)))]
    choice: Option<String>,
    /// What else there is to say to the agent
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    edge: EdgeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn format(&self) -> Format {
        let output = match &self.verb {
            None => self.list.page.output,
            Some(Verb::List(list)) => list.page.output,
            Some(
                Verb::Show(one)
                | Verb::Follow(one)
                | Verb::Cancel(one)
                | Verb::Pause(one)
                | Verb::Resume(one),
            ) => one.output,
            Some(Verb::Answer(answer)) => answer.output,
        };
        output.format()
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        match args.verb.unwrap_or(Verb::List(args.list)) {
            Verb::List(which) => list(which).await,
            Verb::Show(one) => show(one).await,
            Verb::Follow(one) => follow(one).await,
            Verb::Cancel(one) => control(one, "cancel").await,
            Verb::Pause(one) => control(one, "pause").await,
            Verb::Resume(one) => control(one, "resume").await,
            Verb::Answer(said) => answer(said).await,
        }
    })?;
    Ok(Exit::Ok)
}

async fn list(which: List) -> Result<(), Failure> {
    let client = which.page.edge.client()?;
    let agent = named(&client, "agents", "handle", which.agent.as_deref()).await?;
    let filters = [
        ("phase", which.phase),
        ("agent", agent),
        ("cursor", which.before.map(|before| before.to_string())),
    ];
    let lines = |runs: &[Run]| {
        let now = clock::now();
        let rows: Vec<_> = runs
            .iter()
            .map(|run| {
                [
                    run.id.to_string(),
                    run.state(),
                    run.agent.handle.clone(),
                    line(&plain(&run.conversation.key), 40),
                    ago(now, run.created_at),
                    line(&plain(&format!("{}: {}", run.asked.by, run.asked.excerpt)), 60),
                ]
            })
            .collect();
        table(
            ["RUN", "STATE", "AGENT", "CONVERSATION", "CREATED", "ASKED"],
            &rows,
        )
    };
    which.page.print(&client, "runs", &filters, lines).await
}

async fn show(one: One) -> Result<(), Failure> {
    let client = one.edge.client()?;
    let failed = |error| of_one(&client, "run", one.run, error);
    let mut data: Value = client.get(&format!("runs/{}", one.run)).await.map_err(failed)?;
    let journal = client.journal(one.run).await.map_err(failed)?;
    let detail: RunDetail = output::understood(&data)?;
    data["journal"] = json!(journal);
    one.output.format().show(&data, &show::page(&detail, &journal));
    Ok(())
}

async fn follow(one: One) -> Result<(), Failure> {
    let format = one.output.format();
    let (mut writer, mut next) = (journal::Writer::default(), 0);
    loop {
        let client = one.edge.client_with(WAITS)?;
        let began = Instant::now();
        let tell = |event: Event| format.show(&event, &writer.lines(&event));
        match client.follow(one.run, &mut next, tell).await {
            Ok(()) => return Ok(()),
            // It was accepted, and is too old by now.
            Err(EdgeError::Refused(problem))
                if problem.code == "unauthorized"
                    && one.edge.makes_tokens()
                    && began.elapsed() > ACCEPTED => {}
            Err(error) => return Err(of_one(&client, "run", one.run, error)),
        }
    }
}

async fn control(one: One, verb: &str) -> Result<(), Failure> {
    let client = one.edge.client()?;
    told(&client, one.output.format(), one.run, verb, &json!({})).await
}

async fn answer(answer: Answer) -> Result<(), Failure> {
    let client = answer.edge.client()?;
    let body = json!({ "choice": answer.choice, "text": answer.text.unwrap_or_default() });
    told(&client, answer.output.format(), answer.run, "answer", &body).await
}

/// Does something to a run and says what it has come to.
async fn told(
    client: &ApiClient,
    format: Format,
    run: RunId,
    verb: &str,
    body: &Value,
) -> Result<(), Failure> {
    let done: Result<Value, EdgeError> = client.post(&format!("runs/{run}/{verb}"), body).await;
    let mut done = done.map_err(|error| of_one(client, "run", run, error))?;
    let text = match done["status"].as_str().unwrap_or_default() {
        "cancelling" => format!("{run}: its runner has been told, and ends it"),
        "pausing" => format!("{run}: its runner has been told, and pauses it when its step is finished"),
        "answered" => format!("{run}: answered; it goes on"),
        "resumed" => format!("{run}: resumed; it goes on where it stood"),
        status => format!("{run}: {status}"),
    };
    done["run"] = json!(run);
    format.show(&done, &text);
    Ok(())
}
