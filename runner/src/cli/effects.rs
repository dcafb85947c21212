//! `roost effects`: what became visible outside or did not, and what a person decides about it, through the public API.

use clap::{ArgGroup, Subcommand, builder::PossibleValuesParser};
use roost_shared::{
    EffectId, RunId, UnixMillis,
    text::{ago, count, line, plain},
};
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure,
    client::{EdgeArgs, ListArgs, named, of_one},
    moment,
    output::{self, Format, OutputArgs},
    table::{facts, table},
    views::EffectRow,
};
use crate::{all_in_one::runtime, api_client::ApiClient, clock};

const STATES: [&str; 5] = ["pending", "sending", "sent", "failed", "unknown"];
/// What the edge sends again by one request.
const MOST: u64 = 5_000;

/// See replies and other effects, and send again what failed
///
/// Without a command it lists them, newest first.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  roost effects --data ./roost-data --state failed
  roost effects replay 01J9ZD6M5N0000000000000000
  roost effects replay --integration github --from 2h
  roost effects replay --all"
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
    /// Show one: what it says, how it stands and why
    Show(One),
    /// Send again what failed: one, some, those of an integration or of a span, or all
    ///
    /// Each keeps its idempotency key. Those of which nobody knows whether they arrived are sent again only when they are
    /// named alone, or with --unknown.
    Replay(Replay),
    /// Say that one arrived of which nobody knew
    Arrived(One),
    /// Say that one that waits is not to be sent any more
    Drop(One),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this state
    #[arg(long, value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
    /// Only this integration's
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// Only this run's
    #[arg(long)]
    run: Option<RunId>,
    /// Only those older than this one
    #[arg(long, value_name = "EFFECT")]
    before: Option<EffectId>,
    #[command(flatten)]
    page: ListArgs,
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its id
    effect: EffectId,
    #[command(flatten)]
    edge: EdgeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["effects", "integration", "from", "all"]))]
struct Replay {
    /// Their ids, at most 500
    #[arg(value_name = "EFFECT", num_args = 0..=500)]
    effects: Vec<EffectId>,
    /// Those of this integration
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// Those queued then or later: a date, a time, or how long ago (2h, 3d)
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    from: Option<UnixMillis>,
    /// Those queued before
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    until: Option<UnixMillis>,
    /// All that failed
    #[arg(long, conflicts_with_all = ["effects", "integration", "from"])]
    all: bool,
    /// Also those of which nobody knows whether they arrived: they may then be there twice
    #[arg(long)]
    unknown: bool,
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
            Some(Verb::Show(one) | Verb::Arrived(one) | Verb::Drop(one)) => one.output,
            Some(Verb::Replay(replay)) => replay.output,
        };
        output.format()
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        match args.verb.unwrap_or(Verb::List(args.list)) {
            Verb::List(which) => list(which).await,
            Verb::Show(one) => show(one).await,
            Verb::Replay(which) => replay(which).await,
            Verb::Arrived(one) => decide(one, "arrived").await,
            Verb::Drop(one) => decide(one, "drop").await,
        }
    })?;
    Ok(Exit::Ok)
}

async fn list(which: List) -> Result<(), Failure> {
    let client = which.page.edge.client()?;
    let integration = named(&client, "integrations", "name", which.integration.as_deref()).await?;
    let filters = [
        ("state", which.state),
        ("integration", integration),
        ("run", which.run.map(|run| run.to_string())),
        ("cursor", which.before.map(|before| before.to_string())),
    ];
    which
        .page
        .print(&client, "effects", &filters, |effects: &[EffectRow]| {
            let now = clock::now();
            let rows: Vec<_> = effects
                .iter()
                .map(|effect| {
                    [
                        effect.id.to_string(),
                        effect.standing(),
                        effect.attempts.to_string(),
                        ago(now, effect.created_at),
                        effect.run.map(|run| run.to_string()).unwrap_or_default(),
                        line(&plain(effect.said()), 60),
                    ]
                })
                .collect();
            table(["EFFECT", "STATE", "TRIES", "QUEUED", "RUN", "TEXT"], &rows)
        })
        .await
}

async fn show(one: One) -> Result<(), Failure> {
    let client = one.edge.client()?;
    let effect: Value = client
        .get(&format!("effects/{}", one.effect))
        .await
        .map_err(|error| of_one(&client, "effect", one.effect, error))?;
    shown(one.output.format(), &effect)
}

async fn decide(one: One, verb: &str) -> Result<(), Failure> {
    let client = one.edge.client()?;
    changed(&client, one.output.format(), one.effect, verb).await
}

/// Does something to one effect and shows what has become of it.
async fn changed(client: &ApiClient, format: Format, effect: EffectId, verb: &str) -> Result<(), Failure> {
    let changed: Value = client
        .post(&format!("effects/{effect}/{verb}"), &json!({}))
        .await
        .map_err(|error| of_one(client, "effect", effect, error))?;
    shown(format, &changed)
}

fn shown(format: Format, data: &Value) -> Result<(), Failure> {
    let effect: EffectRow = output::understood(data)?;
    let mut page = vec![("effect", effect.id.to_string()), ("state", effect.standing())];
    page.extend(effect.reason.clone().map(|reason| ("", reason)));
    if effect.waits_for_person {
        let id = effect.id;
        let ways = format!(
            "look in its channel, then `roost effects arrived {id}`, `… drop {id}` or `… replay {id}`"
        );
        page.push(("to do", ways));
    }
    page.extend(effect.due_at.map(|due| ("due", moment::write(due))));
    page.push(("tries", effect.attempts.to_string()));
    page.push(("queued", moment::write(effect.created_at)));
    page.extend(effect.run.map(|run| ("run", run.to_string())));
    page.extend(effect.external_id.clone().map(|id| ("there as", id)));
    page.push(("text", effect.said().trim().to_owned()));
    format.show(data, &facts(&page));
    Ok(())
}

async fn replay(which: Replay) -> Result<(), Failure> {
    let client = which.edge.client()?;
    let format = which.output.format();
    if let ([effect], None, None, None) = (
        which.effects.as_slice(),
        &which.integration,
        which.from,
        which.until,
    ) {
        return changed(&client, format, *effect, "replay").await;
    }
    let mut body = Map::new();
    if !which.effects.is_empty() {
        body.insert("ids".into(), json!(which.effects));
    }
    let integration = named(&client, "integrations", "name", which.integration.as_deref()).await?;
    body.extend(integration.map(|id| ("integration".to_owned(), json!(id))));
    let from = if which.all {
        Some(UnixMillis(0))
    } else {
        which.from
    };
    for (name, moment) in [("from", from), ("until", which.until)] {
        body.extend(moment.map(|moment| (name.to_owned(), json!(moment))));
    }
    if which.unknown {
        body.insert("states".into(), json!(["failed", "unknown"]));
    }
    let answer: Value = client
        .post("effects/replay", &body)
        .await
        .map_err(|error| Failure::edge(client.base(), error))?;
    let replayed = answer["replayed"].as_u64().unwrap_or_default();
    let more = if replayed >= MOST {
        "; there may be more: say it again"
    } else {
        ""
    };
    let text = format!("{} sent again{more}", count(replayed, "effect"));
    format.show(&answer, &text);
    Ok(())
}
