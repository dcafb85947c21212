//! `bash`: commands in the run's shell.
//!
//! Invariant: a call's command is started once, however often the call is made; its whole output is in a file in the sprite,
//! so any runner can tell what it said. A command that runs out of time or says too much is ended, and the next call finds a
//! shell in the same directory with the same exported variables.

use std::time::Duration;

use async_trait::async_trait;
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Tool, ToolContext, ToolOutput, command,
    cut::{OUTPUT_CHARS, cut, ends},
    input::{parse, sprite_error},
    shell::{Job, Shell, ShellError, ShellSlot, Waited},
};
use crate::sprite::{FileErrorKind, SpriteError};

/// The tool's name, and the purpose its sessions are journaled for.
pub(super) const BASH: &str = "bash";

const DEFAULT_SECONDS: u64 = 120;
const MAX_SECONDS: u64 = 3_600;
/// Logs up to this size are fetched whole, of larger ones the two ends.
const WHOLE_BYTES: usize = 256 << 10;
/// Enough bytes for the characters that are shown of one end.
const END_BYTES: usize = 4 * OUTPUT_CHARS;

/// Runs commands in the run's shell.
#[derive(Debug, Clone)]
pub struct Bash {
    /// How much a command may write to its output, in bytes.
    max_output: u64,
    /// How often its size is looked at.
    look_every: Duration,
    /// How long an interrupted command has to end by itself.
    grace: Duration,
}

impl Default for Bash {
    fn default() -> Self {
        Self {
            max_output: 512 << 20,
            look_every: Duration::from_secs(1),
            grace: Duration::from_secs(3),
        }
    }
}

impl Bash {
    /// A `bash` whose commands may write at most `bytes` of output before they are ended.
    #[must_use]
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.max_output = bytes;
        self
    }
}

#[derive(Debug, Deserialize)]
struct Input {
    command: String,
    timeout: Option<u64>,
}

/// How a command came to its end.
enum Ending {
    Exit(i32),
    TimedOut(u64),
    TooMuch,
    /// The shell ended with it, with this exit code.
    ShellEnded(i32),
    /// Begun, but its shell is gone.
    Lost,
}

#[async_trait]
impl Tool for Bash {
    fn name(&self) -> &'static str {
        BASH
    }

    fn description(&self) -> &'static str {
        "Runs a command in a bash that stays open: the directory, exported variables, functions and background processes last \
         from call to call. It starts in the home directory. The command has no input (stdin is empty, there is no terminal), \
         so use options such as --yes. Both output streams come back together, then the exit code if it is not 0. \
         Start servers in the background with &."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The command, any number of lines."},
                "timeout": {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS, "description": "Seconds after which it is ended, 120 by default."},
            },
            "required": ["command"],
            "additionalProperties": false,
        })
    }

    fn effect_class(&self) -> EffectClass {
        // A call that is repeated with its key joins the command it began, or reads how it ended; it starts nothing twice.
        EffectClass::Idempotent
    }

    async fn call(&self, context: &ToolContext, input: Value) -> ToolOutput {
        let input: Input = match parse(input) {
            Ok(input) => input,
            Err(output) => return output,
        };
        if input.command.trim().is_empty() || input.command.contains('\0') {
            return ToolOutput::error("The command is empty or has a NUL in it.");
        }
        let seconds = input.timeout.unwrap_or(DEFAULT_SECONDS).clamp(1, MAX_SECONDS);
        let job = Job::of(context);
        // Held to the end: one shell, one command at a time.
        let mut slot = context.shell().await;
        match self.run(context, &mut slot, &job, &input.command, seconds).await {
            Ok(ending) => report(context, &job, ending).await,
            Err(ShellError::Sprite(error)) => {
                let mut output = sprite_error(&error);
                output.text.push_str(
                    " Whether the command was begun is not known: see what it has done before you run it again.",
                );
                output
            }
            Err(error) => ToolOutput::error(format!("The command was not run: {error}.")),
        }
    }
}

impl Bash {
    async fn run(
        &self,
        context: &ToolContext,
        slot: &mut ShellSlot,
        job: &Job,
        command: &str,
        seconds: u64,
    ) -> Result<Ending, ShellError> {
        if let Some(git) = context.git() {
            git.serve(context).await;
        }
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut shell = slot.take(context).await?;
        let mut waited = self.wait(context, &mut shell, job, command, deadline).await?;
        if self.needs_another(context, job, waited.as_ref()).await? {
            slot.forget();
            shell = slot.take(context).await?;
            waited = self.wait(context, &mut shell, job, command, deadline).await?;
        }
        let ending = match waited {
            Some(Waited::Done(exit)) => {
                slot.put(shell);
                return Ok(Ending::Exit(exit));
            }
            Some(Waited::Unknown) => {
                slot.put(shell);
                return Ok(Ending::Lost);
            }
            Some(Waited::ShellEnded(exit)) => {
                slot.forget();
                if !has_begun(context, job).await? {
                    return Err(ShellError::NoShell);
                }
                return Ok(Ending::ShellEnded(exit));
            }
            Some(Waited::ShellGone) => {
                slot.forget();
                return Ok(Ending::Lost);
            }
            Some(Waited::Late) => Ending::TimedOut(seconds),
            None => Ending::TooMuch,
        };
        // Programs get a chance to tidy up; then everything in the session goes.
        if shell.interrupt().await.is_err() || !shell.ends(Instant::now() + self.grace).await {
            shell.end(context).await;
        }
        slot.forget();
        Ok(ending)
    }

