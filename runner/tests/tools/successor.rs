//! `bash` when a runner dies, a host restarts or a connection is cut: the command runs once, and its result is found.

use std::sync::{Arc, Mutex};

use roost_runner::{
    sprite::Sprites,
    tool::{ToolContext, ToolOutput},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::fixture::{Fixture, TOKEN, until};

#[tokio::test]
async fn a_call_repeated_with_its_key_joins_its_command_on_another_runner() {
    let fixture = Fixture::new().await;
    let input = json!({"command": "echo once >> count; while [ ! -e go ]; do sleep 0.01; done; cat count"});
    // The first runner dies in the middle of the call.
    {
        let context = fixture.context.for_call("call_1");
        let call = fixture.tools.call(&context, "bash", input.clone());
        let count = fixture.home.join("count");
        tokio::select! {
            output = call => panic!("{output:?}"),
            () = until("the command begins", || count.exists()) => {}
        }
    }
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
    let input = json!({"command": "echo once >> count; echo working; sleep 1000"});
    {
        let context = fixture.context.for_call("call_1");
        let call = fixture.tools.call(&context, "bash", input.clone());
        let count = fixture.home.join("count");
        tokio::select! {
            output = call => panic!("{output:?}"),
            () = until("the command begins", || count.exists()) => {}
        }
    }
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

/// A way to the host that can be cut.
struct Wire {
    base: String,
    pipes: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Wire {
    async fn to(base: &str) -> Self {
        let target = base.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let pipes = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let open = pipes.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(&target).await.unwrap();
                let pipe =
                    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
                open.lock().unwrap().push(pipe.abort_handle());
            }
        });
        Self { base, pipes }
    }

    fn cut(&self) {
        self.pipes.lock().unwrap().drain(..).for_each(|pipe| pipe.abort());
    }
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
