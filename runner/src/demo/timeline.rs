//! What happens, as it happens: for programs as data, for people as lines.

use std::{fmt::Write, time::Duration};

use serde::{Serialize, Serializer};

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// Since the webhook was sent, in milliseconds on the wire.
    #[serde(rename = "ms", serialize_with = "milliseconds")]
    pub after: Duration,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// The webhook is sent.
    Webhook {
        /// Who speaks.
        by: String,
        /// What they say.
        text: String,
    },
    /// The edge answered: the webhook is stored.
    Stored {
        /// The run that follows.
        run: String,
    },
    /// The sign of receipt is visible in the channel.
    Acknowledged {
        /// GitHub's name of the reaction.
        reaction: String,
    },
    /// A runner has the run.
    Leased {
        /// Its name.
        runner: String,
    },
    /// The model answered.
    Model {
        /// The model.
        model: String,
        /// What it said.
        text: String,
        /// What it took.
        took_ms: u64,
    },
    /// The model call failed.
    ModelFailed {
        /// Stable code.
        code: String,
        /// One sentence.
        message: String,
        /// Milliseconds until it is asked again, if it is.
        retry_in_ms: Option<u64>,
    },
    /// The run sleeps for a while.
    Parked {
        /// Why.
        reason: String,
    },
    /// The model asks for a tool.
    Call {
        /// The tool.
        tool: String,
        /// Its input, in short.
        input: String,
    },
    /// A tool answered.
    Result {
        /// The tool.
        tool: String,
        /// What it printed.
        output: String,
        /// Whether it failed.
        is_error: bool,
        /// What it took.
        took_ms: u64,
    },
    /// The run has ended.
    Ended {
        /// `completed`, `failed` or `cancelled`.
        phase: String,
        /// The code of a failure and what to do.
        reason: Option<String>,
    },
    /// The reply is visible in the channel.
    Reply {
        /// It.
        text: String,
    },
}

/// Lines of a tool's output that are shown.
const OUTPUT_LINES: usize = 6;
/// Characters of a line that are shown.
const WIDTH: usize = 100;

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// On a terminal.
    Colours,
    /// In a file, or where NO_COLOR is set.
    Plain,
}

impl Paint {
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Colours => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

impl Moment {
    /// The moment in lines for people.
    pub(crate) fn lines(&self, paint: Paint) -> String {
        let mut text = paint.dim(&format!("{:>7.1} ms  ", self.after.as_secs_f64() * 1000.0));
        let mut head = |colour: &str, word: &str, rest: &str| {
            let word = paint.with(colour, &format!("{word:<9}"));
            text.push_str(format!("{word} {rest}").trim_end());
        };
        match &self.what {
            Happening::Webhook { by, text } => {
                head("36", "webhook", &format!("{by} on GitHub: {}", cut(text)));
            }
            Happening::Stored { run } => head("32", "stored", &format!("answered 200; run {run} is durable")),
            Happening::Acknowledged { reaction } => head(
                "32",
                "seen",
                &match reaction.as_str() {
                    "eyes" => "👀 on the comment".to_owned(),
                    other => format!("{other} on the comment"),
                },
            ),
            Happening::Leased { runner } => head("32", "leased", &format!("by runner {runner}")),
            Happening::Model { model, text, took_ms } => {
                let by = paint.dim(&format!("({model}, {took_ms} ms)"));
                head("35", "model", format!("{} {by}", cut(text)).trim_start());
            }
            Happening::ModelFailed {
                code,
                message,
                retry_in_ms,
            } => {
                let again = match retry_in_ms {
                    Some(ms) => format!(" (asked again in {:.1} s)", *ms as f64 / 1000.0),
                    None => String::new(),
                };
                head("31", "model", &format!("{code}: {message}{again}"));
            }
            Happening::Parked { reason } => head("31", "sleeps", reason),
            Happening::Call { tool, input } => head("34", tool, &cut(input)),
            Happening::Result {
                output,
                is_error,
                took_ms,
                ..
            } => {
                let (colour, word) = if *is_error {
                    ("31", "error")
                } else {
                    ("2", "result")
                };
                head(colour, word, &paint.dim(&format!("({took_ms} ms)")));
                let lines: Vec<&str> = output.trim().lines().collect();
                for line in lines.iter().take(OUTPUT_LINES) {
                    let _ = write!(text, "\n{:22}{}", "", paint.dim(&format!("│ {}", cut(line))));
                }
                if lines.len() > OUTPUT_LINES {
                    let more = format!("│ … {} more lines", lines.len() - OUTPUT_LINES);
                    let _ = write!(text, "\n{:22}{}", "", paint.dim(&more));
                }
            }
            Happening::Ended { phase, reason } => {
                let colour = if phase == "completed" { "32" } else { "31" };
                head(colour, phase, reason.as_deref().unwrap_or_default());
            }
            Happening::Reply { text: reply } => {
                head("36", "reply", "on GitHub:");
                for line in reply.trim().lines() {
                    let _ = write!(text, "\n{:22}{}", "", paint.bold(line));
                }
            }
        }
        text
    }
}

fn cut(line: &str) -> String {
    let line = line.lines().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= WIDTH {
        return line;
    }
    let mut short: String = line.chars().take(WIDTH - 1).collect();
    short.push('…');
    short
}

/// Milliseconds with a fraction, as programs get them.
pub(super) fn milliseconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((span.as_secs_f64() * 1e6).round() / 1e3)
}
