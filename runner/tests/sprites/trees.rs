//! Trees over the API: listing, copying, changing and removing them, and what is said when that can't be done.

use reqwest::{Client, Method, Response, StatusCode};
use roost_runner::sprite::{
    FileErrorKind, Sprite, SpriteError,
    host::{HostConfig, Isolation},
};
use serde_json::{Value, json};

use crate::fixture::{Running, TOKEN, names, run};

pub(crate) async fn sprite() -> (tempfile::TempDir, Running, Sprite) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.isolation = Isolation::Required;
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    (dir, host, sprite)
}

/// A request that the runner's own client does not make.
pub(crate) async fn ask(
    host: &Running,
    method: Method,
    path_and_query: &str,
    body: Option<Value>,
) -> Response {
    let url = format!("{}/v1/sprites/agent-7/fs/{path_and_query}", host.base);
    let request = Client::new().request(method, url).bearer_auth(TOKEN);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

async fn modes(sprite: &Sprite, path: &str) -> Vec<(String, String)> {
    let entries = sprite.list_all(path).await.unwrap();
    entries
        .into_iter()
        .map(|entry| (entry.name, entry.mode))
        .collect()
}

#[tokio::test]
async fn a_tree_is_listed_by_relative_names_and_by_pattern() {
    let (_dir, host, sprite) = sprite().await;
    run(
        &sprite,
        "mkdir -p t/src/deep t/empty; touch t/b.rs t/src/a.rs t/src/deep/c.rs t/src/deep/c.txt; ln -s /etc t/link",
    )
    .await;
    assert_eq!(
        names(sprite.list_all("t").await.unwrap()),
        [
            "b.rs",
            "empty",
            "link",
            "src",
            "src/a.rs",
            "src/deep",
            "src/deep/c.rs",
            "src/deep/c.txt"
        ],
        "symlinks are not followed"
    );
    let cases = [
        (
            "recursive=true&pattern=*.rs",
            vec!["b.rs", "src/a.rs", "src/deep/c.rs"],
        ),
        ("pattern=*.rs", vec!["b.rs"]),
        ("recursive=true&pattern=src/*.rs", vec!["src/a.rs"]),
        (
            "recursive=true&pattern=src/**/*.{rs,txt}",
            vec!["src/a.rs", "src/deep/c.rs", "src/deep/c.txt"],
        ),
    ];
    for (query, expected) in cases {
        let response = ask(
            &host,
            Method::GET,
            &format!("list?path=t&workingDir=/home/sprite&{query}"),
            None,
        )
        .await;
        let list: Value = response.json().await.unwrap();
        let entries = list["entries"].as_array().unwrap();
        let found: Vec<&str> = entries
            .iter()
            .map(|entry| entry["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(list["count"], expected.len());
    }
    let bad = ask(
        &host,
        Method::GET,
        "list?path=t&workingDir=/home/sprite&pattern=[",
        None,
    )
    .await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    assert_eq!(bad.json::<Value>().await.unwrap()["code"], "EINVAL");
    host.stop().await;
}

#[tokio::test]
async fn copies_are_whole_and_keep_what_was_asked() {
    let (_dir, host, sprite) = sprite().await;
    run(
        &sprite,
        "mkdir -p from/in; echo one > from/one; echo two > from/in/two; ln -s /etc/passwd from/link; \
         chmod 4711 from/one; chmod 500 from/in; touch -d 2001-02-03T04:05:06Z from/one from/in; mkfifo pipe",
    )
    .await;
    sprite.copy("from", "to").await.unwrap();
    let to = |name: &str, mode: &str| (name.to_owned(), mode.to_owned());
    assert_eq!(
        modes(&sprite, "to").await,
        [
            to("in", "0500"),
            to("in/two", "0644"),
            to("link", "0777"),
            to("one", "0711")
        ],
        "permissions are kept, more is not"
    );
    assert_eq!(
        run(&sprite, "cat to/one to/in/two; readlink to/link").await,
        "one\ntwo\n/etc/passwd\n"
    );

    let order = json!({"source": "from", "dest": "kept", "workingDir": "/home/sprite", "recursive": true, "preserveAttrs": true});
    let answer: Value = ask(&host, Method::POST, "copy", Some(order))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!((&answer["count"], &answer["totalBytes"]), (&json!(5), &json!(8)));
    assert_eq!(
        run(&sprite, "stat -c '%a %Y' kept/one kept/in").await,
        "4711 981173106\n500 981173106\n"
    );

    // Into what is there: filled up, files replaced, nothing taken away.
    run(
        &sprite,
        "chmod u+w to/in; echo old > to/one; echo mine > to/mine; echo mine > to/in/mine",
    )
    .await;
    sprite.copy("from", "to").await.unwrap();
    assert_eq!(
        run(&sprite, "cat to/one to/mine to/in/mine to/in/two").await,
        "one\nmine\nmine\ntwo\n"
    );
    sprite.copy("from/one", "to/mine").await.unwrap();
    assert_eq!(
        run(&sprite, "cat to/mine; stat -c %a to/mine").await,
        "one\n711\n"
    );

    let refused = [
        ("from", "from/in/again", FileErrorKind::Invalid),
        ("from/one", "to/in", FileErrorKind::IsDirectory),
        ("from", "to/one", FileErrorKind::NotDirectory),
        ("missing", "x", FileErrorKind::NotFound),
        ("from/one", "no/such/dir", FileErrorKind::NotFound),
        ("pipe", "x", FileErrorKind::Invalid),
    ];
    for (from, to, expected) in refused {
        match sprite.copy(from, to).await.unwrap_err() {
            SpriteError::File { kind, .. } => assert_eq!(kind, expected, "{from} to {to}"),
            other => panic!("{from} to {to}: {other:?}"),
        }
    }
    let flat = json!({"source": "from", "dest": "x", "workingDir": "/home/sprite"});
    let flat = ask(&host, Method::POST, "copy", Some(flat)).await;
    assert_eq!(
        flat.json::<Value>().await.unwrap()["code"],
        "EISDIR",
        "a directory only recursively"
    );
    // A copy that fails half-way leaves nothing under the new name, nor beside it.
    run(&sprite, "mkdir half; echo x > half/a; mkfifo half/pipe").await;
    sprite.copy("half", "whole").await.unwrap_err();
    assert_eq!(
        run(&sprite, "ls -A | tr '\\n' ' '").await,
        "from half kept pipe to "
    );
    host.stop().await;
}

#[tokio::test]
async fn modes_and_owners_change_as_far_as_they_may() {
    let (_dir, host, sprite) = sprite().await;
    run(
        &sprite,
        "mkdir -p t/in; touch t/a t/in/b; ln -s a t/link; chmod 0 t/in t/a",
    )
    .await;
    sprite.set_mode("t/a", 0o640).await.unwrap();
    sprite.set_mode("t/link", 0o600).await.unwrap();
    assert_eq!(
        run(&sprite, "stat -c %a t/a").await,
        "600\n",
        "the file it points to"
    );
    let all = json!({"path": "t", "workingDir": "/home/sprite", "mode": "0750", "recursive": true});
    let answer: Value = ask(&host, Method::POST, "chmod", Some(all))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&answer["count"], &answer["mode"]),
        (&json!(4), &json!("0750")),
        "links are passed over"
    );
    assert_eq!(run(&sprite, "stat -c %a t t/a t/in t/in/b | uniq").await, "750\n");

    let own = run(&sprite, "id -u").await.trim().to_owned();
    let own: Vec<Value> = vec![json!(own.parse::<u32>().unwrap()), json!(own), json!("sprite")];
    for uid in own {
        let order = json!({"path": "t", "workingDir": "/home/sprite", "uid": uid, "recursive": true});
        let answer = ask(&host, Method::POST, "chown", Some(order)).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["count"], 4, "{uid}: {answer}");
    }
    for order in [
        json!({"path": "t", "uid": 12345}),
        json!({"path": "t", "gid": "daemon"}),
    ] {
        let refused = ask(&host, Method::POST, "chown", Some(order)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "EPERM");
    }
    host.stop().await;
}

