//! Where the time went.

use std::time::Duration;

use serde::Serialize;

use super::timeline::{Happening, Moment, Paint, milliseconds};

/// Where the time went, from the webhook to the reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Webhook sent → answered, everything durable.
    #[serde(rename = "ack_ms", serialize_with = "milliseconds")]
    pub ack: Duration,
    /// Webhook sent → a runner has the run.
    #[serde(rename = "dispatch_ms", serialize_with = "milliseconds")]
    pub dispatch: Duration,
    /// In the model, all turns.
    #[serde(rename = "model_ms", serialize_with = "milliseconds")]
    pub model: Duration,
    /// In tools, all calls.
    #[serde(rename = "tools_ms", serialize_with = "milliseconds")]
    pub tools: Duration,
    /// The rest: journal, contexts, the sprite's first start.
    #[serde(rename = "journal_ms", serialize_with = "milliseconds")]
    pub journal: Duration,
    /// Run ended → the reply is visible.
    #[serde(rename = "reply_ms", serialize_with = "milliseconds")]
    pub reply: Duration,
    /// Webhook sent → the reply is visible.
    #[serde(rename = "total_ms", serialize_with = "milliseconds")]
    pub total: Duration,
    /// Model answers.
    pub turns: usize,
    /// Tool calls.
    pub calls: usize,
}

impl Summary {
    /// Adds up what happened.
    pub(super) fn of(moments: &[Moment]) -> Self {
        let mut sum = Self::default();
        let mut ended = Duration::ZERO;
        for Moment { after, what } in moments {
            match what {
                Happening::Stored { .. } => sum.ack = *after,
                Happening::Leased { .. } => sum.dispatch = *after,
                Happening::Model { took_ms, .. } => {
                    sum.model += Duration::from_millis(*took_ms);
                    sum.turns += 1;
                }
                Happening::Result { took_ms, .. } => {
                    sum.tools += Duration::from_millis(*took_ms);
                    sum.calls += 1;
                }
                Happening::Ended { .. } => ended = *after,
                Happening::Reply { .. } => {
                    sum.reply = after.saturating_sub(ended);
                    sum.total = *after;
                }
                _ => {}
            }
        }
        sum.journal = sum
            .total
            .saturating_sub(sum.dispatch + sum.model + sum.tools + sum.reply);
        sum
    }

    pub(crate) fn table(&self, paint: Paint) -> String {
        let share = |span: Duration| {
            let cells = (span.as_secs_f64() / self.total.as_secs_f64().max(1e-9) * 30.0).round();
            // At most 30, and never below 0.
            "▇".repeat((cells as usize).min(30))
        };
        let row = |what: &str, span: Duration| {
            format!(
                "  {what:<40}{:>9.1} ms  {}\n",
                span.as_secs_f64() * 1000.0,
                paint.dim(&share(span))
            )
        };
        let mut table = format!("{}\n", paint.bold("Where the time went"));
        table.push_str(&row("webhook answered, everything durable", self.ack));
        table.push_str(&row("a runner has the run", self.dispatch));
        table.push_str(&row(&format!("model, {} turns", self.turns), self.model));
        table.push_str(&row(
            &format!("tools, {} calls in the sprite", self.calls),
            self.tools,
        ));
        table.push_str(&row("journal, and everything else", self.journal));
        table.push_str(&row("reply delivered", self.reply));
        table.push_str(&row("webhook → reply", self.total));
        table
    }
}
