//! The tools of an agent in a sprite of our own host: the shell that lasts, and files with their conflicts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use roost_runner::{
    sprite::{
        Sprites,
        host::{self, HostConfig},
    },
    tool::{Bash, SessionLog, SessionLogError, ToolContext, ToolOutput, Tools, standard},
};
use roost_shared::effect::EffectClass;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

const TOKEN: &str = "a token for tests";
const PATIENCE: Duration = Duration::from_secs(20);

/// A journal of sessions; `refuse` makes it one of a run that was taken away.
#[derive(Default)]
struct Log {
    sessions: Mutex<Vec<String>>,
    refuse: bool,
}

#[async_trait]
impl SessionLog for Log {
    async fn session_opened(
        &self,
        purpose: &str,
        sprite: &str,
        session: &str,
    ) -> Result<(), SessionLogError> {
        assert_eq!((purpose, sprite), ("bash", "agent-7"));
        if self.refuse {
            return Err(SessionLogError("the lease is lost".into()));
        }
        self.sessions.lock().unwrap().push(session.to_owned());
        Ok(())
    }
}

struct Fixture {
    sprites: Sprites,
    base: String,
    home: PathBuf,
    log: Arc<Log>,
    tools: Tools,
    context: ToolContext,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    async fn on(dir: tempfile::TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let config = HostConfig::new(dir.path(), TOKEN);
        let server = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            host::serve(listener, config, stopped).await.unwrap();
        });
        let sprites = Sprites::new(&base, TOKEN).unwrap();
        let sprite = sprites.ensure("agent-7").await.unwrap();
        let log = Arc::new(Log::default());
        let context = ToolContext::new("run-1", sprite, log.clone());
        let home = dir
            .path()
            .canonicalize()
            .unwrap()
            .join("sprites/agent-7/root/home/sprite");
        Self {
            sprites,
            base,
            home,
            log,
            tools: standard(),
            context,
            stop,
            server,
            dir,
        }
    }

    /// Another runner's view of the same run.
    async fn next_runner(&self) -> ToolContext {
        let context = ToolContext::new("run-1", self.sprites.sprite("agent-7"), self.log.clone());
        if let Some(session) = self.sessions().last() {
            context.resume_session("bash", session).await;
        }
        context
    }

    fn sessions(&self) -> Vec<String> {
        self.log.sessions.lock().unwrap().clone()
    }

    async fn call(&self, tool: &str, input: Value) -> ToolOutput {
        timeout(PATIENCE, self.tools.call(&self.context, tool, input))
            .await
            .expect("the tool answers")
    }

    async fn ok(&self, tool: &str, input: Value) -> String {
        let output = self.call(tool, input).await;
        assert!(!output.is_error, "{}", output.text);
        output.text
    }

    async fn bash(&self, command: &str) -> String {
        self.ok("bash", json!({"command": command})).await
    }

    async fn fails(&self, tool: &str, input: Value, why: &str) -> String {
        let output = self.call(tool, input).await;
        assert!(
            output.is_error && output.text.contains(why),
            "{why:?} is not in {:?}",
            output.text
        );
        output.text
    }

    async fn stop(self) -> tempfile::TempDir {
        self.context.close().await;
        drop((self.sprites, self.context));
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.server)
            .await
            .expect("the host stops")
            .unwrap();
        self.dir
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}

fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

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
        format!("{}/src/deep\n", fixture.home.display())
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
    assert_eq!(
        fixture.bash("pwd").await,
        format!("{}/src/deep\n", fixture.home.display())
    );
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
    let slow = json!({"command": "echo begun; echo $BASHPID > pid; sleep 1000; touch after", "timeout": 1});
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
        format!("{}/work\nyes\npid\n", fixture.home.display())
    );
    let pid = std::fs::read_to_string(fixture.home.join("work/pid")).unwrap();
    assert!(!runs(&pid));
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

