//! `bash`: what lasts, what ends a command, what is shown of it.

use std::sync::Arc;

use roost_runner::tool::{Bash, ToolContext, ToolOutput};
use serde_json::json;
use tokio::time::timeout;

use crate::fixture::{Fixture, Log, PATIENCE, runs, until};

#[tokio::test]
async fn the_shell_keeps_directory_environment_and_functions_between_calls() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture
            .bash("mkdir -p src/deep && cd src/deep && export COLOUR='blue green' plain=x")
            .await,
        "[no output]"
    );
    assert_eq!(
        fixture.bash("greet() { echo \"hello $1\"; }; pwd").await,
        "/home/sprite/src/deep\n"
    );
    assert_eq!(fixture.bash("greet \"$COLOUR\"").await, "hello blue green\n");
    assert_eq!(
        fixture
            .bash("echo 'it'\\''s'; echo \"quo\\\"ted\" # a comment")
            .await,
        "it's\nquo\"ted\n"
    );
    assert_eq!(
        fixture.bash("cat; echo read nothing").await,
        "read nothing\n",
        "stdin is empty"
    );
    assert_eq!(
        fixture.bash("cat <<'END'\n$not expanded\nEND").await,
        "$not expanded\n"
    );
    let failed = fixture
        .call("bash", json!({"command": "echo out; echo err >&2; (exit 7)"}))
        .await;
    assert_eq!(failed, ToolOutput::error("out\nerr\n[exit code 7]"));
    fixture
        .fails("bash", json!({"command": "if then"}), "syntax error")
        .await;
    assert_eq!(fixture.bash("pwd").await, "/home/sprite/src/deep\n");
    assert_eq!(fixture.sessions().len(), 1, "all of it in one session");
    fixture.stop().await;
}

#[tokio::test]
async fn a_session_is_journaled_before_anything_is_sent_to_it() {
    let fixture = Fixture::new().await;
    let refusing = Arc::new(Log {
        refuse: true,
        ..Log::default()
    });
    let context = ToolContext::new("run-2", fixture.sprites.sprite("agent-7"), refusing);
    let output = fixture
        .tools
        .call(&context, "bash", json!({"command": "touch sent"}))
        .await;
    assert!(
        output.is_error && output.text.contains("the lease is lost"),
        "{}",
        output.text
    );
    assert!(!fixture.home.join("sent").exists());
    let sprite = fixture.sprites.sprite("agent-7");
    assert!(
        sprite
            .sessions()
            .await
            .unwrap()
            .iter()
            .all(|session| !session.is_active)
    );
    fixture.stop().await;
}

#[tokio::test]
async fn a_command_out_of_time_is_ended_and_the_next_shell_is_where_it_was() {
    let fixture = Fixture::new().await;
    fixture.bash("mkdir work; cd work; export KEPT=yes").await;
    // What follows the slow command must not run; a loop of builtins must not hold out either.
    let slow = json!({"command": "echo begun; sleep 1000.17; touch after", "timeout": 1});
    let text = fixture.fails("bash", slow, "ended after 1 s").await;
    assert!(text.starts_with("begun\n"), "{text}");
    fixture
        .fails(
            "bash",
            json!({"command": "trap '' INT; while :; do :; done", "timeout": 1}),
            "ended after 1 s",
        )
        .await;
    assert_eq!(
        fixture.bash("pwd; echo $KEPT; ls").await,
        "/home/sprite/work\nyes\n"
    );
    assert!(!runs("1000.17"));
    assert_eq!(fixture.sessions().len(), 3, "each new shell was journaled");
    fixture.stop().await;
}

#[tokio::test]
async fn a_command_that_ends_the_shell_says_its_exit_code_and_loses_no_state() {
    let fixture = Fixture::new().await;
    fixture.bash("export KEPT=yes; mkdir d; cd d").await;
    fixture
        .fails(
            "bash",
            json!({"command": "echo bye; exit 3"}),
            "bye\n[exit code 3; the command ended the shell",
        )
        .await;
    assert_eq!(fixture.bash("echo $KEPT; basename $PWD").await, "yes\nd\n");
    fixture
        .fails(
            "bash",
            json!({"command": "set -e\nfalse\ntouch after"}),
            "[exit code 1;",
        )
        .await;
    assert_eq!(fixture.bash("ls").await, "[no output]");

    // A shell that died between two calls is no reason for the second to fail.
    fixture.bash("(sleep 0.05; kill -9 $$) & true").await;
    let sprite = fixture.sprites.sprite("agent-7");
    timeout(PATIENCE, async {
        while sprite
            .sessions()
            .await
            .unwrap()
            .iter()
            .any(|session| session.is_active)
        {}
    })
    .await
    .expect("the shell dies");
    assert_eq!(fixture.bash("echo $KEPT").await, "yes\n");
    fixture.stop().await;
}

#[tokio::test]
async fn long_output_is_cut_in_the_middle_and_kept_in_a_file() {
    let fixture = Fixture::new().await;
    // Once fetched whole, once by its ends.
    for lines in [20_000, 200_000] {
        let text = fixture.bash(&format!("seq {lines}")).await;
        assert!(
            text.chars().count() <= 30_000
                && text.starts_with("1\n2\n")
                && text.ends_with(&format!("\n{lines}\n"))
        );
        let file = text
            .split_once("all of it is in ~/")
            .unwrap()
            .1
            .split_once(" …]")
            .unwrap()
            .0;
        assert_eq!(
            fixture.bash(&format!("wc -l < ~/{file}")).await,
            format!("{lines}\n")
        );
        let read = fixture
            .ok(
                "read_file",
                json!({"path": format!("~/{file}"), "offset": lines - 1, "limit": 1}),
            )
            .await;
        assert!(
            read.starts_with(&format!("{}\t{}\n", lines - 1, lines - 1)),
            "{read}"
        );
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_command_that_writes_too_much_is_ended() {
    let mut fixture = Fixture::new().await;
    fixture.tools = fixture.tools.with(Bash::default().max_output(1 << 20));
    let text = fixture
        .fails(
            "bash",
            json!({"command": "while :; do head -c 100000 /dev/zero | tr '\\0' x; sleep 0.02; done"}),
            "too much output",
        )
        .await;
    assert!(text.chars().count() < 31_000);
    assert_eq!(fixture.bash("echo next").await, "next\n");
    fixture.stop().await;
}

#[tokio::test]
async fn calls_of_one_run_take_turns_and_closing_it_ends_its_processes() {
    let fixture = Fixture::new().await;
    let calls =
        (0..5).map(|number| fixture.bash_of(format!("printf '{number}<'; sleep 0.02; echo '>{number}'")));
    let outputs = futures::future::join_all(calls).await;
    for (number, output) in outputs.into_iter().enumerate() {
        assert_eq!(output, format!("{number}<>{number}\n"));
    }
    fixture.bash("sleep 1000.18 & echo $!").await;
    // The shell has forked, but its child may not be `sleep` yet.
    until("a background process lasts from call to call", || runs("1000.18")).await;
    assert_eq!(fixture.bash("kill -0 %1 && echo there").await, "there\n");
    fixture.context.close().await;
    until("the background process is gone", || !runs("1000.18")).await;
    fixture.stop().await;
}
