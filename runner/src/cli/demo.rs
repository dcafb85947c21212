//! `roost demo`: one real piece of work, watched.

use std::{
    env,
    io::{self, IsTerminal},
    time::Duration,
};

use serde_json::json;

use super::{
    Exit, Failure,
    options::{LogArgs, WallsArgs},
    output::{Format, OutputArgs},
    shutdown,
};
use crate::{
    all_in_one::runtime,
    config::Config,
    demo::{self, Demo, Paint},
    node,
};

const SCRIPTED: &str = "The model is SCRIPTED: it plays a fixed part and goes on only while the tools really print what it expects. Edge,\n\
     database, lease, sprite, tools and outbox are the real ones. ANTHROPIC_API_KEY=… or --model uses a real model.";

/// Watch an agent do real work, on this machine, in a few seconds
///
/// Starts everything in a temporary directory, sends itself a signed GitHub webhook, and shows what happens until the reply
/// is there. The model is scripted unless ANTHROPIC_API_KEY is set or --model names one. It needs git, bash and python3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost demo
  ANTHROPIC_API_KEY=… roost demo
  OPENAI_BASE_URL=http://127.0.0.1:11434/v1 roost demo --model openai/qwen3-coder")]
pub(super) struct Args {
    /// The model, `provider/model`, or `scripted` [default: anthropic/claude-sonnet-4-5 if ANTHROPIC_API_KEY is set, else scripted]
    #[arg(long, env = "ROOST_DEMO_MODEL")]
    model: Option<String>,
    /// Seconds it may take
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Keep the temporary directory
    #[arg(long)]
    keep: bool,
    /// A configuration file, for providers of models
    #[arg(long, env = "ROOST_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// What to log, as for `roost up`
    #[arg(long, env = "ROOST_LOG", value_name = "FILTER", default_value = "error")]
    log: String,
    #[command(flatten)]
    walls: WallsArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.output.format();
    LogArgs::from(args.log).start()?;
    let mut config = match &args.config {
        Some(file) => Config::read(file)?,
        None => Config::default(),
    };
    args.walls.lay_over(&mut config);
    let model = choose(args.model, &config)?;
    let paint = if io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none() {
        Paint::Colours
    } else {
        Paint::Plain
    };
    let unusable = |error: io::Error| {
        let message =
            format!("no temporary directory can be made: {error}; set TMPDIR to a place that can be written");
        Failure::failed("no_temporary_directory", message)
    };
    let mut directory = tempfile::Builder::new()
        .prefix("roost-demo-")
        .tempdir()
        .map_err(unusable)?;
    directory.disable_cleanup(args.keep);
    let summary = runtime()?.block_on(async {
        let shutdown = shutdown::listen()?;
        let walls = demo::choose_walls(&mut config, directory.path(), model.as_deref()).await?;
        begin(format, paint, model.as_deref(), &walls, directory.path());
        let demo = Demo {
            config,
            model: model.clone(),
            limit: Duration::from_secs(args.timeout),
        };
        let playing = demo::play(demo, directory.path(), |moment| {
            format.print(moment, &moment.lines(paint));
        });
        tokio::select! {
            outcome = playing => outcome,
            () = shutdown.asked() => Err(Failure::failed("interrupted", "the demo was interrupted")),
        }
    })?;
    let end = json!({ "event": "summary", "scripted": model.is_none(), "summary": summary });
    format.print(
        &end,
        &format!(
            "\n{}\n{}",
            summary.table(paint),
            what_next(paint, model.as_deref())
        ),
    );
    Ok(Exit::Ok)
}

/// The model to ask; none for the scripted one.
fn choose(asked: Option<String>, config: &Config) -> Result<Option<String>, Failure> {
    let has = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    match asked {
        Some(scripted) if scripted == "scripted" => Ok(None),
        Some(model) => {
            let providers = node::with_usual_providers(config.models.clone()).providers;
            match model.split_once('/') {
                Some((provider, _)) if providers.contains_key(provider) => Ok(Some(model)),
                Some((provider, _)) => Err(Failure::usage(
                    "model_provider_unknown",
                    format!(
                        "no provider {provider:?} is configured: set ANTHROPIC_API_KEY, or OPENAI_BASE_URL or OPENAI_API_KEY, \
                         or describe it in a file given by --config"
                    ),
                )),
                None => Err(Failure::usage(
                    "model_invalid",
                    "a model is written provider/model, e.g. openai/gpt-5",
                )),
            }
        }
        None if has("ANTHROPIC_API_KEY") => Ok(Some("anthropic/claude-sonnet-4-5".into())),
        None if has("OPENAI_BASE_URL") || has("OPENAI_API_KEY") => Err(Failure::usage(
            "no_model",
            "OPENAI_BASE_URL or OPENAI_API_KEY is set: say which model with --model openai/NAME, or use --model scripted",
        )),
        None => Ok(None),
    }
}

fn begin(format: Format, paint: Paint, model: Option<&str>, walls: &str, directory: &std::path::Path) {
    let about = match model {
        None => SCRIPTED.to_owned(),
        Some(model) => format!("The model is {model}; what it costs goes on your account."),
    };
    let text = format!(
        "{}\n{about}\nIn this demo {walls}.\nAll files are in {}\n",
        paint.bold("Roost demo: a comment on GitHub, and what an agent makes of it"),
        directory.display()
    );
    let begin = json!({ "event": "begin", "scripted": model.is_none(), "model": model.unwrap_or("scripted"), "walls": walls, "directory": directory });
    format.print(&begin, &text);
}

fn what_next(paint: Paint, model: Option<&str>) -> String {
    let said = match model {
        None => "The model was scripted; all else was real.",
        Some(_) => "All of it was real but GitHub.",
    };
    format!(
        "{said}\n\n{}\n  roost up                 the same for good, on a data directory; prints a link to the admin\n  \
         roost send --help        try your own set-up with signed webhooks\n  \
         roost doctor             check a set-up\n",
        paint.bold("What next")
    )
}
