//! An awake sprite: its init process, and what can be asked of it.
//!
//! Invariant: dropping the last handle ends the init and with it every process of the sprite. When the init is gone, whoever
//! waits for an answer or an exit hears so at once.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::Pid,
};
use tokio::{
    net::{TcpStream, UnixDatagram},
    process::{Child, Command},
    sync::{oneshot, watch},
    task::spawn_blocking,
    time,
};

use super::{
    cgroup::Group,
    init::{
        OUTER,
        wire::{ListeningPort, MAX_PACKET, Orders, Reply, Request, Start},
    },
    link::{ANSWER_WITHIN, Link, receive},
    process::{self, Started},
    tree,
};
use crate::sprite::Signal;

/// How long an init may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The handle to an awake sprite.
#[derive(Debug)]
pub(super) struct Sandbox {
    link: Arc<Link>,
    /// Its outer stage, as the host knows it.
    init: Option<Pid>,
    /// By which the kernel bounds and ends all of it, where it can.
    group: Option<Arc<Group>>,
    /// What Landlock does for it; empty without walls.
    pub(super) files: String,
    /// Where the sprite's requests to the outside arrive, until somebody takes it.
    proxy: Mutex<Option<TcpListener>>,
    /// Turns true when the init is gone.
    ended: watch::Receiver<bool>,
    /// Dropped with the handle or by [`Sandbox::end`], which ends the reading task and the init with it.
    alive: Mutex<Option<oneshot::Sender<()>>>,
}

/// A command in the sandbox, to signal it.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    id: u64,
    pub(super) pid: u32,
    link: Arc<Link>,
}

impl Sandbox {
    /// Starts the init `program` in the sprite's directory and waits until it is ready. It goes into `group` first of all.
    pub(super) async fn start(
        program: &Path,
        root: &Path,
        mut orders: Orders,
        group: Option<Group>,
    ) -> io::Result<Self> {
        if let (Some(walls), Some(group)) = (&mut orders.walls, &group) {
            walls.group = Some(group.entrance());
        }
        let mut group = group.map(Arc::new);
        let begun = match begin(program, root, &orders).await {
            Ok(begun) => begun,
            Err(error) => {
                remove(group).await;
                return Err(error);
            }
        };
        let id = begun.child.id();
        let init = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if group
            .as_ref()
            .is_some_and(|group| !init.is_some_and(|init| group.holds(init)))
        {
            tracing::warn!(
                sprite = orders.name,
                "the sprite's init could not enter its cgroup; its memory is watched by the host alone"
            );
            remove(group.take()).await;
        }
        let link = Arc::new(Link::new(begun.socket));
        let (ended, watch_ended) = watch::channel(false);
        let (alive, gone) = oneshot::channel();
        let attending = attend(
            Arc::clone(&link),
            begun.buffer,
            begun.child,
            group.clone(),
            gone,
            ended,
        );
        tokio::spawn(attending);
        Ok(Self {
            link,
            init,
            group,
            files: begun.files,
            proxy: Mutex::new(begun.proxy),
            ended: watch_ended,
            alive: Mutex::new(Some(alive)),
        })
    }

