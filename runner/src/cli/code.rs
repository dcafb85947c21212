//! `roost code`: makes a one-time code to sign in to the admin.

use super::{
    Exit, Failure,
    options::{KeyArgs, ListenArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::all_in_one::keys;

/// Make a link that signs you in to the admin, once
///
/// The link is signed with the master key and good for ten minutes; no database is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  roost code --public-url https://roost.example")]
pub(super) struct Args {
    /// Who signs in
    #[arg(long, default_value = "owner")]
    name: String,
    /// The workspace to sign in to
    #[arg(long, default_value = keys::WORKSPACE)]
    workspace: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let mut config = args.place.config()?;
    args.listen.lay_over(&mut config);
    args.key.lay_over(&mut config);
    let master = keys::master_key(&config, args.place.data().ok().as_deref())?;
    let url = match &config.edge.public_url {
        Some(url) => url.clone(),
        None => format!("http://{}", config.edge.listen),
    };
    let holder = keys::Holder {
        workspace: &args.workspace,
        name: &args.name,
    };
    let link = keys::login(&master, &url, holder)?;
    args.output.format().print(&link, &link.url);
    Ok(Exit::Ok)
}
