//! What a host and a sprite's init say to each other: one JSON message per packet, descriptors beside it.
//!
//! Invariant: the host trusts nothing that comes from an init beyond its own bounds: a packet that is too long, is not JSON or
//! brings other descriptors than its kind has is an error, and the sprite is ended.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::sprite::host::syscalls::Tracing;

/// The longest packet; a command with its environment fits.
pub(in crate::sprite::host) const MAX_PACKET: usize = 192 << 10;
/// Descriptors beside one packet: stdin, stdout, stderr.
const MAX_DESCRIPTORS: usize = 3;

/// What an init is told when it is started, as its last argument.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sprite::host) struct Orders {
    /// Host name inside.
    pub(in crate::sprite::host) name: String,
    /// `None`: no namespaces, commands are plain processes.
    pub(in crate::sprite::host) walls: Option<Walls>,
}

/// How a sprite is walled in.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sprite::host) struct Walls {
    /// What to write to so as to be in the sprite's cgroup; `None` where it has none.
    pub(in crate::sprite::host) group: Option<PathBuf>,
    /// The user and group outside that the sprite's own user is; `None` for whoever runs the host.
    pub(in crate::sprite::host) user: Option<u32>,
    /// More of the host's directories to show, read-only, under their own paths.
    pub(in crate::sprite::host) shared: Vec<String>,
    pub(in crate::sprite::host) tracing: Tracing,
    /// Bytes of memory of one process.
    pub(in crate::sprite::host) memory: u64,
    /// Bytes of one file.
    pub(in crate::sprite::host) file: u64,
    /// Processes and threads at once.
    pub(in crate::sprite::host) processes: u64,
    /// Bytes of each of the file systems in memory (`/run`, `/dev/shm`).
    pub(in crate::sprite::host) memory_files: u64,
}

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sprite::host) enum Request {
    /// Start a command.
    Start(Start),
    /// Send a signal to a command's process group, or to its terminal's foreground group.
    Signal { id: u64, signal: i32 },
    /// Kill a command with everything in its process session and everything those started.
    Kill { id: u64 },
    /// Stop every process that runs.
    Freeze,
    /// Let those go on that were stopped for it.
    Thaw,
    /// Connect to an address inside.
    Connect { id: u64, address: SocketAddr },
    /// Which ports listen.
    Ports { id: u64 },
}

/// A command to start.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sprite::host) struct Start {
    pub(in crate::sprite::host) id: u64,
    pub(in crate::sprite::host) program: String,
    /// The program's own name first.
    pub(in crate::sprite::host) arguments: Vec<String>,
    pub(in crate::sprite::host) dir: String,
    pub(in crate::sprite::host) env: Vec<(String, String)>,
    /// Whether someone will write to it; a terminal is always open.
    pub(in crate::sprite::host) stdin: bool,
    /// Rows and columns of its terminal; `None` for pipes.
    pub(in crate::sprite::host) tty: Option<(u16, u16)>,
}

/// From an init.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sprite::host) enum Reply {
    /// It is ready; what Landlock does, empty without walls. Beside it: the socket that the sprite's proxy listens on, when it
    /// has a network of its own.
    Ready { files: String },
    /// It can't get ready: what it was doing, and why it failed.
    NotReady { doing: String, reason: String },
    /// The command runs. Beside it: its stdin if asked for, stdout and stderr; or the terminal.
    Started { id: u64, pid: u32 },
    /// The command does not run.
    Refused { id: u64, errno: i32 },
    /// The command itself ended: its exit code, or 128 + signal.
    Exited { id: u64, code: i32 },
    /// Every process is stopped.
    Frozen,
    /// Beside it: the connection, perhaps still on its way.
    Connected { id: u64 },
    /// Nothing listens there.
    NotConnected { id: u64, errno: i32 },
    /// The ports that listen, lowest first.
    Ports { id: u64, ports: Vec<ListeningPort> },
}

/// A TCP port that a process in the sprite listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::sprite::host) struct ListeningPort {
    pub(in crate::sprite::host) port: u16,
    pub(in crate::sprite::host) address: String,
    /// 0 where it can't be told.
    pub(in crate::sprite::host) pid: u32,
}

/// Sends one packet.
pub(in crate::sprite::host) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    if packet.len() > MAX_PACKET {
        return Err(io::ErrorKind::ArgumentListTooLong.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&packet)], &mut beside, flags))?;
    Ok(())
}

/// Receives one packet; `None` when the other side is gone. `buffer` has room for [`MAX_PACKET`] bytes.
pub(in crate::sprite::host) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(buffer)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let descriptors: Vec<OwnedFd> = beside
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let message = serde_json::from_slice(&buffer[..received.bytes])?;
    Ok(Some((message, descriptors)))
}
