//! The form of an agent: what was typed, as fields and as a draft.

use maud::{Markup, html};
use roost_shared::{
    MicroUsd,
    agent::{AgentSpec, LaneMode, LaneRules, RunLimits},
    sprite::SpriteOwner,
};
use serde::Deserialize;

use super::field::{choice, field, lines, number};
use crate::{error::ApiError, setup::AgentDraft};

/// What the form holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AgentForm {
    handle: String,
    name: String,
    persona: String,
    model: String,
    tools: String,
    sprite: SpriteOwner,
    lane_mode: LaneMode,
    debounce: String,
    max_turns: String,
    max_cost: String,
    max_output_tokens: String,
    enabled: Option<String>,
}

impl AgentForm {
    /// The form of a new one.
    pub(super) fn blank() -> Self {
        Self {
            debounce: seconds(0),
            enabled: Some("on".to_owned()),
            ..Self::default()
        }
        .limited(&RunLimits::default())
    }

    /// The form of one there is.
    pub(super) fn of(spec: &AgentSpec, enabled: bool) -> Self {
        Self {
            handle: spec.handle.clone(),
            name: spec.name.clone(),
            persona: spec.persona.clone(),
            model: spec.model.clone(),
            tools: spec.tools.join(" "),
            sprite: spec.sprite,
            lane_mode: spec.lane.mode,
            debounce: seconds(spec.lane.debounce_ms),
            enabled: enabled.then(|| "on".to_owned()),
            ..Self::default()
        }
        .limited(&spec.limits)
    }

    /// The handle stays what it was.
    pub(super) fn called(self, handle: &str) -> Self {
        Self {
            handle: handle.to_owned(),
            ..self
        }
    }

    fn limited(self, limits: &RunLimits) -> Self {
        Self {
            max_turns: limits.max_turns.to_string(),
            max_cost: limits.max_cost.to_string().replace('$', ""),
            max_output_tokens: limits.max_output_tokens.to_string(),
            ..self
        }
    }

    /// What was typed, as setting up takes it.
    pub(super) fn draft(&self) -> Result<AgentDraft, ApiError> {
        let whole = |text: &str, what: &str| {
            text.trim()
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| ApiError::invalid(format!("{what} is a whole number above 0")))
        };
        let tools = self.tools.split([' ', ',', '\n', '\r', '\t']);
        Ok(AgentDraft {
            handle: self.handle.trim().trim_start_matches('@').to_owned(),
            name: self.name.trim().to_owned(),
            persona: self.persona.trim().replace("\r\n", "\n"),
            model: self.model.trim().to_owned(),
            tools: tools.filter(|tool| !tool.is_empty()).map(str::to_owned).collect(),
            sprite: self.sprite,
            lane: LaneRules {
                mode: self.lane_mode,
                debounce_ms: millis(&self.debounce)?,
            },
            limits: RunLimits {
                max_turns: whole(&self.max_turns, "the limit of turns")?,
                max_cost: dollars(&self.max_cost)?,
                max_output_tokens: whole(&self.max_output_tokens, "the length of an answer")?,
            },
            enabled: self.enabled.is_some(),
        })
    }

    /// The fields of the form; the handle only while it can still be chosen.
    pub(super) fn fields(&self, handle: Handle) -> Markup {
        html! {
            (field("Name", "name", &self.name, "", "Ada"))
            @if handle == Handle::Open {
                (field("Handle", "handle", &self.handle, "What people call it by in a channel. It can't be changed later.", "ada"))
            }
            (lines("Persona", "persona", &self.persona, "Who it is and how it works, in prose. It becomes part of the system prompt.", "You look after our builds. You write short, plain answers."))
            (field("Model", "model", &self.model, "provider/model. Providers and their keys are configured at the runner.", "anthropic/claude-sonnet-4-5"))
            (field("Tools", "tools", &self.tools, "Names apart by blanks; empty means all: bash read_file write_file edit_file glob grep list", ""))
            (choice("Computer", "sprite", &html! {
                @for owner in SpriteOwner::ALL {
                    option value=(owner.as_str()) selected[self.sprite == owner] { (computer(owner)) }
                }
            }))
            (choice("Messages while it works", "lane_mode", &html! {
                @for mode in LaneMode::ALL {
                    option value=(mode.as_str()) selected[self.lane_mode == mode] { (meaning(mode)) }
                }
            }))
            (field("Wait for more", "debounce", &self.debounce, "Seconds a run waits for a further message before it begins; 0 to begin at once.", "0"))
            fieldset.limits {
                legend { "What one run may use up" }
                (number("Turns", "max_turns", &self.max_turns, "numeric"))
                (number("Dollars", "max_cost", &self.max_cost, "decimal"))
                (number("Tokens of one answer", "max_output_tokens", &self.max_output_tokens, "numeric"))
            }
            label.check {
                input type="checkbox" name="enabled" checked[self.enabled.is_some()];
                span { "Enabled: it gets new runs" }
            }
        }
    }
}

