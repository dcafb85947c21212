//! git's credentials in a sprite: asked of the runner, kept nowhere, cleaned from what tools say.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use roost_runner::tool::{CredentialSource, Remote, ToolContext};
use roost_shared::{UnixMillis, wire::CredentialResponse};
use serde_json::json;

use crate::fixture::{Fixture, TOKEN};

const ORIGIN: &str = "https://git.example";

/// Gives a token for `octo/hello`, and a reason for all else.
#[derive(Default)]
struct Source {
    asked: Mutex<Vec<Remote>>,
    /// Milliseconds since the epoch at which its tokens end; 0 for never.
    end: Mutex<i64>,
    number: AtomicU32,
}

#[async_trait]
impl CredentialSource for Source {
    async fn credential(&self, remote: &Remote) -> Result<CredentialResponse, String> {
        self.asked.lock().unwrap().push(remote.clone());
        if remote.path != "octo/hello.git" {
            return Err(format!("{} is not yours\nmind you", remote.path));
        }
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let end = *self.end.lock().unwrap();
        Ok(CredentialResponse {
            username: "x-access-token".into(),
            password: format!("a very secret token {number}"),
            expires_at: (end > 0).then_some(UnixMillis(end)),
        })
    }
}

fn context(fixture: &Fixture, run: &str, source: &Arc<Source>) -> ToolContext {
    let sprite = fixture.sprites.sprite("agent-7");
    ToolContext::with_git(run, sprite, fixture.log.clone(), ORIGIN, source.clone())
}

async fn bash(fixture: &Fixture, context: &ToolContext, command: &str) -> String {
    let output = fixture
        .tools
        .call(context, "bash", json!({"command": command}))
        .await;
    assert!(!output.is_error, "{}", output.text);
    output.text
}

/// Asks as git does before it fetches from there.
fn fill(url: &str) -> String {
    format!("printf 'url={url}\\n\\n' | git credential fill")
}

#[tokio::test]
async fn git_gets_a_credential_for_its_repository_and_nobody_reads_it() {
    let fixture = Fixture::new().await;
    let source = Arc::new(Source::default());
    let context = context(&fixture, "run-git", &source);
    let own = fill(&format!("{ORIGIN}/octo/hello.git"));
    let length = bash(
        &fixture,
        &context,
        &format!("{own} | sed -n 's/^password=//p' | tr -d '\\n' | wc -c"),
    )
    .await;
    assert_eq!(length.trim(), "a very secret token 0".len().to_string());
    // It is asked for once, and said to nobody: not by the shell, nor by what the shell has left.
    let said = bash(
        &fixture,
        &context,
        &format!("{own} | tee said; base64 -w0 < said > encoded"),
    )
    .await;
    assert!(said.contains("password=[credential removed]"), "{said}");
    let read = fixture
        .tools
        .call(&context, "read_file", json!({"path": "said"}))
        .await;
    assert!(
        read.text.contains("password=[credential removed]"),
        "{}",
        read.text
    );
    let found = fixture
        .tools
        .call(&context, "grep", json!({"pattern": "secret", "path": "said"}))
        .await;
    assert!(!found.text.contains("secret token"), "{}", found.text);
    assert_eq!(source.asked.lock().unwrap().len(), 1);

    let other = fill(&format!("{ORIGIN}/octo/other.git"));
    let refused = fixture
        .tools
        .call(&context, "bash", json!({"command": other}))
        .await;
    assert!(
        refused.is_error
            && refused
                .text
                .contains("roost: octo/other.git is not yours mind you"),
        "{}",
        refused.text
    );
    // Of another host the runner is not even asked, and the sprite's own helpers are left alone there.
    let elsewhere = format!(
        "git config --global credential.helper '!f() {{ echo username=me; echo password=mine; }}; f'; {}",
        fill("https://elsewhere.example/octo/hello.git")
    );
    let said = bash(&fixture, &context, &elsewhere).await;
    assert!(said.contains("password=mine"), "{said}");
    assert_eq!(source.asked.lock().unwrap().len(), 2);
    context.close().await;
    fixture.stop().await;
}

#[tokio::test]
async fn many_ask_at_once_and_each_gets_its_own_answer() {
    let fixture = Fixture::new().await;
    let source = Arc::new(Source::default());
    // One that has ended is asked for anew each time.
    *source.end.lock().unwrap() = 1;
    let context = context(&fixture, "run-git", &source);
    let asks = format!(
        "for n in $(seq 12); do ({} | sed -n 's/^password=.* //p') & done; wait",
        fill(&format!("{ORIGIN}/octo/hello.git"))
    );
    let mut numbers: Vec<u32> = bash(&fixture, &context, &asks)
        .await
        .lines()
        .map(|number| number.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    let left = bash(&fixture, &context, "ls ~/.roost/run-git/git").await;
    assert_eq!(left, "ask\ncredential\n", "no pipe is left");
    context.close().await;
    fixture.stop().await;
}

#[tokio::test]
async fn the_next_runner_answers_a_shell_that_an_earlier_one_has_opened() {
    let fixture = Fixture::new().await;
    let source = Arc::new(Source::default());
    let own = fill(&format!("{ORIGIN}/octo/hello.git"));
    let first = context(&fixture, "run-git", &source);
    bash(&fixture, &first, &own).await;
    let session = fixture.sessions().pop().unwrap();
    drop(first);
    let next = context(&fixture, "run-git", &source);
    next.resume_session("bash", &session).await;
    let said = bash(&fixture, &next, &own).await;
    assert!(said.contains("password=[credential removed]"), "{said}");
    assert_eq!(fixture.sessions().len(), 1);
    next.close().await;
    fixture.stop().await;
}

/// The rules of the sprite's network policy.
async fn rules(fixture: &Fixture) -> String {
    let url = format!("{}/v1/sprites/agent-7/policy/network", fixture.base);
    let asked = reqwest::Client::new()
        .get(url)
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    let policy: serde_json::Value = asked.json().await.unwrap();
    policy["rules"].to_string()
}

#[tokio::test]
async fn the_repositorys_host_is_allowed_once_unless_a_person_decided() {
    let fixture = Fixture::new().await;
    let source = Arc::new(Source::default());
    let with_host = r#"[{"include":"defaults"},{"action":"allow","domain":"git.example"}]"#;
    for run in ["run-1", "run-2"] {
        let context = context(&fixture, run, &source);
        bash(&fixture, &context, "true").await;
        assert_eq!(rules(&fixture).await, with_host);
        context.close().await;
    }
    let url = format!("{}/v1/sprites/agent-7/policy/network", fixture.base);
    let own = json!({"rules": [{"domain": "crates.io", "action": "allow"}]});
    let set = reqwest::Client::new().post(url).bearer_auth(TOKEN);
    let set = set
        .header("content-type", "application/json")
        .body(own.to_string());
    assert!(set.send().await.unwrap().status().is_success());
    let context = context(&fixture, "run-3", &source);
    bash(&fixture, &context, "true").await;
    assert_eq!(
        rules(&fixture).await,
        r#"[{"action":"allow","domain":"crates.io"}]"#
    );
    context.close().await;
    fixture.stop().await;
}
