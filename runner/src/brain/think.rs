//! Thinking: one model call, with its limits, its failures and its answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roost_shared::{
    UnixMillis,
    event::EventBody,
    transcript::{Answer, Block, Message, Role, StopReason},
};

use super::{
    context,
    drive::{Drive, Interrupt},
    journal::Stopped,
};
use crate::model::{ModelError, ModelRequest};

const SUMMARISE: &str = "\
The conversation has become too long to go on with. Write a summary from which you yourself can go on without having \
seen the rest: the task and who asked for it, what you found out, what you changed (files, commands, branches), what \
failed and why, what is left to do and what you were about to do next. Be exact with names, paths and numbers. Write \
nothing else.";

const SUMMARY_HEADER: &str = "The conversation until now was replaced by this summary of yours:\n\n";

impl Drive {
    /// Asks the model once, and does at once what can be done in the same breath: journals the answer together with
    /// the beginning of its first tool calls.
    pub(super) async fn think(&mut self) -> Result<Option<Interrupt>, Stopped> {
        if let Some(failed) = self.over_limit().await {
            self.journal.write(vec![failed]).await?;
            return Ok(None);
        }
        let (window, used) = (
            self.brain.gateway.window(&self.lease.agent.model),
            self.used().await,
        );
        if used > window * self.brain.config.compact_at_percent / 100 {
            return self.compact().await;
        }
        let request = self.request().await;
        let answer = match self.ask(&request).await {
            Ok(answer) => answer,
            Err(interrupt) => return Ok(Some(interrupt)),
        };
        match answer {
            Ok(answer) => self.answered(answer).await,
            Err(ModelError::ContextExceeded { .. }) if used > 0 => self.compact().await,
            Err(error) => self.failed(&error).await,
        }
    }

    /// Replaces the conversation by a summary.
    pub(super) async fn compact(&mut self) -> Result<Option<Interrupt>, Stopped> {
        let mut request = self.request().await;
        let ask = Message {
            role: Role::User,
            blocks: vec![Block::Text {
                text: SUMMARISE.into(),
            }],
        };
        let transcript: Vec<_> = request.messages.drain(..).skip(1).chain([ask.into()]).collect();
        request.messages = context::conversation(&self.opening, transcript);
        match self.ask(&request).await {
            Err(interrupt) => Ok(Some(interrupt)),
            Ok(Ok(answer)) => {
                let event = EventBody::Compacted {
                    summary: format!("{SUMMARY_HEADER}{}", answer.text()),
                    usage: answer.usage,
                    cost: answer.cost,
                };
                self.journal.write(vec![event]).await?;
                Ok(None)
            }
            Ok(Err(error)) => self.failed(&error).await,
        }
    }

    async fn used(&self) -> u64 {
        self.journal.read(|state| state.window).await
    }

    async fn over_limit(&self) -> Option<EventBody> {
        let limits = self.lease.agent.limits;
        let (turns, cost) = self.journal.read(|state| (state.turns, state.cost)).await;
        let (code, message) = if turns >= limits.max_turns {
            (
                "turn_limit",
                format!(
                    "stopped after {turns} turns, the agent's limit for one run; raise it or split the task"
                ),
            )
        } else if cost >= limits.max_cost {
            (
                "cost_limit",
                format!(
                    "stopped after {cost}, the agent's limit for one run is {}; raise it or split the task",
                    limits.max_cost
                ),
            )
        } else {
            return None;
        };
        Some(EventBody::Failed {
            code: code.into(),
            message,
        })
    }

    async fn request(&self) -> ModelRequest {
        let transcript = self.journal.read(|state| state.transcript()).await;
        ModelRequest {
            model: self.lease.agent.model.clone(),
            system: self.system.clone(),
            tools: self.definitions.clone(),
            messages: context::conversation(&self.opening, transcript),
            max_tokens: self.lease.agent.limits.max_output_tokens,
        }
    }

    async fn ask(&mut self, request: &ModelRequest) -> Result<Result<Answer, ModelError>, Interrupt> {
        let gateway = self.brain.gateway.clone();
        let asking = async {
            let stream = gateway.ask(request).await?;
            stream.answer(|_| {}).await
        };
        Self::unless_cancelled(self.control(), asking).await
    }

    async fn answered(&mut self, answer: Answer) -> Result<Option<Interrupt>, Stopped> {
        if answer.stop == StopReason::ContextExceeded && answer.tool_calls().next().is_none() {
            self.journal.write(vec![EventBody::ModelAnswered(answer)]).await?;
            return Ok(None);
        }
        // What the answer asks for is known before it is journaled: the first calls begin in the same append.
        let calls = self.journal.read(|state| state.pending_after(&answer)).await;
        let event = EventBody::ModelAnswered(answer);
        if calls.is_empty() {
            self.journal.write(vec![event]).await?;
            return Ok(None);
        }
        self.work(vec![event], calls).await
    }

    /// A failed call: try again in place, sleep on no runner, or give up.
    async fn failed(&mut self, error: &ModelError) -> Result<Option<Interrupt>, Stopped> {
        let (code, message) = (error.code().to_owned(), error.to_string());
        let failures = self.journal.read(|state| state.model_failures).await;
        if !error.is_retryable() || failures + 1 >= self.brain.config.model_attempts {
            let failed = EventBody::ModelFailed {
                code: code.clone(),
                message: message.clone(),
                retry_in_ms: None,
            };
            self.journal
                .write(vec![failed, EventBody::Failed { code, message }])
                .await?;
            return Ok(None);
        }
        let config = self.brain.config.clone();
        let backoff = config.first_retry * 2u32.pow(failures.min(16));
        let pause = error
            .retry_after()
            .unwrap_or(backoff.min(config.longest_wait))
            .max(config.first_retry);
        let retry_in_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let failed = EventBody::ModelFailed {
            code,
            message: message.clone(),
            retry_in_ms,
        };
        if pause > config.longest_wait {
            let parked = EventBody::Parked {
                until: now() + pause,
                reason: message,
            };
            self.journal.write(vec![failed, parked]).await?;
            return Ok(None);
        }
        self.journal.write(vec![failed]).await?;
        Ok(self.wait(pause).await)
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