#[tokio::test]
async fn directories_are_made_by_their_marker_and_trees_removed_by_either_request() {
    let (_dir, host, sprite) = sprite().await;
    let home = "workingDir=/home/sprite";
    let made = ask(
        &host,
        Method::PUT,
        &format!("write?path=new/.keep&mode=0700&{home}"),
        None,
    )
    .await;
    assert_eq!(made.status(), StatusCode::OK);
    assert_eq!(run(&sprite, "stat -c '%a %F' new").await, "700 directory\n");
    let deeper = ask(
        &host,
        Method::PUT,
        &format!("write?path=no/such/.keep&{home}"),
        None,
    )
    .await;
    assert_eq!(deeper.status(), StatusCode::NOT_FOUND, "one level, unless asked");
    let file = ask(&host, Method::PUT, &format!("write?path=one/file&{home}"), None).await;
    assert_eq!(file.status(), StatusCode::NOT_FOUND, "only for a marker");

    run(&sprite, "mkdir -p t/in u/in; touch t/in/a u/in/a; chmod 0 u/in").await;
    sprite.remove_all("t").await.unwrap();
    let order = json!({"path": "u", "workingDir": "/home/sprite", "recursive": true, "asRoot": true});
    let removed: Value = ask(&host, Method::DELETE, "delete", Some(order))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(removed["count"], 1);
    assert_eq!(run(&sprite, "ls").await, "new\n");
    host.stop().await;
}
