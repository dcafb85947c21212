//! The command line: one file per command.
//!
//! Invariants: data goes to standard output, everything else to standard error; an error is one sentence that says what
//! to do; the exit code is 0 for ok, 1 for failed, 2 for wrong usage or configuration.

mod backup;
mod client;
mod code;
mod config;
mod deliveries;
mod demo;
mod doctor;
mod edge;
mod effects;
mod failure;
mod migrate;
mod moment;
mod options;
mod output;
mod restore;
mod runner;
mod runs;
mod send;
mod shutdown;
mod sprites;
mod table;
mod token;
mod up;
mod views;

use std::{env, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::sprite::host::init;

pub use failure::{Exit, Failure};
use output::Format;

/// What stands below the help of `roost` itself.
const AFTER_HELP: &str = "\
Configuration: flags count more than ROOST_… variables, those more than roost.toml (`roost config` explains it).
Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration.

Example:
  roost up --data ./roost-data";

/// Durable AI agents: webhooks become runs, runs become replies.
#[derive(Debug, Parser)]
#[command(name = "roost", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Edge(edge::Args),
    Runner(runner::Args),
    Sprites(sprites::Args),
    Runs(Box<runs::Args>),
    Effects(Box<effects::Args>),
    Deliveries(Box<deliveries::Args>),
    Migrate(migrate::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Token(token::Args),
    Code(code::Args),
    Send(send::Args),
    Doctor(doctor::Args),
    Config(config::Args),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    if let Some(code) = init::main(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && env::args_os().any(|argument| argument == "--json") => {
            let failure = Failure::usage("usage", sentence(&error));
            Format::Json.error(&failure);
            return failure.exit.into();
        }
        Err(error) => error.exit(),
    };
    let (format, outcome) = match cli.command {
        Command::Demo(args) => (args.output.format(), demo::run(args)),
        Command::Up(args) => (args.output.format(), up::run(args)),
        Command::Runner(args) => (args.output.format(), runner::run(args)),
        Command::Sprites(args) => (args.output.format(), sprites::run(args)),
        Command::Runs(args) => (args.format(), runs::run(*args)),
        Command::Effects(args) => (args.format(), effects::run(*args)),
        Command::Deliveries(args) => (args.format(), deliveries::run(*args)),
        Command::Send(args) => (args.output.format(), send::run(args)),
        Command::Doctor(args) => (args.output.format(), doctor::run(args)),
        Command::Edge(args) => (args.output.format(), edge::run(args)),
        Command::Migrate(args) => (args.output.format(), migrate::run(args)),
        Command::Backup(args) => (args.output.format(), backup::run(args)),
        Command::Restore(args) => (args.output.format(), restore::run(args)),
        Command::Token(args) => (args.output.format(), token::run(args)),
        Command::Code(args) => (args.output.format(), code::run(args)),
        Command::Config(args) => (Format::Text, config::run(&args)),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            format.error(&failure);
            failure.exit.into()
        }
    }
}

/// What is wrong with the arguments, in one line; how to use them is left to `--help`.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or_default();
    let words: Vec<&str> = said.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}
