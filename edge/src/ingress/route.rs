//! Routing: which agents a message is for. At most one run per agent and message.
//!
//! A message that names agents is for them alone. One that speaks to the bot itself is for the agent that has listened
//! there longest. Else every agent one of whose rules fits gets it.

use roost_shared::agent::AgentSpec;

use super::channel::Heard;
use crate::{
    config::{Config, Rule, Subscription},
    integration::Integration,
};

/// The agents that get a run for what was heard, each once.
pub fn route<'a>(config: &'a Config, integration: &Integration, heard: &Heard) -> Vec<&'a AgentSpec> {
    let listening: Vec<(&Subscription, &AgentSpec)> = config
        .subscriptions
        .iter()
        .filter(|subscription| subscription.integration == integration.id)
        .filter_map(|subscription| {
            let agent = config
                .agents
                .iter()
                .find(|agent| agent.id == subscription.agent)?;
            Some((subscription, agent))
        })
        .collect();

    let named = |agent: &AgentSpec| {
        heard
            .mentions
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&agent.handle))
    };
    let hears_mentions = |subscription: &Subscription| matches!(subscription.rule, Rule::Mention | Rule::Any);
    let mentioned = listening
        .iter()
        .filter(|(subscription, agent)| hears_mentions(subscription) && named(agent))
        .map(|(_, agent)| *agent);
    let mentioned = distinct(mentioned);
    if !mentioned.is_empty() {
        return mentioned;
    }
    if heard.to_bot
        && let Some((_, agent)) = listening
            .iter()
            .find(|(subscription, _)| hears_mentions(subscription))
    {
        return vec![agent];
    }
    let fits = |rule: &Rule| match rule {
        Rule::Mention => false,
        Rule::Label { name } => heard.labels.iter().any(|label| label.eq_ignore_ascii_case(name)),
        Rule::Any => true,
    };
    distinct(
        listening
            .iter()
            .filter(|(subscription, _)| fits(&subscription.rule))
            .map(|(_, agent)| *agent),
    )
}

fn distinct<'a>(agents: impl Iterator<Item = &'a AgentSpec>) -> Vec<&'a AgentSpec> {
    let mut seen = Vec::<&AgentSpec>::new();
    for agent in agents {
        if seen.iter().all(|other| other.id != agent.id) {
            seen.push(agent);
        }
    }
    seen
}
