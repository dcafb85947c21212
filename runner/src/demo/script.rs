//! What the scripted model says: a fixed part that goes on only while the tools really print what it expects.

use serde_json::json;

use super::repository::{FILE, RIGHT, WRONG};
use crate::standin::model::{Asked, Script, Turn};

/// What a failing run of the tests prints.
pub(super) const FAILED: &str = "FAILED (failures=1)";
/// What a good one prints in a line of its own.
pub(super) const PASSED: &str = "OK";

const TESTS: &str = "python3 -m unittest 2>&1";

/// The script for the repository at `clone_url`.
pub(super) fn script(clone_url: &str) -> Script {
    let clone = format!("git clone --quiet {clone_url} shop && cd shop && git log --oneline && ls");
    Script::by(move |asked| turn(asked, &clone))
}

fn turn(asked: &Asked<'_>, clone: &str) -> Turn {
    let heard = asked.last_text();
    match asked.position {
        0 => bash("I'll get the repository and look.", clone),
        1 if heard.contains(FILE) => bash("Now the tests.", TESTS),
        2 if heard.contains(FAILED) => {
            Turn::say("One test fails: the discount comes out wrong. I'll read the code.")
                .and_call("read_file", json!({ "path": format!("shop/{FILE}") }))
        }
        3 if heard.contains(WRONG) => Turn::say("A discount in percent is divided by 10 instead of 100.")
            .and_call(
                "edit_file",
                json!({ "path": format!("shop/{FILE}"), "old": WRONG, "new": RIGHT }),
            ),
        4 if !heard.to_lowercase().contains("error") => bash("The tests again.", TESTS),
        5 if passed(&heard) => bash(
            "All green. I'll commit it.",
            "git -c user.name=Roost -c user.email=roost@example.com commit -qam 'A discount is in percent' \
             && git show --stat --format='%h %s' HEAD",
        ),
        6 if heard.contains(FILE) => Turn::say(reply(&heard)),
        _ => Turn::say(format!(
            "I stopped: the last step did not print what I expected. It printed:\n\n```\n{heard}\n```"
        )),
    }
}

fn bash(say: &str, command: &str) -> Turn {
    Turn::say(say).and_call("bash", json!({ "command": command }))
}

/// Whether the tests passed, by their own word.
pub(super) fn passed(output: &str) -> bool {
    output.lines().any(|line| line.trim() == PASSED)
}

fn reply(commit: &str) -> String {
    format!(
        "Found it: `total` in `{FILE}` divided the discount by 10, but it is in percent. `{WRONG}` is now `{RIGHT}`, and all \
         tests pass again. Committed in my sprite:\n\n```\n{}\n```",
        commit.trim()
    )
}
