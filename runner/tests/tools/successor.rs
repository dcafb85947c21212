//! `bash` when a runner dies, a host restarts or a connection is cut: the command runs once, and its result is found.

use std::time::Duration;

use futures::{StreamExt, stream};
use roost_runner::{
    sprite::Sprites,
    tool::{ToolContext, ToolOutput},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    fixture::{Fixture, PATIENCE, TOKEN, until},
    wire::{Direction, Wire},
};

/// Calls `bash` as `call_1`, and is gone in the middle of it, when its command has made the file `count`.
async fn die_in_the_middle(fixture: &Fixture, input: &Value) {
    let context = fixture.context.for_call("call_1");
    let call = fixture.tools.call(&context, "bash", input.clone());
    let count = fixture.home.join("count");
    tokio::select! {
        output = call => panic!("{output:?}"),
        () = until("the command begins", || count.exists()) => {}
    }
}

#[tokio::test]
async fn a_call_repeated_with_its_key_joins_its_command_on_another_runner() {
    let fixture = Fixture::new().await;
    let input = json!({"command": "echo once >> count; while [ ! -e go ]; do sleep 0.01; done; cat count"});
    die_in_the_middle(&fixture, &input).await;
    let next = fixture.next_runner().await;
    let context = next.for_call("call_1");
    let joined = fixture.tools.call(&context, "bash", input.clone());
    let (joined, ()) = tokio::join!(joined, async {
        std::fs::write(fixture.home.join("go"), "").unwrap();
    });
    assert_eq!(
        joined,
        ToolOutput::ok("once\n"),
        "it read all of the output, and the command ran once"
    );
    // Once more after its end: the same answer, and still once.
    let again = fixture
        .tools
        .call(&next.for_call("call_1"), "bash", input.clone())
        .await;
    assert_eq!(again, ToolOutput::ok("once\n"));
    let other = fixture.tools.call(&next.for_call("call_2"), "bash", input).await;
    assert_eq!(
        other,
        ToolOutput::ok("once\nonce\n"),
        "another call is another command"
    );
    assert_eq!(fixture.sessions().len(), 1, "in the session that was journaled");
    next.close().await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_command_whose_shell_is_lost_is_not_run_again() {
    let fixture = Fixture::new().await;
    let input = json!({"command": "echo working; echo once >> count; sleep 1000"});
    die_in_the_middle(&fixture, &input).await;
    let old = fixture.sessions();
    let dir = fixture.stop().await;
    let fixture = Fixture::on(dir).await;
    fixture.context.resume_session("bash", &old[0]).await;
    let output = fixture
        .tools
        .call(&fixture.context.for_call("call_1"), "bash", input)
        .await;
    assert!(
        output.is_error && output.text.starts_with("working\n[the command was interrupted"),
        "{}",
        output.text
    );
    assert_eq!(fixture.bash("cat count").await, "once\n");
    fixture.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_is_joined_again_and_nothing_runs_twice() {
    let fixture = Fixture::new().await;
    let wire = Wire::to(&fixture.base).await;
    let sprites = Sprites::new(&wire.base, TOKEN).unwrap();
    let context = ToolContext::new("run-1", sprites.sprite("agent-7"), fixture.log.clone());
    let input = json!({"command": "echo once >> count; while [ ! -e go ]; do sleep 0.01; done; cat count"});
    let (output, ()) = tokio::join!(fixture.tools.call(&context, "bash", input), async {
        let count = fixture.home.join("count");
        until("the command begins", || count.exists()).await;
        wire.cut();
        std::fs::write(fixture.home.join("go"), "").unwrap();
    });
    assert_eq!(output, ToolOutput::ok("once\n"));
    assert_eq!(fixture.sessions().len(), 1);
    context.close().await;
    fixture.stop().await;
}

/// Counts itself, and says more than one packet holds.
fn counted(name: &str) -> (String, String) {
    let command = format!("echo once >> count-{name}; seq 1 900; cat count-{name}");
    let said: String = (1..=900).map(|number| format!("{number}\n")).collect();
    (command, said + "once\n")
}

#[tokio::test]
async fn wherever_connections_are_cut_a_command_runs_once_and_its_output_is_whole() {
    let fixture = Fixture::new().await;
    // Each of the first connections ends after so many bytes: in the request, in the upgrade, in a frame, in a log. The
    // session's name and its answers are a few hundred bytes, so the places are closer there.
    let places = (0..1_400)
        .step_by(71)
        .map(|bytes| (Direction::Up, bytes))
        .chain((0..900).step_by(19).map(|bytes| (Direction::Down, bytes)));
    let cut: Vec<u32> = stream::iter(places)
        .map(|(direction, bytes)| {
            let (fixture, name) = (&fixture, format!("{direction:?}-{bytes}"));
            async move {
                let wire = Wire::cutting(&fixture.base, direction, bytes, 4).await;
                let sprites = Sprites::new(&wire.base, TOKEN).unwrap();
                let context = ToolContext::new(&name, sprites.sprite("agent-7"), fixture.log.clone());
                let (command, said) = counted(&name);
                let call = context.for_call("call_1");
                let output = fixture.tools.call(&call, "bash", json!({"command": command}));
                let output = timeout(PATIENCE, output).await.expect("the call ends");
                assert_eq!(output, ToolOutput::ok(said), "{name}");
                let count = std::fs::read_to_string(fixture.home.join(format!("count-{name}"))).unwrap();
                assert_eq!(count, "once\n", "{name}");
                let wire_for_looks = Wire::cutting(&fixture.base, direction, bytes, 2).await;
                let sprites = Sprites::new(&wire_for_looks.base, TOKEN).unwrap();
                let looking = ToolContext::new(&name, sprites.sprite("agent-7"), fixture.log.clone());
                let look = json!({"pattern": format!("count-{name}")});
                let found = fixture.tools.call(&looking, "glob", look).await;
                assert!(
                    !found.is_error && found.text.matches("count-").count() == 1,
                    "{name}: {}",
                    found.text
                );
                context.close().await;
                wire.cuts() + wire_for_looks.cuts()
            }
        })
        .buffer_unordered(20)
        .collect()
        .await;
    let cut: u32 = cut.into_iter().sum();
    assert!(cut > 90, "the wire was cut {cut} times");
    fixture.stop().await;
}

#[tokio::test]
async fn whenever_a_runner_dies_the_next_one_finds_its_command_run_once() {
    let fixture = Fixture::new().await;
    for moment in 0..40_u32 {
        let name = format!("killed-{moment}");
        let (command, said) = counted(&name);
        let input = json!({"command": command});
        let before = fixture.sessions().len();
        let first = ToolContext::new(&name, fixture.sprites.sprite("agent-7"), fixture.log.clone());
        let call = first.for_call("call_1");
        let call = fixture.tools.call(&call, "bash", input.clone());
        // How far it came does not matter: something is cut off at every moment of a call.
        let _ = timeout(Duration::from_micros(400) * moment, call).await;
        drop(first);

        let next = ToolContext::new(&name, fixture.sprites.sprite("agent-7"), fixture.log.clone());
        if let Some(session) = fixture.sessions().get(before) {
            next.resume_session("bash", session).await;
        }
        let output = fixture.tools.call(&next.for_call("call_1"), "bash", input).await;
        assert_eq!(output, ToolOutput::ok(said), "{name}");
        next.close().await;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn how_a_command_ended_is_known_after_its_host_has_restarted() {
    let fixture = Fixture::new().await;
    let input =
        json!({"command": "echo once >> count; while [ ! -e go ]; do sleep 0.01; done; cat count; (exit 3)"});
    die_in_the_middle(&fixture, &input).await;
    std::fs::write(fixture.home.join("go"), "").unwrap();
    let exit = fixture.home.join(".roost/run-1/call_1.exit");
    until("the command ends", || {
        std::fs::read(&exit).is_ok_and(|exit| exit == b"3")
    })
    .await;
    let old = fixture.sessions();
    let fixture = Fixture::on(fixture.crash().await).await;
    fixture.context.resume_session("bash", &old[0]).await;
    let output = fixture
        .tools
        .call(&fixture.context.for_call("call_1"), "bash", input)
        .await;
    assert_eq!(output, ToolOutput::error("once\n[exit code 3]"));
    fixture.stop().await;
}

#[tokio::test]
async fn a_command_too_long_for_a_pipe_is_run_like_any_other() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(300_000);
    let command = format!("said='{long}'\necho ${{#said}} >> count; cat count");
    let wire = Wire::cutting(&fixture.base, Direction::Up, 100_000, 2).await;
    let sprites = Sprites::new(&wire.base, TOKEN).unwrap();
    let context = ToolContext::new("run-1", sprites.sprite("agent-7"), fixture.log.clone());
    let call = context.for_call("call_1");
    let output = fixture
        .tools
        .call(&call, "bash", json!({"command": command}))
        .await;
    assert_eq!(output, ToolOutput::ok("300000\n"));
    assert!(wire.cuts() > 0);
    context.close().await;
    fixture.stop().await;
}
