//! A way to the host that can be cut: all of it now, or each connection after a number of bytes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// Whose bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the host.
    Up,
    /// From the host.
    Down,
}

pub(crate) struct Wire {
    pub(crate) base: String,
    pipes: Arc<Mutex<Vec<AbortHandle>>>,
    cuts: Arc<AtomicU32>,
}

impl Wire {
    pub(crate) async fn to(base: &str) -> Self {
        Self::cutting(base, Direction::Up, 0, 0).await
    }

    /// A wire whose first `connections` connections are cut once `bytes` have passed in that direction.
    pub(crate) async fn cutting(base: &str, direction: Direction, bytes: usize, connections: u32) -> Self {
        let target = base.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (pipes, cuts) = (
            Arc::<Mutex<Vec<AbortHandle>>>::default(),
            Arc::<AtomicU32>::default(),
        );
        let (open, count) = (pipes.clone(), cuts.clone());
        tokio::spawn(async move {
            let mut left = connections;
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                let limit = (left > 0).then_some(bytes);
                left = left.saturating_sub(1);
                let (up, down) = match direction {
                    Direction::Up => (limit, None),
                    Direction::Down => (None, limit),
                };
                let count = count.clone();
                let pipe = tokio::spawn(async move {
                    // Both ends go at once when either way is over.
                    let cut = tokio::select! {
                        cut = carry(near_in, far_out, up) => cut,
                        cut = carry(far_in, near_out, down) => cut,
                    };
                    count.fetch_add(u32::from(cut), Ordering::SeqCst);
                });
                open.lock().unwrap().push(pipe.abort_handle());
            }
        });
        Self { base, pipes, cuts }
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.pipes.lock().unwrap().drain(..).for_each(|pipe| pipe.abort());
    }

    /// How many connections came to their number of bytes.
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Carries bytes until one end closes (`false`) or the limit is reached (`true`).
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut limit: Option<usize>,
) -> bool {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read) = from.read(&mut buffer).await else {
            return false;
        };
        if read == 0 {
            return false;
        }
        let passes = limit.map_or(read, |left| left.min(read));
        if to.write_all(&buffer[..passes]).await.is_err() {
            return false;
        }
        if let Some(left) = &mut limit {
            *left -= passes;
            if *left == 0 {
                let _ = to.flush().await;
                return true;
            }
        }
    }
}
