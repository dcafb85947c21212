//! A sprite's init: our own binary again, as the first process of an awake sprite.
//!
//! Invariant: it holds nothing of the host but the socket to it, and everything it starts is inside the same walls. When the
//! socket closes it ends, and with it, as the first process of its pid namespace, every process of the sprite.
//!
//! It is started twice: the outer stage becomes the sprite's user, makes the namespaces and starts the inner stage inside
//! them; then it only waits, so that the host has a child to wait for and to kill. Neither has a second thread.

mod confine;
mod network;
mod outer;
mod ports;
mod serve;
mod start;
pub(super) mod wire;
mod world;

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

pub(super) use network::PROXY_PORT;
pub(super) use outer::USER;
use wire::{Orders, Reply};

/// The word behind the program's name that makes it a sprite's init. The outer stage.
pub(super) const OUTER: &str = "sprite-init";
/// The same for the inner stage.
const INNER: &str = "sprite-init-inside";

/// What went wrong on the way to a running init.
#[derive(Debug)]
struct Stop {
    doing: &'static str,
    source: io::Error,
}

/// Says what was being done when an error came up.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Stop>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Stop> {
        self.map_err(|error| Stop {
            doing,
            source: error.into(),
        })
    }
}

/// Runs as a sprite's init if that is what the arguments say; to be called before anything else, above all before a second
/// thread. `None` for every other command.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = arguments.next();
    let stage = arguments.next()?;
    let inner = match stage.to_str()? {
        OUTER => false,
        INNER => true,
        _ => return None,
    };
    let orders = arguments.next().and_then(|orders| orders.into_string().ok());
    let Some((orders, socket)) = orders.and_then(|orders| Some((orders, take_socket().ok()?))) else {
        eprintln!("roost {OUTER} is started by a sprite host; use `roost sprites`");
        return Some(ExitCode::from(2));
    };
    let run = if inner { inside } else { outer::run };
    Some(match run(&orders, &socket) {
        Ok(code) => code,
        Err(stop) => {
            let reply = Reply::NotReady {
                doing: stop.doing.into(),
                reason: stop.source.to_string(),
            };
            // The host may be gone; then there is nobody to tell.
            let _ = wire::send(&socket, &reply, &[]);
            ExitCode::FAILURE
        }
    })
}

/// Standard input is the socket to the host. A copy is kept, and closed on exec; 0 becomes the empty file.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let empty = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&empty)?;
    Ok(socket)
}

fn parse(orders: &str) -> Result<Orders, Stop> {
    serde_json::from_str(orders).doing("read the orders")
}

/// The inner stage.
fn inside(orders: &str, socket: &OwnedFd) -> Result<ExitCode, Stop> {
    let orders = parse(orders)?;
    let Some(walls) = &orders.walls else {
        let files = String::new();
        wire::send(socket, &Reply::Ready { files }, &[]).doing("report to the host")?;
        return serve::serve(socket).doing("serve the host");
    };
    world::enter(&orders.name, walls)?;
    let proxy = network::raise()?;
    let files = confine::confine(walls)?;
    wire::send(socket, &Reply::Ready { files }, &[proxy.as_fd()]).doing("report to the host")?;
    drop(proxy);
    serve::serve(socket).doing("serve the host")
}
