//! The control connection where it is not used as meant: slow readers, cut lines, wrong requests.

use std::time::Duration;

use futures::StreamExt;
use roost_runner::sprite::host::HostConfig;
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    fixture::{PATIENCE, Running, TOKEN, run, sprite},
    socket::Socket,
};

const CONTROL: &str = "/v1/sprites/agent-7/control";

#[tokio::test]
async fn a_slow_reader_of_an_operation_holds_its_command_back_and_loses_nothing() {
    let (_dir, host, sprite) = sprite().await;
    let mut control = Socket::open(&host.base, CONTROL).await.unwrap();
    // More than sockets and history hold together: the command can't end before somebody reads.
    let script = "head -c 64000000 /dev/zero; touch done";
    control
        .start(
            "exec",
            json!({ "cmd": ["sh", "-c", script], "max_run_after_disconnect": "0" }),
        )
        .await;
    assert_eq!(control.json("").await["type"], "session_info");
    run(&sprite, "sleep 0.5; ! test -e done").await;
    let mut bytes = 0;
    let exit = loop {
        match control.next().await {
            Message::Binary(frame) if frame[0] == 1 => bytes += frame.len() - 1,
            Message::Binary(frame) => break frame,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&exit[..], bytes), (&[3, 0][..], 64_000_000));
    assert_eq!(control.json("control:").await["args"]["exitCode"], 0);
    // The same connection goes on with the next one.
    control.start("exec", json!({ "cmd": ["true"] })).await;
    assert_eq!(control.json("control:").await["type"], "op.complete");
    host.stop().await;
}

#[tokio::test]
async fn an_operation_whose_line_is_cut_goes_on_and_can_be_attached_to() {
    let (_dir, host, _sprite) = sprite().await;
    let mut control = Socket::open(&host.base, CONTROL).await.unwrap();
    let script = "echo before; read line; echo after $line; exit 4";
    let args = json!({
        "cmd": ["sh", "-c", script], "stdin": "true", "detachable": "true", "max_run_after_disconnect": "60s",
    });
    control.start("exec", args).await;
    let session = control.json("").await["session_id"].as_str().unwrap().to_owned();
    assert_eq!(control.next().await.into_data().as_ref(), b"\x01before\n");
    // No close, no goodbye.
    drop(control);

    let mut control = Socket::open(&host.base, CONTROL).await.unwrap();
    control.start("attach", json!({ "id": session })).await;
    assert_eq!(control.json("").await["session_id"], session);
    assert_eq!(control.next().await.into_data().as_ref(), b"\x01before\n");
    control.bytes(*b"\0x\n").await;
    assert_eq!(control.next().await.into_data().as_ref(), b"\x01after x\n");
    assert_eq!(control.json("control:").await["args"]["exitCode"], 4);
    host.stop().await;
}

#[tokio::test]
async fn what_an_operation_is_refused_with_says_so_and_keeps_the_connection() {
    let (_dir, host, _sprite) = sprite().await;
    let mut control = Socket::open(&host.base, CONTROL).await.unwrap();
    for (op, args, status, code) in [
        ("dance", json!({}), 400, "no_such_operation"),
        ("attach", json!({}), 400, "bad_request"),
        ("attach", json!({ "id": "absent" }), 404, "session_not_found"),
        (
            "exec",
            json!({ "cmd": ["true"], "rows": "many" }),
            400,
            "bad_request",
        ),
    ] {
        control.start(op, args).await;
        let answer = control.json("control:").await;
        assert_eq!(answer["type"], "op.error", "{answer}");
        assert_eq!(
            (&answer["args"]["status"], &answer["args"]["code"]),
            (&json!(status), &json!(code)),
            "{answer}"
        );
        assert!(
            answer["args"]["error"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    // Noise between operations is nobody's input.
    control.text("control:nonsense").await;
    control.bytes(*b"\0stray").await;
    control
        .start("exec", json!({ "cmd": ["cat"], "stdin": "true" }))
        .await;
    assert_eq!(control.json("").await["type"], "session_info");
    control.bytes(*b"\0mine").await;
    control.bytes(*b"\x04").await;
    assert_eq!(control.next().await.into_data().as_ref(), b"\x01mine");
    assert_eq!(control.json("control:").await["args"]["exitCode"], 0);

    // Two at once would mix their streams.
    control.start("exec", json!({ "cmd": ["sleep", "1000"] })).await;
    assert_eq!(control.json("").await["type"], "session_info");
    control.start("exec", json!({ "cmd": ["true"] })).await;
    let Message::Close(Some(close)) = control.next().await else {
        panic!("a close")
    };
    assert_eq!(close.code, CloseCode::Policy);
    let absent = Socket::open(&host.base, "/v1/sprites/absent/control").await;
    assert_eq!(absent.err().unwrap().status(), 404);
    let idle = Socket::open(&host.base, CONTROL).await.unwrap();
    timeout(PATIENCE.min(Duration::from_secs(4)), host.stop())
        .await
        .expect("an idle control connection holds no host up");
    drop(idle);
}

#[tokio::test]
async fn a_host_has_so_many_connections_and_one_that_ends_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.limits.connections = 1;
    let host = Running::with(config).await;
    host.sprites.ensure("agent-7").await.unwrap();
    let mut first = Socket::open(&host.base, CONTROL).await.unwrap();
    for path in [
        CONTROL,
        "/v1/sprites/agent-7/proxy",
        "/v1/sprites/agent-7/ports/watch",
    ] {
        let refused = Socket::open(&host.base, path).await.err().unwrap();
        assert_eq!(refused.status(), 429, "{path}");
    }
    first.0.close(None).await.unwrap();
    while first.0.next().await.is_some() {}
    let again = timeout(PATIENCE, async {
        loop {
            if let Ok(socket) = Socket::open(&host.base, CONTROL).await {
                return socket;
            }
            tokio::task::yield_now().await;
        }
    });
    drop(again.await.expect("there is room again"));
    host.stop().await;
}
