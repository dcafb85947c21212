//! `roost token`: makes tokens for runners and for the API.

use super::{
    Exit, Failure,
    options::{KeyArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::all_in_one::keys::{self, Holder, Use};

/// Make a token for a runner or for the API
///
/// Tokens are signed with the master key; no database is needed. The token alone goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roost token runner --name laptop
  roost token api --name deploy-script --days 30 --json")]
pub(super) struct Args {
    /// What the token is for
    #[arg(value_enum)]
    purpose: Purpose,
    /// Who will hold it
    #[arg(long)]
    name: String,
    /// Days it is good for
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// The workspace it is good in
    #[arg(long, default_value = keys::WORKSPACE)]
    workspace: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Purpose {
    /// Leases runs and writes their journals
    Runner,
    /// Uses the public API as an owner of the workspace
    Api,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let mut config = args.place.config()?;
    args.key.lay_over(&mut config);
    let master = keys::master_key(&config, args.place.data().ok().as_deref())?;
    let purpose = match args.purpose {
        Purpose::Runner => Use::Runner,
        Purpose::Api => Use::Api,
    };
    let holder = Holder {
        workspace: &args.workspace,
        name: &args.name,
    };
    let minted = keys::token(&master, purpose, holder, args.days)?;
    args.output.format().print(&minted, &minted.token);
    Ok(Exit::Ok)
}
