//! `roost doctor`: checks a set-up.

use std::env;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, KeyArgs, PlaceArgs, put},
    output::OutputArgs,
};
use crate::{
    all_in_one::runtime,
    config::Secret,
    doctor::{self, Finding, Patient, Status},
};

/// Check a set-up, and say what to do about what is missing
///
/// Looks at programs, data directory, master key, database, walls, edge, clocks, tokens, sprites and model providers; changes
/// nothing. Exit code 1 if anything fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  roost doctor --data ./roost-data --edge http://127.0.0.1:8080")]
pub(super) struct Args {
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

fn line(finding: &Finding) -> String {
    let status = match finding.status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    format!("{status}  {:<15} {}", finding.check, finding.message)
}