/// What it means to the agent whose sprite it is.
fn computer(owner: SpriteOwner) -> &'static str {
    match owner {
        SpriteOwner::Agent => "One of its own: files stay from run to run",
        SpriteOwner::Run => "A new one for each run, deleted when the run ends",
    }
}

/// What the mode means to people.
fn meaning(mode: LaneMode) -> &'static str {
    match mode {
        LaneMode::Steer => "Steer: it reads them between two steps",
        LaneMode::FollowUp => "Follow up: each one is a run of its own, afterwards",
        LaneMode::Collect => "Collect: all of them are one run, afterwards",
    }
}

/// Milliseconds as seconds.
fn seconds(millis: u32) -> String {
    match millis % 1000 {
        0 => (millis / 1000).to_string(),
        rest => format!("{}.{rest:03}", millis / 1000)
            .trim_end_matches('0')
            .to_owned(),
    }
}

/// Seconds as people write them, in milliseconds.
fn millis(seconds: &str) -> Result<u32, ApiError> {
    let wrong = || ApiError::invalid("the wait for more is a number of seconds from 0 to 300, like 2 or 0.5");
    let text = seconds.trim();
    if text.is_empty() {
        return Ok(0);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<3}");
    if whole.is_empty() || fraction.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let millis: u32 = digits.parse().map_err(|_| wrong())?;
    (millis <= LaneRules::MOST_DEBOUNCE_MS)
        .then_some(millis)
        .ok_or_else(wrong)
}

/// Whether the handle can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handle {
    /// A new agent's.
    Open,
    /// An agent keeps its handle.
    Fixed,
}

/// Dollars as people write them, exactly.
fn dollars(text: &str) -> Result<MicroUsd, ApiError> {
    let wrong = || ApiError::invalid("the limit of money is an amount in dollars, like 5 or 0.50");
    let text = text.trim().trim_start_matches('$');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || whole.len() > 9 || fraction.len() > 6 {
        return Err(wrong());
    }
    let digits = format!("{whole}{fraction:0<6}");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse().map(MicroUsd).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_exactly_and_written_back() {
        for (text, amount) in [
            ("2", 2_000),
            (" 0.5 ", 500),
            ("0.025", 25),
            ("", 0),
            ("300", 300_000),
        ] {
            assert_eq!(millis(text).unwrap(), amount);
            assert_eq!(millis(&seconds(amount)).unwrap(), amount);
        }
        for text in ["-1", "1,5", "301", "0.0001", ".5", "x"] {
            assert!(millis(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn dollars_are_read_exactly_and_written_back() {
        for (text, amount) in [
            ("5", 5_000_000),
            ("$0.50", 500_000),
            (" 1.000001 ", 1_000_001),
            ("0", 0),
        ] {
            let read = dollars(text).unwrap();
            assert_eq!(read, MicroUsd(amount));
            assert_eq!(dollars(&read.to_string()).unwrap(), read);
        }
        for text in ["", "-1", "1,5", "1e3", "0.0000001", "9999999999", "٣"] {
            assert!(dollars(text).is_err(), "{text:?}");
        }
    }
}
