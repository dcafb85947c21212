//! `roost doctor`: checks a set-up.

use std::{env, io};

use serde_json::json;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, KeyArgs, PlaceArgs, WallsArgs, put},
    output::{self, Format, OutputArgs},
    shutdown,
};
use crate::{
    all_in_one::runtime,
    chaos::Progress,
    config::{Config, Secret},
    doctor::{
        self, Finding, Patient, Status,
        chaos::{Trial, examine},
    },
};

/// Check a set-up, and say what to do about what is missing
///
/// Looks at programs, data directory, master key, database, walls, edge, clocks, tokens, sprites and model providers; changes
/// nothing. Exit code 1 if anything fails.
///
/// With --chaos it tries this machine instead: it starts edge, runners and sprite host in a temporary directory, kills them
/// again and again while webhooks come in, and counts what was lost and what was doubled.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost doctor --data ./roost-data --edge http://127.0.0.1:8080
  roost doctor --chaos --kills 100")]
pub(super) struct Args {
    /// Kill processes of a set-up of its own while webhooks come in, and count what is lost
    #[arg(long)]
    chaos: bool,
    /// How many processes --chaos kills
    #[arg(long, value_name = "N", default_value_t = 20, requires = "chaos", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// What decides the faults of --chaos; the table names it, so that the same faults can come again
    #[arg(long, value_name = "NUMBER", requires = "chaos")]
    seed: Option<u64>,
    #[command(flatten)]
    walls: WallsArgs,
    /// The edge to ask
    #[arg(long, env = "ROOST_EDGE_URL", value_name = "URL")]
    edge: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.output.format();
    if args.chaos {
        return chaos(args, format);
    }
    let data = args.place.data()?;
    let mut config = args.place.config()?;
    args.database.lay_over(&mut config);
    args.key.lay_over(&mut config);
    let of = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    put(
        &mut config.runner.token,
        of("ROOST_RUNNER_TOKEN").map(Secret::from),
    );
    put(
        &mut config.sprites.token,
        of("ROOST_SPRITES_TOKEN").map(Secret::from),
    );
    put(&mut config.edge.public_url, of("ROOST_PUBLIC_URL"));
    config.sprites.url = of("ROOST_SPRITES_URL").unwrap_or(config.sprites.url);
    let edge = args.edge;
    let findings = runtime()?.block_on(doctor::examine(&Patient { data, config, edge }));
    let text: Vec<String> = findings.iter().map(line).collect();
    format.print(&findings, &text.join("\n"));
    let failed = findings.iter().any(|finding| finding.status == Status::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn chaos(args: Args, format: Format) -> Result<Exit, Failure> {
    if args.edge.is_some() || args.place.names_data() || args.database.names_one() {
        return Err(Failure::usage(
            "chaos_elsewhere",
            "--chaos kills processes, so it plays in a temporary directory and never on a set-up; leave out --edge, --data and \
             --database, and the variables ROOST_EDGE_URL, ROOST_DATA and ROOST_DATABASE_URL",
        ));
    }
    let mut config = Config::default();
    args.walls.lay_over(&mut config);
    let unusable = |error: io::Error| {
        let message =
            format!("no temporary directory can be made: {error}; set TMPDIR to a place that can be written");
        Failure::failed("no_temporary_directory", message)
    };
    let directory = tempfile::Builder::new()
        .prefix("roost-chaos-")
        .tempdir()
        .map_err(unusable)?;
    let trial = Trial {
        kills: args.kills,
        seed: args.seed,
        config,
    };
    let report = runtime()?.block_on(async {
        let shutdown = shutdown::listen()?;
        tokio::select! {
            outcome = examine(trial, directory.path(), |progress| told(format, progress)) => outcome,
            () = shutdown.asked() => Err(Failure::failed("interrupted", "the chaos was interrupted")),
        }
    })?;
    format.print(&json!({ "event": "report", "report": report }), &report.table());
    Ok(if report.is_kept() { Exit::Ok } else { Exit::Failed })
}

fn told(format: Format, progress: Progress) {
    if format == Format::Json {
        return;
    }
    if let Some(text) = progress.sentence() {
        output::note(&text);
    }
}

fn line(finding: &Finding) -> String {
    let status = match finding.status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    format!("{status}  {:<15} {}", finding.check, finding.message)
}
