//! The first steps: what is still missing before a message can become a run.

use maud::{Markup, html};

use super::{show, visitor::Refusal};
use crate::{
    api::{agents, runners},
    auth::session::Person,
    edge::Edge,
};

/// One step: whether it is done, and where and how.
struct Step {
    done: bool,
    what: Markup,
}

/// The steps in order, each with its link, those done ticked.
pub(super) async fn steps(edge: &Edge, person: &Person) -> Result<Markup, Refusal> {
    let config = edge.configs.reload(&person.scope).await?;
    let agents = agents::all(&person.scope).await?;
    let runners = runners::all(&person.scope).await?;
    let agent = agents.iter().find(|agent| agent.enabled);
    let listening = config
        .subscriptions
        .iter()
        .any(|subscription| config.agents.iter().any(|agent| agent.id == subscription.agent));
    let listen_at = agent.map_or_else(
        || "/admin/agents/new".to_owned(),
        |agent| format!("/admin/agents/{}", agent.spec.id),
    );
    let runner = runners.iter().find(|runner| !runner.revoked);
    let steps = [
        Step {
            done: agent.is_some(),
            what: html! { a href="/admin/agents/new" { "Create an agent" } ": who works, with which model" },
        },
        Step {
            done: config
                .integrations
                .iter()
                .any(|stored| stored.integration.enabled),
            what: html! {
                a href="/admin/integrations" { "Connect a channel" } ": GitHub, Telegram or any signed webhook"
            },
        },
        Step {
            done: listening,
            what: html! { a href=(listen_at) { "Let the agent listen" } " to the channel" },
        },
        Step {
            done: runner.is_some(),
            what: html! {
                a href="/admin/runners" { "Start a runner" } ": the process that does the work"
                @if let Some(runner) = runner { ", last seen " (show::ago(edge.now(), runner.seen_at)) }
            },
        },
        Step {
            done: false,
            what: match agent {
                Some(agent) => {
                    html! { "Say something to it in the channel: " code { "@" (agent.spec.handle) " hello" } }
                }
                None => html! { "Say something to it in the channel" },
            },
        },
    ];
    let next = steps.iter().position(|step| !step.done);
    Ok(html! {
        ol.steps {
            @for (at, step) in steps.iter().enumerate() {
                li.done[step.done].next[Some(at) == next] {
                    @if step.done { span.tick aria-label="done" { "✓" } }
                    span { (step.what) }
                }
            }
        }
    })
}
