//! What is written to the shell's standard input.
//!
//! Invariant: text of the agent appears only inside single quotes; every script ends with one line that only its sender can
//! expect, because it carries 128 random bits: `\nMARKER STATUS\n`.

use crate::{random::hex_id, tool::ToolContext};

/// One command and where its traces are, relative to the home.
#[derive(Debug, Clone)]
pub(in crate::tool) struct Job {
    /// What the command says, both streams.
    pub(in crate::tool) log: String,
    /// Its exit code, once it has ended.
    exit: String,
    /// The command, where it is too long to be said in one breath.
    pub(super) command: String,
    /// The run's directory of such files.
    dir: String,
    /// What every new shell of the run is to export.
    exports: String,
}

impl Job {
    /// The job of this call; a call without a key is a job of its own each time.
    pub(in crate::tool) fn of(context: &ToolContext) -> Self {
        let keyed = match context.own_file("log") {
            Some(_) => context.clone(),
            None => context.for_call(&hex_id()),
        };
        let file = |kind| keyed.own_file(kind).unwrap_or_default();
        Self {
            log: file("log"),
            exit: file("exit"),
            command: file("command"),
            exports: keyed
                .git()
                .map_or_else(String::new, |git| git.exports(&keyed.own_dir())),
            dir: keyed.own_dir(),
        }
    }
}

/// What the shell says after a job: the exit code, or that nothing is known of it.
pub(super) const UNKNOWN: &str = "unknown";
/// How a shell is started: it comes up with the first line it is sent. One that nobody speaks to, because its opener died or
/// was cut off before it knew the session's name, ends by itself.
pub(super) const GATED: [&str; 5] = [
    "bash",
    "--noprofile",
    "--norc",
    "-c",
    "read -r -t 120 && exec bash --noprofile --norc",
];

/// Makes a shell ready that has not been: its files, and the directory and environment an earlier shell of the run has left.
///
/// The first line opens the gate; a shell that is up already takes it for a command that does nothing.
fn begin(dir: &str, exports: &str) -> String {
    // Old runs' files go when they are a week old, in the background.
    format!(
        ":\n\
         if [ -z \"${{__roost_home-}}\" ]; then\n\
         readonly __roost_home=$HOME\n\
         command mkdir -p -m 700 -- \"$__roost_home\"/{dir}\n\
         command find \"$__roost_home\"/.roost -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf -- {{}} + </dev/null >/dev/null 2>&1 &\n\
         [ ! -e \"$__roost_home\"/{dir}/env ] || . \"$__roost_home\"/{dir}/env >/dev/null 2>&1\n\
         {exports}\
         fi\n"
    )
}

/// What a job's command is to the shell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command<'a> {
    /// The command itself.
    Text(&'a str),
    /// A file that holds it, relative to the home.
    File(&'a str),
}

/// Runs a command unless its log shows that it was begun, and says how it ended.
///
/// The command's standard input is empty, both of its streams go to the log. Its exported variables and directory are saved
/// for the case that the shell does not live to see the next command.
pub(super) fn run(job: &Job, command: Command<'_>, marker: &str) -> String {
    let Job { log, exit, dir, .. } = job;
    let (log, exit, dir) = (quote(log), quote(exit), quote(dir));
    let command = match command {
        Command::Text(text) => quote(text),
        Command::File(file) => format!("\"$(<\"$__roost_home\"/{})\"", quote(file)),
    };
    format!(
        "{}\
         if [ ! -e \"$__roost_home\"/{log} ]; then\n\
         eval {command} </dev/null >\"$__roost_home\"/{log} 2>&1\n\
         builtin printf %s \"$?\" >|\"$__roost_home\"/{exit}\n\
         {{ builtin export -p; builtin printf 'cd -- %s\\n' \"${{PWD@Q}}\"; }} >|\"$__roost_home\"/{dir}/env 2>/dev/null\n\
         fi\n\
         {}",
        begin(&dir, &job.exports),
        say_exit(&exit, marker)
    )
}

fn say(marker: &str, status: &str) -> String {
    format!("builtin printf '\\n%s %s\\n' {marker} {status}\n")
}

fn say_exit(exit: &str, marker: &str) -> String {
    format!(
        "if [ -e \"$__roost_home\"/{exit} ]; then\n\
         builtin printf '\\n%s %s\\n' {marker} \"$(<\"$__roost_home\"/{exit})\"\n\
         else\n{}fi\n",
        say(marker, UNKNOWN)
    )
}

/// Text as one word of the shell, whatever is in it (but NUL).
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Looks for the marker's line in what the shell has said; its status, if it is complete.
pub(super) fn status<'a>(said: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(&format!("\n{marker} "))?;
    rest.split_once('\n').map(|(status, _)| status)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_one_word_to_the_shell(text in "[^\u{0}]{0,60}") {
            let script = format!("printf %s {}", quote(&text));
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(output.stdout, text.as_bytes());
        }
    }

    #[test]
    fn a_status_counts_only_behind_its_marker_and_when_complete() {
        assert_eq!(status("noise\nabc 0\n", "abc"), Some("0"));
        assert_eq!(status("noise\nabc 12", "abc"), None);
        assert_eq!(status("abd 0\nxabc 1\n", "abc"), None);
    }
}
