//! `roost edge`: the native edge alone.

use serde_json::json;

use super::{
    Exit, Failure,
    options::{DatabaseArgs, KeyArgs, ListenArgs, LogArgs, PlaceArgs},
    output::OutputArgs,
    shutdown,
};
use crate::all_in_one::{edge, keys, runtime};

/// Run the native edge: webhooks, the runners' API, the admin
///
/// It needs a database that `roost migrate` prepared, and a master key. It listens on this machine only unless --listen
/// says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  export ROOST_MASTER_KEY=$(openssl rand -base64 32)
  roost migrate --database roost.db
  roost edge --database roost.db --listen 127.0.0.1:8080")]
pub(super) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.output.format();
    args.log.start()?;
    let mut config = args.place.config()?;
    args.listen.lay_over(&mut config);
    args.database.lay_over(&mut config);
    args.key.lay_over(&mut config);
    let master = keys::master_key(&config, args.place.data().ok().as_deref())?;
    runtime()?.block_on(async move {
        let shutdown = shutdown::listen()?;
        let bound = edge::bind(&config, &master).await?;
        let url = bound.url().to_owned();
        format.print(
            &json!({ "event": "listening", "url": url }),
            &format!("listening on {url}"),
        );
        bound.serve(shutdown.asked()).await?;
        Ok(Exit::Ok)
    })
}
