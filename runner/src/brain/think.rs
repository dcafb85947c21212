//! Thinking: one model call, with its limits, its failures and its answer.

use std::time::Duration;

use roost_shared::{
    MicroUsd,
    event::EventBody,
    fail_point::{self, FailPoint},
    run::RunState,
    transcript::{Answer, StopReason, Usage},
};

use super::{
    context,
    conversation::Conversation,
    drive::{Drive, completed},
    ears::Interrupt,
    journal::Stopped,
};
use crate::{
    clock,
    model::{ModelError, ModelRequest},
};

/// How much longer a run puts up with a limit of the rate than with another failure.
const LIMIT_ATTEMPTS: u32 = 8;

impl Drive {
    /// Asks the model once, and does at once what can be done in the same breath: journals the answer together with
    /// the beginning of its first tool calls, or with the run's end.
    pub(super) async fn think(&mut self) -> Result<Option<Interrupt>, Stopped> {
        if let Some(failed) = self.over_turns().await {
            self.journal.write(vec![failed]).await?;
            return Ok(None);
        }
        let used = self.journal.read(|state| state.window).await;
        if used > self.window() * self.brain.config.compact_at_percent / 100 {
            return self.compact().await;
        }
        let request = self.request(self.conversation().await).await;
        if let Some(failed) = self.over_budget(&request).await {
            self.journal.write(vec![failed]).await?;
            return Ok(None);
        }
        let answer = match self.ask(request).await {
            Ok(answer) => answer,
            Err(interrupt) => return Ok(Some(interrupt)),
        };
        match answer {
            Ok(answer) => self.answered(answer).await,
            Err(Unanswered {
                error: ModelError::ContextExceeded { limit, .. },
                ..
            }) if self.can_shrink().await => {
                let window = limit.unwrap_or_else(|| self.window());
                self.compact_shortened(window).await
            }
            Err(unanswered) => self.failed(unanswered).await,
        }
    }

    /// What is one summary already does not get shorter.
    async fn can_shrink(&self) -> bool {
        self.journal.read(|state| state.transcript().len()).await > 1
    }

    /// All that was said.
    pub(super) async fn conversation(&self) -> Conversation {
        let so_far = |state: &RunState| {
            let opening = context::opening(&self.lease, &state.work_item);
            Conversation::new(opening).so_far(state)
        };
        self.journal.read(so_far).await
    }

    /// The request with this conversation; what it may write is what the budget allows.
    pub(super) async fn request(&self, conversation: Conversation) -> ModelRequest {
        let (messages, bytes) = conversation.into_parts();
        ModelRequest {
            model: self.lease.agent.model.clone(),
            system: self.system.clone(),
            tools: self.definitions.clone(),
            messages,
            max_tokens: self.may_write(self.instructions + bytes).await,
        }
    }

    /// Asks the model.
    pub(super) async fn ask(
        &mut self,
        request: ModelRequest,
    ) -> Result<Result<Answer, Unanswered>, Interrupt> {
        let gateway = self.brain.gateway.clone();
        let journal = self.journal.clone();
        // On the heap: what wraps a future holds it again each time, and a run waits here most of its life.
        let asking = Box::pin(async {
            let mut stream = gateway.ask(request).await?;
            stream.answer(|_| {}).await.map_err(|error| {
                let (usage, cost) = stream.spent();
                Unanswered { error, usage, cost }
            })
        });
        let asking = async {
            tokio::select! {
                biased;
                answer = asking => answer,
                never = journal.hold_no_longer() => match never {},
            }
        };
        self.ears.unless_interrupted(asking).await
    }

    async fn answered(&mut self, mut answer: Answer) -> Result<Option<Interrupt>, Stopped> {
        fail_point::reach(FailPoint::ModelAnswered);
        self.journal.read(|state| state.name_calls(&mut answer)).await;
        if answer.stop == StopReason::ContextExceeded && answer.tool_calls().next().is_none() {
            self.journal.write(vec![EventBody::ModelAnswered(answer)]).await?;
            return Ok(None);
        }
        // What the answer asks for is known before it is journaled: the first calls begin in the same append.
        let calls = self.journal.read(|state| state.pending_after(&answer)).await;
        let text = self.journal.read(|state| state.completed_by(&answer)).await;
        let event = EventBody::ModelAnswered(answer);
        if let Some(text) = text
            && self.ears.are_quiet(&self.journal).await
        {
            fail_point::reach(FailPoint::EndReached);
            // The answer stands whatever keeps the run from ending.
            let mut held_back = self.journal.try_write(vec![event, completed(text)]).await?;
            held_back.truncate(1);
            self.journal.write(held_back).await?;
            return Ok(None);
        }
        if calls.is_empty() {
            self.journal.write(vec![event]).await?;
            return Ok(None);
        }
        self.work(vec![event], calls).await
    }

    /// A failed call: try again in place, sleep on no runner, or give up.
    pub(super) async fn failed(&mut self, unanswered: Unanswered) -> Result<Option<Interrupt>, Stopped> {
        let Unanswered { error, usage, cost } = unanswered;
        let (code, message) = (error.code().to_owned(), error.to_string());
        let failures = self.journal.read(|state| state.model_failures).await;
        let config = self.brain.config.clone();
        if let ModelError::Limited { wait, .. } = error {
            // Nobody was asked and nothing has failed.
            return self.sleep(config.jittered(wait), Vec::new(), message).await;
        }
        let attempts = match error {
            // A limit passes, and the account's other users may have been quicker again.
            ModelError::RateLimited { .. } => config.model_attempts.saturating_mul(LIMIT_ATTEMPTS),
            _ => config.model_attempts,
        };
        if !error.is_retryable() || failures + 1 >= attempts {
            let failed = EventBody::ModelFailed {
                code: code.clone(),
                message: message.clone(),
                retry_in_ms: None,
                usage,
                cost,
            };
            self.journal
                .write(vec![failed, EventBody::Failed { code, message }])
                .await?;
            return Ok(None);
        }
        let pause = config.pause(failures, error.retry_after());
        let retry_in_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let failed = EventBody::ModelFailed {
            code,
            message: message.clone(),
            retry_in_ms,
            usage,
            cost,
        };
        self.sleep(pause, vec![failed], message).await
    }

    /// Writes `events` and sleeps: here for a short while, else on no runner.
    async fn sleep(
        &mut self,
        pause: Duration,
        mut events: Vec<EventBody>,
        reason: String,
    ) -> Result<Option<Interrupt>, Stopped> {
        if pause <= self.brain.config.longest_wait {
            self.journal.write(events).await?;
            return Ok(self.ears.wait(pause).await);
        }
        events.push(EventBody::Parked {
            until: clock::now() + pause,
            reason,
        });
        self.journal.write(events).await?;
        Ok(None)
    }
}

/// A call without an answer, and what it cost all the same.
pub(super) struct Unanswered {
    pub(super) error: ModelError,
    pub(super) usage: Usage,
    pub(super) cost: MicroUsd,
}

impl From<ModelError> for Unanswered {
    /// A call that was refused costs nothing.
    fn from(error: ModelError) -> Self {
        Self {
            error,
            usage: Usage::default(),
            cost: MicroUsd::default(),
        }
    }
}
