//! Whose computer a run works on, and what it is called on its host.
//!
//! Invariant: a name says whose sprite it is, and two agents or runs never share one; so a sprite left behind can be told
//! from one in use by asking what became of its run.

use serde::{Deserialize, Serialize};

use crate::{AgentId, RunId};

/// How the names of agents' own sprites begin.
pub const AGENT_PREFIX: &str = "agent-";
/// How the names of runs' own sprites begin.
pub const RUN_PREFIX: &str = "run-";

/// Whose sprite a run works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpriteOwner {
    /// The agent's: its files stay from run to run, and its runs share it.
    #[default]
    Agent,
    /// The run's: made for its first tool call, deleted when it has ended.
    Run,
}

impl SpriteOwner {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Agent, Self::Run];

    /// Its name in settings: `agent` or `run`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Run => "run",
        }
    }

    /// The name of the sprite that `run` of `agent` works in.
    pub fn sprite(self, agent: AgentId, run: RunId) -> String {
        let (prefix, id) = match self {
            Self::Agent => (AGENT_PREFIX, agent.to_string()),
            Self::Run => (RUN_PREFIX, run.to_string()),
        };
        format!("{prefix}{}", id.to_lowercase())
    }
}

/// The agent whose own sprite has this name.
pub fn agent_of(sprite: &str) -> Option<AgentId> {
    sprite.strip_prefix(AGENT_PREFIX)?.to_uppercase().parse().ok()
}

/// The run whose own sprite has this name.
pub fn run_of(sprite: &str) -> Option<RunId> {
    sprite.strip_prefix(RUN_PREFIX)?.to_uppercase().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMillis;

    #[test]
    fn a_name_leads_back_to_its_owner_and_no_other_name_does() {
        let (agent, run) = (
            AgentId::new(UnixMillis(5), [7; 10]),
            RunId::new(UnixMillis(6), [8; 10]),
        );
        let (of_agent, of_run) = (
            SpriteOwner::Agent.sprite(agent, run),
            SpriteOwner::Run.sprite(agent, run),
        );
        assert_eq!((agent_of(&of_agent), run_of(&of_agent)), (Some(agent), None));
        assert_eq!((agent_of(&of_run), run_of(&of_run)), (None, Some(run)));
        for other in ["run-", "run-of-the-mill", "my-run-01", "agent-7"] {
            assert_eq!((agent_of(other), run_of(other)), (None, None), "{other}");
        }
    }
}
