//! What is known of a checkpoint besides its tree.

use serde::{Deserialize, Serialize};

use crate::sprite::checkpoint::Checkpoint;

const AUTO: &str = "auto-";

/// What `info.json` holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Info {
    /// `v1`, or `auto-1` for automatic ones: they come and go and must not use up a user's numbers.
    pub(super) id: String,
    /// Orders all checkpoints of a sprite.
    pub(super) serial: u64,
    pub(super) create_time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) comment: Option<String>,
    pub(super) is_auto: bool,
    /// The checkpoint that its state came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_id: Option<String>,
    /// The restores that led to its state.
    #[serde(default)]
    pub(super) history: Vec<String>,
    /// Which build made its new objects.
    pub(super) build: u32,
    pub(super) manifest_bytes: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Whether its manifest has its whole size. Not stored.
    #[serde(skip)]
    pub(super) whole: bool,
    /// Whether it is the present state and a restore has not come to its end. Not stored.
    #[serde(skip)]
    pub(super) is_torn: bool,
}

impl Info {
    /// Whether that can be the id of a checkpoint.
    pub(super) fn is_id(text: &[u8]) -> bool {
        let digits = text
            .strip_prefix(b"v")
            .or_else(|| text.strip_prefix(AUTO.as_bytes()));
        digits.is_some_and(|digits| {
            (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0'
        })
    }

    pub(super) fn id_of(number: u64, is_auto: bool) -> String {
        let prefix = if is_auto { AUTO } else { "v" };
        format!("{prefix}{number}")
    }

    /// Whether that checkpoint was restored on the way to this one's state.
    pub(super) fn passed(&self, id: &str) -> bool {
        let wanted = format!("to={id};");
        self.history.iter().any(|restore| restore.starts_with(&wanted))
    }

    pub(super) fn wire(self) -> Checkpoint {
        let health = match (self.is_torn, self.whole) {
            (true, _) => "restore_unfinished",
            (false, false) => "damaged",
            (false, true) => "",
        };
        Checkpoint {
            id: self.id,
            create_time: self.create_time,
            comment: self.comment,
            history: self.history,
            is_auto: self.is_auto,
            source_id: self.source_id,
            health: health.into(),
        }
    }
}