    /// Whether another shell must be asked: this one ended before it took the command, or is gone with what it knew. A shell
    /// that finds the command begun does not run it, and says how it ended where that was written down.
    async fn needs_another(
        &self,
        context: &ToolContext,
        job: &Job,
        waited: Option<&Waited>,
    ) -> Result<bool, SpriteError> {
        match waited {
            Some(Waited::ShellGone) => Ok(true),
            Some(Waited::ShellEnded(_)) => Ok(!has_begun(context, job).await?),
            _ => Ok(false),
        }
    }

    /// Waits for the job and watches its log; `None` when that grows too large.
    async fn wait(
        &self,
        context: &ToolContext,
        shell: &mut Shell,
        job: &Job,
        command: &str,
        deadline: Instant,
    ) -> Result<Option<Waited>, SpriteError> {
        let mut running = std::pin::pin!(shell.run(context, job, command, deadline));
        loop {
            tokio::select! {
                waited = &mut running => return waited.map(Some),
                () = tokio::time::sleep(self.look_every) => {
                    if log_size(context, job).await > self.max_output {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

async fn has_begun(context: &ToolContext, job: &Job) -> Result<bool, SpriteError> {
    match context.sprite().list(&job.log).await {
        Ok(_) => Ok(true),
        Err(SpriteError::File {
            kind: FileErrorKind::NotFound,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn log_size(context: &ToolContext, job: &Job) -> u64 {
    // A size that can't be seen now is seen at the next look.
    let entries = context.sprite().list(&job.log).await.unwrap_or_default();
    entries.first().map_or(0, |entry| entry.size)
}

async fn report(context: &ToolContext, job: &Job, ending: Ending) -> ToolOutput {
    let output = match output(context, job).await {
        Ok(output) => output,
        Err(error) => return error,
    };
    let gone = "The next command gets a new shell in the same directory with the same exported variables; \
                functions and background processes are gone.";
    let note = match ending {
        Ending::Exit(0) if output.is_empty() => return ToolOutput::ok("[no output]"),
        Ending::Exit(0) => return ToolOutput::ok(output),
        Ending::Exit(exit) => format!("[exit code {exit}]"),
        Ending::ShellEnded(exit) => format!("[exit code {exit}; the command ended the shell. {gone}]"),
        Ending::TimedOut(seconds) => format!(
            "[ended after {seconds} s without a result. {gone} Give a longer timeout, or run it in the background with &.]"
        ),
        Ending::TooMuch => format!("[ended because it wrote too much output. {gone}]"),
        Ending::Lost => {
            "[the command was interrupted when its shell was lost; whether it had finished is not known. \
                         See what it has done before you run it again.]"
                .to_owned()
        }
    };
    let newline = if output.is_empty() || output.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    ToolOutput::error(format!("{output}{newline}{note}"))
}

/// What the command said, cut to what a model can bear.
async fn output(context: &ToolContext, job: &Job) -> Result<String, ToolOutput> {
    let hint = format!("all of it is in ~/{}", job.log);
    match context.sprite().read_at_most(&job.log, WHOLE_BYTES).await {
        Ok(whole) => {
            // Cleaned before it is cut, so that no half of a credential is left.
            let whole = context.clean(String::from_utf8_lossy(&whole).into_owned());
            Ok(cut(&whole, OUTPUT_CHARS, &hint).into_owned())
        }
        Err(SpriteError::TooLarge { .. }) => {
            let size = log_size(context, job).await;
            let bytes = END_BYTES.to_string();
            let head = command::run(context, &["head", "-c", &bytes, "--", &job.log], END_BYTES).await?;
            let tail = command::run(context, &["tail", "-c", &bytes, "--", &job.log], END_BYTES).await?;
            let text = |bytes: &[u8]| context.clean(String::from_utf8_lossy(bytes).into_owned());
            let (head, tail) = (text(&head.stdout), text(&tail.stdout));
            Ok(ends(&head, &tail, size, OUTPUT_CHARS, &hint))
        }
        // The shell was lost before it began.
        Err(SpriteError::File {
            kind: FileErrorKind::NotFound,
            ..
        }) => Ok(String::new()),
        Err(error) => Err(sprite_error(&error)),
    }
}
