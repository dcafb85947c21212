//! The loop with its real tools: whenever a runner dies, the next one goes on in the same shell and nothing happens twice.

use std::sync::atomic::Ordering;

use roost_runner::{
    standin::model::{Script, Turn},
    tool::standard,
};
use roost_shared::event::EventBody;
use serde_json::json;

use crate::bench::{Bench, Crash, Memory};

fn work() -> Script {
    Script::turns(vec![
        Turn::call(
            "bash",
            json!({"command": "echo once >> count; cat count; export KEPT=yes; cd /tmp"}),
        ),
        Turn::call("write_file", json!({"path": "f", "content": "A"})),
        Turn::call("edit_file", json!({"path": "f", "old": "A", "new": "AA"})),
        Turn::call("bash", json!({"command": "echo $KEPT $PWD; cat ~/f"})),
        Turn::say("Done."),
    ])
}

#[tokio::test]
async fn a_crash_at_any_append_shows_in_no_result_and_no_file() {
    for crash in [Crash::Before, Crash::After] {
        for at in 0.. {
            let mut bench = Bench::new(work()).await;
            bench.tools = standard();
            let memory = Memory::new();
            *memory.crash.lock().unwrap() = Some((at, crash));
            bench.drive(&memory).await;
            let untouched = memory.appends.load(Ordering::SeqCst) <= at;
            let ended_unseen = memory.state().phase.is_terminal() && !untouched;
            *memory.crash.lock().unwrap() = None;
            if !memory.state().phase.is_terminal() {
                bench.drive(&memory).await;
            }
            let case = format!("crash {crash:?} append {at}: {:?}", memory.kinds());
            assert!(matches!(memory.last(), EventBody::Completed { .. }), "{case}");
            let said: Vec<_> = memory.results().into_iter().map(|result| result.text).collect();
            let expected = [
                "once\n",
                "Wrote f (1 lines, 1 bytes).",
                "Edited f at line 1.",
                "yes /tmp\nAA",
            ];
            assert_eq!(said, expected, "{case}");
            let sessions = bench.sprites.sprite("agent-1").sessions().await.unwrap();
            let open = sessions.iter().filter(|session| session.is_active).count();
            // A runner that dies with the run's last append in flight leaves the shell to its own clock.
            assert_eq!(
                open,
                usize::from(ended_unseen),
                "the shell ends with its run; {case}"
            );
            if untouched {
                break;
            }
        }
    }
}
