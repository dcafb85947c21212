//! What one more model call may cost: turns, money, and room in the window.
//!
//! Invariant: a call is made only if the most it can cost is still left. What the model may write is cut to what is left for
//! it; a call that would leave less than a short answer is not made.

use std::sync::Arc;

use roost_shared::{MicroUsd, agent::RunLimits, event::EventBody, size};

use super::drive::Drive;
use crate::{
    model::{ModelRequest, price::Price},
    tool::ToolDefinition,
};

/// Tokens below which an answer is not worth asking for.
const SHORT_ANSWER: u64 = 256;

impl Drive {
    /// The end of a run that has had all its turns.
    pub(super) async fn over_turns(&self) -> Option<EventBody> {
        let turns = self.journal.read(|state| state.turns).await;
        (turns >= self.lease.agent.limits.max_turns).then(|| EventBody::Failed {
            code: "turn_limit".into(),
            message: format!(
                "stopped after {turns} turns, the agent's limit for one run; raise it or split the task"
            ),
        })
    }

    /// The end of a run whose budget does not allow `request`.
    pub(super) async fn over_budget(&self, request: &ModelRequest) -> Option<EventBody> {
        let spent = self.journal.read(|state| state.cost).await;
        (request.max_tokens == 0).then(|| EventBody::Failed {
            code: "cost_limit".into(),
            message: format!(
                "stopped after {spent}: the next model call could exceed the agent's limit of {} for one run; raise it \
                 or split the task",
                self.lease.agent.limits.max_cost
            ),
        })
    }

    /// The tokens the model may write in answer to a request that is `bytes` long; 0 where the budget allows no call.
    pub(super) async fn may_write(&self, bytes: usize) -> u32 {
        let (spent, window) = self.journal.read(|state| (state.cost, state.window)).await;
        let limits = self.lease.agent.limits;
        // A small model's window is not to be filled by its answer alone.
        let most = u64::from(limits.max_output_tokens).min(self.window() / 4).max(1);
        let affordable = match self.brain.gateway.price(&self.lease.agent.model) {
            Some(price) => affordable(&price, limits, spent, context_at_most(bytes, window)),
            None => u64::MAX,
        };
        if affordable < most.min(SHORT_ANSWER) {
            return 0;
        }
        u32::try_from(most.min(affordable)).unwrap_or(u32::MAX)
    }

    /// Tokens the model can have before it.
    pub(super) fn window(&self) -> u64 {
        self.brain.gateway.window(&self.lease.agent.model)
    }
}

/// What stands before every conversation takes, in bytes.
pub(super) fn of_instructions(system: &[String], tools: &[Arc<ToolDefinition>]) -> usize {
    let tool = |tool: &Arc<ToolDefinition>| tool.description.len() + size::of_json(&tool.input_schema);
    system.iter().map(String::len).sum::<usize>() + tools.iter().map(tool).sum::<usize>()
}

/// Tokens a request of so many bytes can have: text of any kind has at least two bytes to a token, and what was counted last
/// time is a floor.
fn context_at_most(bytes: usize, counted: u64) -> u64 {
    u64::try_from(bytes / 2).unwrap_or(u64::MAX).max(counted)
}

/// Tokens of output that what is left pays for, once the dearest way to read `context` tokens is paid.
fn affordable(price: &Price, limits: RunLimits, spent: MicroUsd, context: u64) -> u64 {
    let rates = price.rates(context);
    let read = u128::from(context) * u128::from(rates.input.max(rates.cache_write).max(rates.cache_read));
    let left = u128::try_from(limits.max_cost.0.saturating_sub(spent.0)).unwrap_or(0) * 1_000_000;
    match (left.checked_sub(read), rates.output) {
        (None, _) => 0,
        (Some(_), 0) => u64::MAX,
        (Some(left), output) => u64::try_from(left / u128::from(output)).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_reading_is_paid_before_the_writing() {
        let rates =
            |input, output| serde_json::json!({"input": input, "output": output, "cache_write": 2_000_000});
        let price: Price = serde_json::from_value(rates(1_000_000, 5_000_000)).unwrap();
        let limits = RunLimits {
            max_cost: MicroUsd(10_000),
            ..RunLimits::default()
        };
        // 10,000 - 3,000 spent - 1,000 tokens written to the cache at 2 each = 5,000, at 5 each.
        assert_eq!(affordable(&price, limits, MicroUsd(3_000), 1_000), 1_000);
        assert_eq!(affordable(&price, limits, MicroUsd(8_001), 1_000), 0);
        assert_eq!(affordable(&price, limits, MicroUsd(20_000), 0), 0);
        let free: Price = serde_json::from_value(serde_json::json!({"input": 0, "output": 0})).unwrap();
        assert_eq!(affordable(&free, limits, MicroUsd(0), 1_000), u64::MAX);
    }
}