#[tokio::test]
async fn calls_of_one_run_take_turns_and_closing_it_ends_its_processes() {
    let fixture = Fixture::new().await;
    let calls =
        (0..5).map(|number| fixture.bash_owned(format!("printf '{number}<'; sleep 0.02; echo '>{number}'")));
    let outputs = futures::future::join_all(calls).await;
    for (number, output) in outputs.into_iter().enumerate() {
        assert_eq!(output, format!("{number}<>{number}\n"));
    }
    let pid = fixture.bash("sleep 1000 & echo $!").await;
    assert!(runs(&pid), "a background process lasts from call to call");
    assert_eq!(fixture.bash("kill -0 %1 && echo there").await, "there\n");
    fixture.context.close().await;
    until("the background process is gone", || !runs(&pid)).await;
    fixture.stop().await;
}

impl Fixture {
    async fn bash_owned(&self, command: String) -> String {
        self.bash(&command).await
    }
}

#[tokio::test]
async fn files_are_written_read_and_edited_byte_for_byte() {
    let fixture = Fixture::new().await;
    let wrote = fixture
        .ok(
            "write_file",
            json!({"path": "src/a.py", "content": "one\n\ttwo\r\nthree\n"}),
        )
        .await;
    assert_eq!(wrote, "Wrote src/a.py (3 lines, 16 bytes).");
    assert_eq!(
        fixture.ok("read_file", json!({"path": "src/a.py"})).await,
        "1\tone\n2\t\ttwo\n3\tthree\n"
    );
    let edited = fixture
        .ok(
            "edit_file",
            json!({"path": "~/src/a.py", "old": "\ttwo\r\n", "new": "\t2\r\n"}),
        )
        .await;
    assert_eq!(edited, "Edited src/a.py at line 2.");
    assert_eq!(
        std::fs::read(fixture.home.join("src/a.py")).unwrap(),
        b"one\n\t2\r\nthree\n"
    );
    let all = json!({"path": "src/a.py", "old": "e", "new": "E", "replace_all": true});
    assert_eq!(fixture.ok("edit_file", all).await, "Edited src/a.py at 3 places.");

    fixture
        .fails(
            "edit_file",
            json!({"path": "src/a.py", "old": "nowhere", "new": "x"}),
            "is not in the file",
        )
        .await;
    fixture
        .fails("read_file", json!({"path": "missing"}), "does not exist")
        .await;
    fixture
        .fails("read_file", json!({"path": "src"}), "is a directory")
        .await;
    fixture
        .fails(
            "read_file",
            json!({"path": "../../../../../etc/passwd"}),
            "outside the sprite",
        )
        .await;
    fixture
        .fails("read_file", json!({}), "missing field `path`")
        .await;
    fixture
        .fails(
            "write_file",
            json!({"path": "src", "content": ""}),
            "is a directory",
        )
        .await;
    fixture.bash("printf 'a\\0b' > binary").await;
    fixture
        .fails("read_file", json!({"path": "binary"}), "not text (3 bytes)")
        .await;
    fixture
        .fails(
            "shout",
            json!({}),
            "Tools: bash, edit_file, glob, grep, list, read_file, write_file.",
        )
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_read_is_left_alone() {
    let fixture = Fixture::new().await;
    let edit = || json!({"path": "f", "old": "mine", "new": "edited"});
    fixture
        .ok("write_file", json!({"path": "f", "content": "mine\n"}))
        .await;
    fixture.bash("echo theirs >> f").await;
    fixture
        .fails("edit_file", edit(), "has changed since you last read it")
        .await;
    fixture
        .fails(
            "write_file",
            json!({"path": "f", "content": "overwritten"}),
            "has changed since",
        )
        .await;
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "mine\ntheirs\n"
    );
    fixture.ok("read_file", json!({"path": "f"})).await;
    fixture.ok("edit_file", edit()).await;
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "edited\ntheirs\n"
    );
    fixture.bash("rm f").await;
    fixture
        .ok("write_file", json!({"path": "f", "content": "anew"}))
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn edits_of_one_answer_do_not_lose_each_other_and_a_repeated_one_is_made_once() {
    let fixture = Fixture::new().await;
    fixture
        .ok("write_file", json!({"path": "f", "content": "a b c\n"}))
        .await;
    let edits = [("a", "A"), ("b", "B"), ("c", "C")]
        .map(|(old, new)| fixture.call("edit_file", json!({"path": "f", "old": old, "new": new})));
    assert!(
        futures::future::join_all(edits)
            .await
            .iter()
            .all(|output| !output.is_error)
    );
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "A B C\n"
    );

    // Its result contains what it replaces: made twice, it would show.
    let edit = json!({"path": "f", "old": "A", "new": "AA"});
    let first = fixture
        .tools
        .call(&fixture.context.for_call("call_1"), "edit_file", edit.clone())
        .await;
    let next = fixture.next_runner().await;
    let again = fixture
        .tools
        .call(&next.for_call("call_1"), "edit_file", edit)
        .await;
    assert_eq!((first.clone(), first.is_error), (again, false));
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "AA B C\n"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn files_are_found_by_name_and_by_content() {
    let fixture = Fixture::new().await;
    for (path, content) in [
        ("src/main.rs", "fn main() {\n    println!(\"hi\");\n}\n"),
        ("src/deep/mod.rs", "fn helper() {}\n"),
        ("README.md", "Main thing\n"),
        (".git/config", "fn hidden() {}\n"),
        ("-odd name", "fn odd() {}\n"),
    ] {
        fixture
            .ok("write_file", json!({"path": path, "content": content}))
            .await;
    }
    assert_eq!(
        fixture.ok("glob", json!({"pattern": "**/*.rs"})).await,
        "src/deep/mod.rs\nsrc/main.rs"
    );
    assert_eq!(
        fixture
            .ok("glob", json!({"pattern": "*.rs", "path": "src/deep"}))
            .await,
        "mod.rs"
    );
    assert_eq!(
        fixture.ok("glob", json!({"pattern": "config"})).await,
        "[no file matches]"
    );
    fixture
        .fails("glob", json!({"pattern": "{a"}), "can't be read")
        .await;
    fixture
        .fails("glob", json!({"pattern": "*", "path": "nowhere"}), "No such file")
        .await;

    let found = fixture.ok("grep", json!({"pattern": "fn \\w+\\("})).await;
    let mut lines: Vec<_> = found.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "-odd name:1:fn odd() {}",
            "src/deep/mod.rs:1:fn helper() {}",
            "src/main.rs:1:fn main() {"
        ]
    );
    let around = json!({"pattern": "MAIN", "ignore_case": true, "path": "src/main.rs", "context": 1});
    assert_eq!(
        fixture.ok("grep", around).await,
        "src/main.rs:1:fn main() {\nsrc/main.rs-2-    println!(\"hi\");\n"
    );
    let files = json!({"pattern": "fn", "include": "*.rs", "output": "files", "limit": 1});
    assert!(
        fixture
            .ok("grep", files)
            .await
            .ends_with("[1 more lines; narrow the pattern, the path or include]\n")
    );
    assert_eq!(
        fixture.ok("grep", json!({"pattern": "absent"})).await,
        "[no line matches]"
    );
    fixture
        .fails("grep", json!({"pattern": "(open"}), "grep failed")
        .await;
    // What looks like an option or a command is neither.
    assert_eq!(
        fixture
            .ok(
                "grep",
                json!({"pattern": "--version; touch pwned", "path": "-odd name"})
            )
            .await,
        "[no line matches]"
    );
    assert!(!fixture.home.join("pwned").exists());

    let listed = fixture.ok("list", json!({})).await;
    let names: Vec<_> = listed.lines().map(|line| line[16..].to_owned()).collect();
    assert_eq!(names, [".git/", "src/", "-odd name", "README.md"]);
    fixture.stop().await;
}

#[test]
fn the_list_of_tools_is_sorted_stable_and_documented() {
    let first = serde_json::to_string(&standard().definitions()).unwrap();
    assert_eq!(first, serde_json::to_string(&standard().definitions()).unwrap());
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/tools.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let tools = standard();
    let mut names: Vec<_> = tools.definitions().into_iter().map(|tool| tool.name).collect();
    for name in &names {
        let class = match tools.effect_class(name) {
            EffectClass::Pure => "pure",
            EffectClass::Idempotent => "idempotent",
            EffectClass::AtMostOnce => "at_most_once",
            EffectClass::NeedsApproval => "needs_approval",
        };
        assert!(
            manual
                .lines()
                .any(|line| line.starts_with(&format!("| `{name}` | {class} |"))),
            "{name} is not in the manual"
        );
    }
    let given = names.clone();
    names.sort();
    assert_eq!(given, names);
}
