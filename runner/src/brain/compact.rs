//! Making room: the conversation so far is replaced by the model's own summary of it.
//!
//! Invariant: a summary is made of all there is, the summary before it included. Where that no longer fits, it is made of a
//! shorter form: every piece cut, the middle left out, the tools left away.

use std::{fmt::Write, sync::Arc};

use roost_shared::{
    event::EventBody,
    run::RunState,
    transcript::{Block, Message, Role},
};

use super::{
    context, conversation::Conversation, drive::Drive, ears::Interrupt, journal::Stopped, think::Unanswered,
};
use crate::model::{ModelError, ModelRequest};

const SUMMARISE: &str = "\
The conversation has become too long to go on with. Write a summary from which you yourself can go on without having \
seen the rest: the task and who asked for it, what you found out, what you changed (files, commands, branches), what \
failed and why, what is left to do and what you were about to do next. Be exact with names, paths and numbers. Write \
nothing else.";

/// Characters of one piece in the shorter form.
const PIECE: usize = 2_000;

impl Drive {
    /// Replaces the conversation by a summary.
    pub(super) async fn compact(&mut self) -> Result<Option<Interrupt>, Stopped> {
        let ask = user(SUMMARISE.to_owned());
        let request = self.request(self.conversation().await.then(ask)).await;
        self.summarise(request).await
    }

    /// Replaces the conversation by a summary of its shorter form: the whole no longer fits `window` tokens.
    pub(super) async fn compact_shortened(&mut self, window: u64) -> Result<Option<Interrupt>, Stopped> {
        let transcript = self.journal.read(|state| state.transcript()).await;
        // Half the window, at three bytes a token.
        let room = usize::try_from(window.saturating_mul(3) / 2).unwrap_or(usize::MAX);
        let told = shorten(&transcript, room);
        let ask = user(format!(
            "What happened so far, shortened:\n\n{told}\n\n{SUMMARISE}"
        ));
        let lease = &self.lease;
        let opening = |state: &RunState| context::opening(lease, &state.work_item);
        let opening = self.journal.read(opening).await;
        let mut request = self.request(Conversation::new(opening).then(ask)).await;
        request.tools = Arc::from([]);
        self.summarise(request).await
    }

    async fn summarise(&mut self, request: ModelRequest) -> Result<Option<Interrupt>, Stopped> {
        if let Some(failed) = self.over_budget(&request).await {
            self.journal.write(vec![failed]).await?;
            return Ok(None);
        }
        let (model, whole) = (request.model.clone(), !request.tools.is_empty());
        let answer = match self.ask(request).await {
            Err(interrupt) => return Ok(Some(interrupt)),
            Ok(Err(Unanswered {
                error: ModelError::ContextExceeded { limit, .. },
                ..
            })) if whole => {
                let window = limit.unwrap_or_else(|| self.window());
                return Box::pin(self.compact_shortened(window)).await;
            }
            Ok(Err(unanswered)) => return self.failed(unanswered).await,
            Ok(Ok(answer)) => answer,
        };
        let (summary, usage, cost) = (answer.text(), answer.usage, answer.cost);
        if summary.trim().is_empty() {
            let (provider, reason) = (model, "an empty summary".to_owned());
            let error = ModelError::AnswerMalformed { provider, reason };
            return self.failed(Unanswered { error, usage, cost }).await;
        }
        let compacted = EventBody::Compacted { summary, usage, cost };
        self.journal.write(vec![compacted]).await?;
        Ok(None)
    }
}

fn user(text: String) -> Message {
    let blocks = vec![Block::Text { text }];
    Message {
        role: Role::User,
        blocks,
    }
}

/// The conversation as plain text of at most about `room` bytes: its beginning, and three times as much of its end.
fn shorten(transcript: &[Arc<Message>], room: usize) -> String {
    let blocks = transcript
        .iter()
        .flat_map(|message| message.blocks.iter().map(move |block| (message.role, block)));
    let pieces: Vec<String> = blocks.filter_map(|(role, block)| piece(role, block)).collect();
    let fits = |pieces: &mut dyn Iterator<Item = &String>, room: usize| {
        let mut used = 0;
        pieces
            .take_while(|piece| {
                used += piece.len();
                used <= room
            })
            .count()
    };
    let first = fits(&mut pieces.iter(), room / 4);
    let last = fits(&mut pieces[first..].iter().rev(), room - room / 4);
    let left_out = pieces.len() - first - last;
    let mut text = pieces[..first].join("\n");
    if left_out > 0 {
        let _ = write!(text, "\n[{left_out} pieces left out]\n");
    }
    text + "\n" + &pieces[pieces.len() - last..].join("\n")
}

fn piece(role: Role, block: &Block) -> Option<String> {
    let (who, text) = match (role, block) {
        (Role::Assistant, Block::Text { text }) => ("You said".to_owned(), text.clone()),
        (Role::User, Block::Text { text }) => ("You were told".to_owned(), text.clone()),
        (_, Block::ToolCall(call)) => (format!("You called {}", call.name), call.input.to_string()),
        (_, Block::ToolResult(result)) => ("It answered".to_owned(), result.text.clone()),
        (_, Block::Thinking { .. } | Block::RedactedThinking { .. }) => return None,
    };
    let end = text.char_indices().nth(PIECE).map_or(text.len(), |(at, _)| at);
    let dots = if end < text.len() { " […]" } else { "" };
    Some(format!("{who}: {}{dots}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_form_keeps_both_ends_and_its_bounds() {
        let transcript: Vec<_> = (0..1_000)
            .map(|n| Arc::new(user(format!("piece {n} {}", "x".repeat(90)))))
            .collect();
        let text = shorten(&transcript, 10_000);
        assert!(
            text.len() <= 10_200 && text.contains("piece 0 ") && text.contains("piece 999 "),
            "{}",
            text.len()
        );
        assert!(text.contains("pieces left out]"));
        let whole = shorten(&transcript[..3], 10_000);
        assert!(
            !whole.contains("left out") && whole.matches("piece").count() == 3,
            "{whole}"
        );
        let long = shorten(&[Arc::new(user("ü".repeat(9_000)))], 100_000);
        assert!(long.len() < 2 * PIECE + 100, "{}", long.len());
    }
}
