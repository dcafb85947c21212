//! Questions of a run to a person, and what the person makes of them.
//!
//! Invariant: only a choice that the question offers decides anything. Whatever else is said is told to the model in the
//! person's own words, and the call it is about is not made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a run waits for a person, paused, asking or poisoned; then it is cancelled.
pub const PATIENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a run asks before it goes on; it is about one tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The call's id.
    pub call: String,
    /// The question, in Markdown, with all a person needs to decide.
    pub text: String,
    /// What may be decided.
    pub options: Vec<Choice>,
}

/// What a person may decide about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// It was done; go on.
    Done,
    /// Make it, or make it again.
    Run,
    /// Don't make it.
    Skip,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Done, Self::Run, Self::Skip];

    /// The word it is chosen by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Run => "run",
            Self::Skip => "skip",
        }
    }

    /// What it means, for the page's button and for the question.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "it was done",
            Self::Run => "run it",
            Self::Skip => "don't run it",
        }
    }
}

impl Question {
    /// The question as it is posted: its text, and how to answer.
    pub fn posted(&self) -> String {
        let ways: Vec<String> = self
            .options
            .iter()
            .map(|choice| format!("**{}** ({})", choice.as_str(), choice.meaning()))
            .collect();
        format!(
            "{}\n\nReply with one word: {}. Any other reply is passed on and the step is not run.",
            self.text,
            ways.join(", ")
        )
    }

    /// What somebody decided by a message in the conversation.
    pub fn decided_by(&self, name: &str, message: &str) -> Decision {
        Decision {
            choice: self.choice_in(message),
            by: name.to_owned(),
            text: message.to_owned(),
        }
    }

    /// The choice a message makes: its first word that is no mention is one of the options.
    pub fn choice_in(&self, message: &str) -> Option<Choice> {
        let word = message
            .split_whitespace()
            .find(|word| !word.starts_with(['@', '/']))?
            .trim_matches(|character: char| !character.is_alphanumeric());
        self.options
            .iter()
            .copied()
            .find(|choice| choice.as_str().eq_ignore_ascii_case(word))
    }
}

/// What a person said to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What they chose, if it was one of the options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Who.
    pub by: String,
    /// What else they said; may be empty.
    #[serde(default)]
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_word_chooses_and_only_what_is_offered() {
        let question = Question {
            call: "c".into(),
            text: "Was it sent?".into(),
            options: vec![Choice::Done, Choice::Skip],
        };
        for (message, choice) in [
            ("@roost Done.", Some(Choice::Done)),
            ("**skip** it, please", Some(Choice::Skip)),
            ("run", None),
            ("I think it is done", None),
            ("@roost", None),
        ] {
            assert_eq!(question.choice_in(message), choice, "{message}");
        }
        assert!(question.posted().contains("**done** (it was done), **skip**"));
    }
}