    /// Whether the kernel keeps its processes together to their memory.
    pub(super) fn is_memory_bound(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.bounds_memory())
    }

    /// Whether it is in a cgroup of its own.
    pub(super) fn is_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// The process that holds it; what runs inside is below.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.init
    }

    /// Whether its init is gone.
    pub(super) fn ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Resolves when its init is gone.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        // An error means the reading task is gone, and the init with it.
        async move { drop(ended.wait_for(|ended| *ended).await) }
    }

    /// Ends every process of the sprite; returns when they are gone.
    pub(super) async fn end(&self) {
        drop(self.alive.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.gone().await;
    }

    /// The socket inside that the proxy outside answers; `None` when it was taken, or there are no walls.
    pub(super) fn take_proxy(&self) -> Option<TcpListener> {
        self.proxy.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Starts a command.
    pub(super) async fn run(&self, command: process::Command) -> io::Result<Started> {
        let id = self.link.number();
        let exit = self.link.exit(id);
        let (stdin, tty) = (command.stdin, command.tty.is_some());
        let order = Request::Start(Start {
            id,
            program: command.program,
            arguments: command.arguments,
            dir: command.dir.to_string_lossy().into_owned(),
            env: command.env.into_iter().collect(),
            stdin,
            tty: command.tty,
        });
        let answer = self.link.ask(id, &order).await;
        if !matches!(answer, Ok((Reply::Started { .. }, _))) {
            self.link.forget_exit(id);
        }
        match answer? {
            (Reply::Started { pid, .. }, streams) => {
                let handle = Handle {
                    id,
                    pid,
                    link: Arc::clone(&self.link),
                };
                Started::new(handle, exit, streams, stdin, tty)
            }
            (Reply::Refused { errno, .. }, _) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Connects to an address inside.
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let id = self.link.number();
        let (reply, descriptors) = self.link.ask(id, &Request::Connect { id, address }).await?;
        if let Reply::NotConnected { errno, .. } = reply {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let socket = descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true)?;
        let socket = TcpStream::from_std(socket)?;
        time::timeout(ANSWER_WITHIN, socket.writable())
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        match socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    /// The ports that listen inside, lowest first.
    pub(super) async fn ports(&self) -> io::Result<Vec<ListeningPort>> {
        let id = self.link.number();
        match self.link.ask(id, &Request::Ports { id }).await? {
            (Reply::Ports { ports, .. }, _) => Ok(ports),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Stops every process until the answer is dropped. One at a time.
    pub(super) async fn freeze(&self) -> io::Result<Frozen> {
        // Made first: whatever becomes of the answer, they go on.
        let frozen = Frozen {
            link: Arc::clone(&self.link),
            init: self.init,
        };
        self.link.freeze().await?;
        Ok(frozen)
    }
}

/// Stopped processes; those that ran go on when this is dropped.
#[derive(Debug)]
pub(super) struct Frozen {
    link: Arc<Link>,
    init: Option<Pid>,
}

impl Frozen {
    /// The processes that were stopped, by the ids that the host knows them by, and the init's. Blocks shortly.
    pub(super) fn processes(&self) -> BTreeSet<i32> {
        self.init.map(tree::descendants).unwrap_or_default()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let link = Arc::clone(&self.link);
        // Without a runtime the host is ending, and its sprites with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = link.send(&Request::Thaw).await {
                    tracing::debug!(%error, "the sprite was gone before its processes could go on");
                }
            });
        }
    }
}

impl Handle {
    /// Sends a signal to the command's process group, in a terminal to the one in its foreground.
    pub(super) async fn signal(&self, signal: Signal) -> io::Result<()> {
        let request = Request::Signal {
            id: self.id,
            signal: process::number(signal),
        };
        self.link.send(&request).await
    }

    /// Kills the command with everything in its process session and everything those started.
    pub(super) async fn kill(&self) -> io::Result<()> {
        self.link.send(&Request::Kill { id: self.id }).await
    }
}

/// An init that is ready.
struct Begun {
    child: Child,
    socket: UnixDatagram,
    /// For packets of the socket.
    buffer: Vec<u8>,
    files: String,
    proxy: Option<TcpListener>,
}

async fn begin(program: &Path, root: &Path, orders: &Orders) -> io::Result<Begun> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // A long command has to fit, with what the kernel adds to it.
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 2 * MAX_PACKET)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&theirs, 2 * MAX_PACKET)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let child = Command::new(program)
        .arg0("roost")
        .args([OUTER, &serde_json::to_string(orders)?])
        .env_clear()
        .current_dir(root)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let socket = UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(ours))?;
    let mut buffer = vec![0; MAX_PACKET];
    let first = time::timeout(READY_WITHIN, receive(&socket, &mut buffer)).await;
    match first.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        Some((Reply::Ready { files }, descriptors)) => Ok(Begun {
            child,
            socket,
            buffer,
            files,
            proxy: descriptors.into_iter().next().map(TcpListener::from),
        }),
        Some((Reply::NotReady { doing, reason }, _)) => {
            Err(io::Error::other(format!("it could not {doing}: {reason}")))
        }
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::Error::other("it ended at once")),
    }
}

/// Waits until the init is gone, or nobody holds the sandbox any more, and sees to it that everything inside is gone too.
async fn attend(
    link: Arc<Link>,
    buffer: Vec<u8>,
    mut child: Child,
    group: Option<Arc<Group>>,
    dropped: oneshot::Receiver<()>,
    ended: watch::Sender<bool>,
) {
    // The init ends when its socket does, with every process inside.
    link.attend(buffer, dropped).await;
    if let Some(group) = &group {
        group.kill();
    }
    if time::timeout(END_WITHIN, child.wait()).await.is_err() {
        // If it hangs, the outer stage's death takes it along.
        tracing::warn!("a sprite's init did not end by itself; it is killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "a sprite's init can't be killed");
        }
    }
    remove(group).await;
    link.end();
    ended.send_replace(true);
}

/// Ends a group and removes it.
async fn remove(group: Option<Arc<Group>>) {
    if let Some(group) = group
        && let Err(error) = spawn_blocking(move || group.end()).await
    {
        tracing::warn!(%error, "a sprite's cgroup was not removed");
    }
}
