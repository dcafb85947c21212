//! `roost deliveries`: webhooks that came in, and their replay, through the public API.

use clap::{ArgGroup, Subcommand, builder::PossibleValuesParser};
use roost_shared::{
    DeliveryId, UnixMillis,
    text::{ago, count, line, plain},
};
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure,
    client::{EdgeArgs, ListArgs, named, of_one},
    moment,
    output::{self, Format, OutputArgs},
    table::table,
    views::{DeliveryRow, Replayed},
};
use crate::{
    all_in_one::runtime,
    api_client::{ApiClient, Page},
    clock,
};

/// See webhooks that came in, and route again what nobody listened to
///
/// Without a command it lists them, newest first.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  roost deliveries --data ./roost-data --verdict ignored
  roost deliveries replay 01J9ZD6M5N0000000000000000
  roost deliveries replay --from 2h --integration github"
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
    /// Print one as JSON, with headers and body
    Show(Show),
    /// Route one again by the set-up of today, or all of a span to which no agent listened
    ///
    /// An agent never takes up a delivery twice, however often it is replayed.
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those
    #[arg(long, value_parser = PossibleValuesParser::new(["accepted", "ignored"]))]
    verdict: Option<String>,
    /// Only this integration's
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// Only those older than this one
    #[arg(long, value_name = "DELIVERY")]
    before: Option<DeliveryId>,
    #[command(flatten)]
    page: ListArgs,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Its id
    delivery: DeliveryId,
    #[command(flatten)]
    edge: EdgeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).args(["delivery", "from"]))]
struct Replay {
    /// One, by its id
    delivery: Option<DeliveryId>,
    /// Those received then or later: a date, a time, or how long ago (2h, 3d)
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    from: Option<UnixMillis>,
    /// Those received before
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse, requires = "from")]
    until: Option<UnixMillis>,
    /// Those of this integration
    #[arg(long, value_name = "NAME", requires = "from")]
    integration: Option<String>,
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
            Some(Verb::Show(show)) => show.output,
            Some(Verb::Replay(replay)) => replay.output,
        };
        output.format()
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        match args.verb.unwrap_or(Verb::List(args.list)) {
            Verb::List(which) => list(which).await,
            Verb::Show(which) => show(which).await,
            Verb::Replay(which) => replay(which).await,
        }
    })?;
    Ok(Exit::Ok)
}

async fn list(which: List) -> Result<(), Failure> {
    let client = which.page.edge.client()?;
    let integration = named(&client, "integrations", "name", which.integration.as_deref()).await?;
    let filters = [
        ("verdict", which.verdict),
        ("integration", integration),
        ("cursor", which.before.map(|before| before.to_string())),
    ];
    which
        .page
        .print(&client, "deliveries", &filters, |deliveries: &[DeliveryRow]| {
            let now = clock::now();
            let rows: Vec<_> = deliveries
                .iter()
                .map(|delivery| {
                    [
                        delivery.id.to_string(),
                        delivery.verdict.clone(),
                        delivery.integration.name.clone(),
                        ago(now, delivery.received_at),
                        became(
                            delivery.event.as_deref(),
                            delivery.runs.len(),
                            delivery.reason.as_deref(),
                        ),
                    ]
                })
                .collect();
            table(["DELIVERY", "VERDICT", "INTEGRATION", "CAME", "WHAT"], &rows)
        })
        .await
}

/// What it was and what follows from it, or why nothing does.
fn became(event: Option<&str>, runs: usize, reason: Option<&str>) -> String {
    let runs = count(runs as u64, "run");
    let words: Vec<&str> = event.into_iter().chain([reason.unwrap_or(&runs)]).collect();
    line(&plain(&words.join(", ")), 90)
}

async fn show(which: Show) -> Result<(), Failure> {
    let client = which.edge.client()?;
    let delivery: Value = client
        .get(&format!("deliveries/{}", which.delivery))
        .await
        .map_err(|error| of_one(&client, "delivery", which.delivery, error))?;
    let text = serde_json::to_string_pretty(&delivery).unwrap_or_default();
    which.output.format().show(&delivery, &text);
    Ok(())
}

async fn replay(which: Replay) -> Result<(), Failure> {
    let client = which.edge.client()?;
    let answers = match which.delivery {
        Some(delivery) => {
            let answer = client
                .post(&format!("deliveries/{delivery}/replay"), &json!({}))
                .await;
            vec![answer.map_err(|error| of_one(&client, "delivery", delivery, error))?]
        }
        None => {
            let mut span = Map::new();
            for (name, moment) in [("from", which.from), ("until", which.until)] {
                span.extend(moment.map(|moment| (name.to_owned(), json!(moment))));
            }
            let integration = named(&client, "integrations", "name", which.integration.as_deref()).await?;
            span.extend(integration.map(|id| ("integration".to_owned(), json!(id))));
            of_span(&client, span).await?
        }
    };
    let replayed: Vec<Replayed> = answers.iter().map(output::understood).collect::<Result<_, _>>()?;
    let lines: Vec<String> = replayed.iter().map(taken_up).collect();
    let text = match lines.as_slice() {
        [] => "there is none in that span to which no agent listened".to_owned(),
        lines => lines.join("\n"),
    };
    which.output.format().show(&json!({ "items": answers }), &text);
    Ok(())
}

/// Replays all of a span, a page at a time.
async fn of_span(client: &ApiClient, mut span: Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let mut answers = Vec::new();
    loop {
        let page: Page<Value> = client
            .post("deliveries/replay", &span)
            .await
            .map_err(|error| Failure::edge(client.base(), error))?;
        answers.extend(page.items);
        match page.next {
            Some(next) => span.insert("cursor".into(), json!(next)),
            None => return Ok(answers),
        };
    }
}

fn taken_up(replayed: &Replayed) -> String {
    let runs: Vec<String> = replayed.runs.iter().map(ToString::to_string).collect();
    let what = match (runs.is_empty(), &replayed.reason) {
        (false, _) => format!("taken up by {}", runs.join(", ")),
        (true, Some(reason)) => reason.clone(),
        (true, None) => "nobody takes it up".to_owned(),
    };
    format!("{}: {what}", replayed.delivery)
}
