//! `roost sprites`: the sprite host alone.

use std::net::SocketAddr;

use serde_json::json;
use tokio::net::TcpListener;

use super::{
    Exit, Failure,
    options::{LogArgs, PlaceArgs, WallsArgs, put},
    output::OutputArgs,
    shutdown,
};
use crate::{
    all_in_one::{own_program, runtime},
    config::Secret,
    sprite::host,
};

/// Run a sprite host: the agents' computers, on this machine
///
/// It serves the Sprites API and keeps sprites in the data directory. Their commands run isolated from the machine and from each
/// other; where the machine does not allow that, the host says so and does not start.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  roost sprites --listen 127.0.0.1:7420 --data ./sprites --token \"$(openssl rand -hex 16)\"")]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The token that every request must carry
    #[arg(
        long,
        env = "ROOST_SPRITES_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    #[command(flatten)]
    walls: WallsArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.output.format();
    args.log.start()?;
    let mut config = args.place.config()?;
    let data = args.place.data()?;
    args.walls.lay_over(&mut config);
    config.sprites.listen = args.listen.unwrap_or(config.sprites.listen);
    put(&mut config.sprites.token, args.token.map(Secret::from));
    let Some(token) = config.sprites.token.clone() else {
        return Err(Failure::usage(
            "no_sprites_token",
            "a sprite host needs a token: whoever reaches it without one would run commands here; make one with \
             `openssl rand -hex 16` and give it by --token",
        ));
    };
    let listen = config.sprites.listen;
    runtime()?.block_on(async move {
        let shutdown = shutdown::listen()?;
        let failed = |error| Failure::listen(listen, &error);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let host = config.sprites.host(&data, token.expose(), own_program()?);
        format.print(
            &json!({ "event": "listening", "url": url }),
            &format!("listening on {url}"),
        );
        host::serve(listener, host, shutdown.asked())
            .await
            .map_err(|error| Failure::failed(error.code(), error))?;
        Ok(Exit::Ok)
    })
}
