//! Short commands over control connections: kept open, dropped when broken, done without where the host has none.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures::future::join_all;
use roost_runner::sprite::{ExecFrame, ExecRequest, SpriteError, Sprites};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::fixture::{PATIENCE, TOKEN, sh, sprite};

/// A way to the host that counts connections and can be cut.
struct Wire {
    base: String,
    opened: Arc<AtomicU32>,
    cut: watch::Sender<u32>,
}

impl Wire {
    async fn to(base: &str) -> Self {
        let target = base.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (opened, cut) = (Arc::<AtomicU32>::default(), watch::Sender::new(0));
        let (count, cuts) = (opened.clone(), cut.subscribe());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (target, mut cuts) = (target.clone(), cuts.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(&target).await.unwrap();
                    cuts.borrow_and_update();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { base, opened, cut }
    }

    fn opened(&self) -> u32 {
        self.opened.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn said(sprite: &roost_runner::sprite::Sprite, script: &str) -> (String, i32) {
    let exec = sprite.brief(sh(script)).await.unwrap();
    let output = timeout(PATIENCE, exec.output(1 << 24))
        .await
        .expect("it ends")
        .unwrap();
    (
        String::from_utf8(output.stdout.to_vec()).unwrap(),
        output.exit_code,
    )
}

#[tokio::test]
async fn one_connection_carries_commands_one_after_the_other_and_few_carry_many_at_once() {
    let (_dir, host, _) = sprite().await;
    let wire = Wire::to(&host.base).await;
    let sprite = Sprites::new(&wire.base, TOKEN).unwrap().sprite("agent-7");
    for number in 0..20 {
        assert_eq!(
            said(&sprite, &format!("echo {number}; exit {number}")).await,
            (format!("{number}\n"), number)
        );
    }
    assert_eq!(wire.opened(), 1);
    // Much output, and much more at once than there are connections.
    let all = join_all((0..40).map(|number| {
        let sprite = sprite.clone();
        async move { said(&sprite, &format!("seq 1 {}", 2_000 + number)).await }
    }))
    .await;
    for (number, (text, exit)) in all.into_iter().enumerate() {
        assert_eq!((text.lines().count(), exit), (2_000 + number, 0));
    }
    let after = wire.opened();
    assert_eq!(said(&sprite, "echo again").await.0, "again\n");
    assert_eq!(wire.opened(), after, "idle ones are used again");
    host.stop().await;
}

#[tokio::test]
async fn a_connection_that_broke_or_was_left_in_the_middle_is_not_used_again() {
    let (_dir, host, _) = sprite().await;
    let wire = Wire::to(&host.base).await;
    let sprite = Sprites::new(&wire.base, TOKEN).unwrap().sprite("agent-7");
    assert_eq!(said(&sprite, "echo one").await.0, "one\n");
    wire.cut();
    // Its end is noticed while it lies idle; a command that meets it all the same is an error, never run twice.
    timeout(PATIENCE, async {
        loop {
            let exec = sprite.brief(sh("echo two")).await;
            match exec {
                Ok(exec) => match exec.output(100).await {
                    Ok(output) => return assert_eq!(&output.stdout[..], b"two\n"),
                    Err(error) => assert!(matches!(error, SpriteError::Unavailable { .. }), "{error}"),
                },
                Err(error) => assert!(matches!(error, SpriteError::Unavailable { .. }), "{error}"),
            }
        }
    })
    .await
    .expect("another connection is opened");
    let mut left = sprite
        .brief(sh("echo begun; sleep 1000; echo late"))
        .await
        .unwrap();
    assert!(matches!(left.next().await, Some(Ok(ExecFrame::Stdout(bytes))) if bytes == "begun\n"));
    drop(left);
    assert_eq!(
        said(&sprite, "echo three").await.0,
        "three\n",
        "and nothing of the one before"
    );
    host.stop().await;
}

#[tokio::test]
async fn errors_of_an_operation_are_those_of_the_plain_way() {
    let (_dir, host, _) = sprite().await;
    let nobody = host.sprites.sprite("nobody");
    assert!(matches!(
        nobody.brief(sh("true")).await,
        Err(SpriteError::Gone { .. })
    ));
    let sprite = host.sprites.sprite("agent-7");
    assert_eq!(said(&sprite, "true").await.1, 0);
    let wrong = sprite
        .brief(ExecRequest::new(["true"]).dir("/nowhere/at/all"))
        .await
        .unwrap();
    let over_control = wrong.output(100).await;
    let plain = match sprite
        .exec(ExecRequest::new(["true"]).dir("/nowhere/at/all"))
        .await
    {
        Ok(exec) => exec.output(100).await,
        Err(error) => Err(error),
    };
    match (over_control, plain) {
        (Ok(control), Ok(plain)) => assert_eq!(control.exit_code, plain.exit_code),
        (Err(control), Err(plain)) => assert_eq!(control.code(), plain.code()),
        (control, plain) => panic!("{control:?} but {plain:?}"),
    }
    host.stop().await;
}

#[tokio::test]
async fn a_host_without_control_connections_is_asked_for_one_only_once() {
    let (_dir, host, _) = sprite().await;
    // Everything but the control connection is the host's.
    let asked = Arc::<AtomicU32>::default();
    let (count, target) = (
        asked.clone(),
        host.base.strip_prefix("http://").unwrap().to_owned(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut head = vec![0; 4_096];
            let read = near.read(&mut head).await.unwrap();
            if String::from_utf8_lossy(&head[..read])
                .lines()
                .next()
                .is_some_and(|line| line.contains("/control"))
            {
                count.fetch_add(1, Ordering::SeqCst);
                let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                near.write_all(none).await.unwrap();
                continue;
            }
            let mut far = TcpStream::connect(&target).await.unwrap();
            far.write_all(&head[..read]).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let sprite = Sprites::new(&base, TOKEN).unwrap().sprite("agent-7");
    for _ in 0..3 {
        assert_eq!(said(&sprite, "echo plain").await.0, "plain\n");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    host.stop().await;
}
