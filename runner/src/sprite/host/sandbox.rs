//! An awake sprite: its init process, and what can be asked of it.
//!
//! Invariant: dropping the last handle ends the init and with it every process of the sprite. When the init is gone, whoever
//! waits for an answer or an exit hears so at once.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::{
    net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair},
    process::Pid,
};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixDatagram},
    process::{Child, Command},
    sync::{oneshot, watch},
    time,
};

use super::{
    init::{
        OUTER,
        wire::{self, ListeningPort, MAX_PACKET, Orders, Reply, Request, Start},
    },
    process::{self, Started},
    tree,
};
use crate::sprite::Signal;

/// How long an init may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// What a command's exit is when its sprite was ended: 128 + SIGKILL.
const KILLED: i32 = 137;

/// The handle to an awake sprite.
#[derive(Debug)]
pub(super) struct Sandbox {
    link: Arc<Link>,
    /// Its outer stage, as the host knows it.
    init: Option<Pid>,
    /// What Landlock does for it; empty without walls.
    pub(super) files: String,
    /// Where the sprite's requests to the outside arrive, until somebody takes it.
    proxy: Mutex<Option<TcpListener>>,
    /// Turns true when the init is gone.
    ended: watch::Receiver<bool>,
    /// Dropped with the handle or by [`Sandbox::end`], which ends the reading task and the init with it.
    alive: Mutex<Option<oneshot::Sender<()>>>,
}

/// The socket and who waits behind it.
#[derive(Debug)]
struct Link {
    /// A socket of packets, as datagrams are, but one that ends.
    socket: UnixDatagram,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    ended: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    frozen: Option<oneshot::Sender<Answer>>,
    exits: HashMap<u64, oneshot::Sender<i32>>,
}

type Answer = (Reply, Vec<OwnedFd>);

/// A command in the sandbox, to signal it.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    id: u64,
    pub(super) pid: u32,
    link: Arc<Link>,
}

impl Sandbox {
    /// Starts the init `program` in the sprite's directory and waits until it is ready.
    pub(super) async fn start(program: &Path, root: &Path, orders: &Orders) -> io::Result<Self> {
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
        let (files, proxy) = match first.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            Some((Reply::Ready { files }, descriptors)) => {
                (files, descriptors.into_iter().next().map(TcpListener::from))
            }
            Some((Reply::NotReady { doing, reason }, _)) => {
                return Err(io::Error::other(format!("it could not {doing}: {reason}")));
            }
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::Error::other("it ended at once")),
        };
        let link = Arc::new(Link {
            socket,
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
        });
        let init = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (ended, watch_ended) = watch::channel(false);
        let (alive, gone) = oneshot::channel();
        tokio::spawn(attend(Arc::clone(&link), buffer, child, gone, ended));
        Ok(Self {
            link,
            init,
            files,
            proxy: Mutex::new(proxy),
            ended: watch_ended,
            alive: Mutex::new(Some(alive)),
        })
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
        let (exited, exit) = oneshot::channel();
        self.link.waiting().exits.insert(id, exited);
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
            self.link.waiting().exits.remove(&id);
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
        let (answered, answer) = oneshot::channel();
        self.link.waiting().frozen = Some(answered);
        let frozen = Frozen {
            link: Arc::clone(&self.link),
            init: self.init,
        };
        self.link.send(&Request::Freeze { frozen: true }).await?;
        let answer = time::timeout(ANSWER_WITHIN, answer).await;
        match answer.map_err(|_| io::ErrorKind::TimedOut)? {
            Ok(_) => Ok(frozen),
            Err(_) => Err(gone()),
        }
    }
}

/// Stopped processes; they go on when this is dropped.
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
                if let Err(error) = link.send(&Request::Freeze { frozen: false }).await {
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

impl Link {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn send(&self, request: &Request) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, || wire::send(&self.socket, request, &[]))
            .await
    }

    async fn ask(&self, id: u64, request: &Request) -> io::Result<Answer> {
        let (answered, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.ended {
                return Err(gone());
            }
            waiting.answers.insert(id, answered);
        }
        if let Err(error) = self.send(request).await {
            self.waiting().answers.remove(&id);
            return Err(error);
        }
        match time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                self.waiting().answers.remove(&id);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    fn deliver(&self, reply: Reply, descriptors: Vec<OwnedFd>) {
        let mut waiting = self.waiting();
        match reply {
            Reply::Exited { id, code } => {
                if let Some(exited) = waiting.exits.remove(&id) {
                    // Nobody waits for a command whose session could not be made.
                    let _ = exited.send(code);
                }
            }
            Reply::Frozen { .. } => {
                if let Some(answered) = waiting.frozen.take() {
                    let _ = answered.send((reply, descriptors));
                }
            }
            Reply::Started { id, .. }
            | Reply::Refused { id, .. }
            | Reply::Connected { id }
            | Reply::NotConnected { id, .. }
            | Reply::Ports { id, .. } => {
                if let Some(answered) = waiting.answers.remove(&id) {
                    let _ = answered.send((reply, descriptors));
                }
            }
            Reply::Ready { .. } | Reply::NotReady { .. } => {}
        }
    }

    fn end(&self) {
        let exits = {
            let mut waiting = self.waiting();
            waiting.ended = true;
            waiting.answers.clear();
            waiting.frozen = None;
            std::mem::take(&mut waiting.exits)
        };
        for exited in exits.into_values() {
            let _ = exited.send(KILLED);
        }
    }
}

/// Reads what the init says until it is gone, or nobody holds the sandbox any more.
async fn attend(
    link: Arc<Link>,
    mut buffer: Vec<u8>,
    mut child: Child,
    mut dropped: oneshot::Receiver<()>,
    ended: watch::Sender<bool>,
) {
    loop {
        let received = tokio::select! {
            received = receive(&link.socket, &mut buffer) => received,
            _ = &mut dropped => break,
        };
        match received {
            Ok(Some((reply, descriptors))) => link.deliver(reply, descriptors),
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "a sprite's init broke its protocol; the sprite is ended");
                break;
            }
        }
    }
    // The init ends when its socket does, with every process inside. If it hangs, the outer stage's death takes it along.
    if let Err(error) = shutdown(&link.socket, Shutdown::Both) {
        tracing::debug!(%error, "the sprite's init was gone already");
    }
    if time::timeout(END_WITHIN, child.wait()).await.is_err() {
        tracing::warn!("a sprite's init did not end by itself; it is killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "a sprite's init can't be killed");
        }
    }
    link.end();
    ended.send_replace(true);
}

async fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<Option<Answer>> {
    socket
        .async_io(Interest::READABLE, || wire::receive(socket, buffer))
        .await
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the sprite was ended")
}
