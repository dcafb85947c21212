//! Watching files: what is told, what is not, and where it ends.

use std::collections::BTreeSet;

use futures::{SinkExt, StreamExt};
use roost_runner::sprite::host::{HostConfig, Isolation};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::fixture::{PATIENCE, Running, TOKEN, run};

struct Watch(WebSocketStream<TcpStream>);

impl Watch {
    async fn open(host: &Running) -> Result<Self, Error> {
        let address = host.base.strip_prefix("http://").unwrap();
        let url = format!("ws://{address}/v1/sprites/agent-7/fs/watch");
        let mut request = url.into_client_request().unwrap();
        let token = format!("Bearer {TOKEN}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        let stream = TcpStream::connect(address).await.unwrap();
        Ok(Self(client_async(request, stream).await?.0))
    }

    async fn ask(mut self, paths: &[&str], recursive: bool) -> (Self, Value) {
        let subscribe = json!({"type": "subscribe", "paths": paths, "recursive": recursive, "workingDir": "/home/sprite"});
        self.0.send(Message::text(subscribe.to_string())).await.unwrap();
        let first = self.next().await.unwrap();
        (self, first)
    }

    async fn of(host: &Running, paths: &[&str], recursive: bool) -> Self {
        let (watch, first) = Self::open(host).await.unwrap().ask(paths, recursive).await;
        assert_eq!(first["type"], "subscribed", "{first}");
        watch
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("more is told")? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// All changes up to that one, as `change path`, with paths below the home.
    async fn until(&mut self, last: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        while !seen.contains(last) {
            let message = self
                .next()
                .await
                .unwrap_or_else(|| panic!("no {last} in {seen:?}"));
            let Some(path) = message["path"].as_str() else {
                panic!("{message} instead of {last} after {seen:?}");
            };
            let path = path.rsplit("/home/sprite/").next().unwrap();
            seen.insert(format!("{} {path}", message["event"].as_str().unwrap()));
        }
        seen
    }
}

async fn host(
    change: impl FnOnce(&mut HostConfig),
) -> (tempfile::TempDir, Running, roost_runner::sprite::Sprite) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.isolation = Isolation::Required;
    change(&mut config);
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    (dir, host, sprite)
}

#[tokio::test]
async fn changes_by_commands_and_by_the_api_are_told_with_their_paths() {
    let (_dir, host, sprite) = host(|_| {}).await;
    run(
        &sprite,
        "mkdir w flat; echo old > w/kept; touch flat/one flat/two",
    )
    .await;
    let mut tree = Watch::of(&host, &["w"], true).await;
    let mut one = Watch::of(&host, &["flat/one"], false).await;

    // Directories that come are watched as they come, with what is in them by then.
    run(&sprite, "mkdir -p w/a/b && echo x > w/a/b/f").await;
    let seen = tree.until("create w/a/b/f").await;
    assert!(
        seen.is_superset(&["create w/a", "create w/a/b"].map(str::to_owned).into()),
        "{seen:?}"
    );
    // A file is written whole or not at all; what is told is that it was written, not how.
    sprite.write("w/kept", "new", None).await.unwrap();
    sprite.write("w/fresh", "new", None).await.unwrap();
    let seen = tree.until("create w/fresh").await;
    assert!(
        seen.contains("write w/kept") && !seen.contains("create w/kept"),
        "{seen:?}"
    );
    // A directory that moves is followed under its new name.
    run(&sprite, "mv w/a w/z").await;
    let seen = tree.until("create w/z/b/f").await;
    assert!(seen.contains("rename w/a"), "{seen:?}");
    run(
        &sprite,
        "echo more >> w/z/b/f; chmod 600 w/z/b/f; rm -r w/z; touch w/end",
    )
    .await;
    let seen = tree.until("create w/end").await;
    let expected = [
        "write w/z/b/f",
        "chmod w/z/b/f",
        "remove w/z/b/f",
        "remove w/z/b",
        "remove w/z",
    ];
    assert!(seen.is_superset(&expected.map(str::to_owned).into()), "{seen:?}");
    assert!(!seen.iter().any(|change| change.contains("w/a")), "{seen:?}");

    // A file that is watched alone may be replaced and stays watched; its neighbours are nobody's business.
    run(
        &sprite,
        "echo x > flat/two; mv flat/two flat/one; rm flat/one; echo x > flat/one",
    )
    .await;
    let seen = one.until("write flat/one").await;
    assert!(seen.iter().all(|change| change.ends_with("flat/one")), "{seen:?}");

    run(&sprite, "rm -r w").await;
    let mut last = Value::Null;
    while let Some(message) = tree.next().await {
        last = message;
    }
    assert_eq!(last["type"], "error", "the end is explained: {last}");
    host.stop().await;
    assert!(one.next().await.is_none_or(|last| last["type"] == "event"));
}

#[tokio::test]
async fn watches_are_bounded_and_end_with_their_client() {
    let (_dir, host, sprite) = host(|config| {
        config.limits.watches = 1;
        config.limits.watched_dirs = 3;
    })
    .await;
    run(&sprite, "mkdir -p few many/1 many/2 many/3; touch file").await;
    for (paths, why) in [
        (&["many"][..], "watch 3 directories"),
        (&["few", "absent"], "absent: no such file"),
        (&["/../secret"], "outside"),
        (&[], "which paths"),
    ] {
        let (mut watch, first) = until_free(&host).await.ask(paths, true).await;
        assert_eq!(first["type"], "error", "{first}");
        assert!(first["message"].as_str().unwrap().contains(why), "{first}");
        assert_eq!(watch.next().await, None, "and that was it");
    }
    let watch = until_free(&host).await;
    match Watch::open(&host).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 429),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a second client"),
    }
    let (mut watch, _) = watch.ask(&["few"], true).await;
    // More than may be watched comes later: said once it is so, and the rest goes on.
    run(&sprite, "mkdir few/1 few/2; mkdir few/3; touch few/1/seen").await;
    let mut said = Vec::new();
    let (mut seen, mut told) = (false, false);
    // A new directory is looked through as soon as it is watched, so its file can come before the next directory.
    while !(seen && told) {
        let message = watch.next().await.unwrap();
        seen |= message["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("few/1/seen"));
        told |= message["type"] == "error";
        said.push(message);
    }
    let unwatched = said.iter().filter(|message| message["type"] == "error");
    let unwatched: Vec<_> = unwatched
        .map(|message| message["message"].as_str().unwrap())
        .collect();
    assert!(
        matches!(&unwatched[..], [one] if one.contains("few/3 is not watched")),
        "{said:?}"
    );
    // Without a word, as when the client's machine is gone.
    drop(watch);
    until_free(&host).await;
    host.stop().await;
}

/// Connects as soon as the host has a place for a watch.
async fn until_free(host: &Running) -> Watch {
    let connected = timeout(PATIENCE, async {
        loop {
            match Watch::open(host).await {
                Ok(watch) => return watch,
                Err(Error::Http(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    connected.await.expect("an ended watch frees its place")
}
