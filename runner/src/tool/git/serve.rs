//! The runner's end of the credential helper: an exec session that carries questions out of the sprite and answers in.
//!
//! Invariant: the session is opened again whenever it is lost, with growing pauses; it ends with the context it serves, and
//! by itself when this process is gone. It holds nothing a later runner would need, so it is not journaled.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Remote, Wallet, script};
use crate::sprite::{
    Disconnected, ExecFrame, ExecRequest, Sprite, SpriteError,
    retry::{Pauses, jittered},
};

/// Longer questions are nonsense.
const MOST_ASKED: usize = 4_096;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A session that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// Answers a second at most, whoever asks.
const BREATH: Duration = Duration::from_millis(20);

/// Answers until it is dropped.
pub(super) async fn for_ever(sprite: Sprite, dir: String, wallet: Arc<Wallet>, up: watch::Sender<bool>) {
    let pauses = || Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, u32::MAX);
    let mut after = pauses();
    loop {
        let began = Instant::now();
        let ended = serve(&sprite, &dir, &wallet, &up).await;
        up.send_replace(false);
        if began.elapsed() > GOOD {
            after = pauses();
        }
        let limit = ended.as_ref().err().and_then(SpriteError::retry_after);
        if let Err(error) = ended {
            tracing::debug!(sprite = sprite.name(), %error, "git's credential helper lost its runner for a moment");
        }
        let pause = after.next().unwrap_or(LONGEST_PAUSE);
        sleep(limit.map_or(pause, |limit| jittered(limit.max(pause)))).await;
    }
}

async fn serve(
    sprite: &Sprite,
    dir: &str,
    wallet: &Wallet,
    up: &watch::Sender<bool>,
) -> Result<(), SpriteError> {
    let request = ExecRequest::new(["sh", "-c", script::SERVER, "roost-git", dir])
        .stdin()
        .disconnected(Disconnected::RunFor(Duration::from_secs(1)));
    let mut exec = sprite.exec(request).await?;
    let mut heard = BytesMut::new();
    while let Some(frame) = exec.next().await {
        match frame? {
            ExecFrame::Stdout(bytes) => heard.extend_from_slice(&bytes),
            ExecFrame::Stderr(_) => continue,
            ExecFrame::Exit(_) => break,
        }
        while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
            let line = heard.split_to(end + 1);
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            if line == "ready" {
                up.send_replace(true);
            } else if let Some((id, remote)) = question(&line) {
                let answer = match wallet.get(&remote).await {
                    Ok(credential) => format!("{} {}", credential.username, credential.password),
                    Err(reason) => format!("- {}", reason.replace(|c: char| c.is_control(), " ")),
                };
                exec.input().write(format!("{id} {answer}\n")).await?;
                sleep(BREATH).await;
            }
        }
        if heard.len() > MOST_ASKED {
            heard.clear();
        }
    }
    Ok(())
}

/// The id and what is asked for.
fn question(line: &str) -> Option<(&str, Remote)> {
    let mut fields = line.splitn(4, ' ');
    let (id, protocol, host, path) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_id && line.len() <= MOST_ASKED).then(|| {
        let remote = Remote {
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
        };
        (id, remote)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_an_id_and_a_remote_or_nothing() {
        let (id, remote) = question("12.0 https github.com octo/a b.git").unwrap();
        assert_eq!((id, remote.path.as_str()), ("12.0", "octo/a b.git"));
        for nonsense in [
            "",
            "ready",
            "12.0 https github.com",
            "../x https github.com octo/r",
            " https h p",
        ] {
            assert_eq!(question(nonsense), None, "{nonsense:?}");
        }
    }
}
