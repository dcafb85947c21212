//! The parts of Telegram's updates that are read, after [the Bot API](https://core.telegram.org/bots/api#update).
//!
//! Kinds of updates and messages that are not read are kept by name only, so that a verdict can say what they were and
//! a later version of the API breaks nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

#[derive(Debug, Deserialize)]
pub(super) struct UpdateId {
    pub(super) update_id: i64,
}

/// One update; it has one of its kinds.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    pub(super) message: Option<Box<Message>>,
    pub(super) channel_post: Option<Box<Message>>,
    pub(super) edited_message: Option<Box<Message>>,
    pub(super) edited_channel_post: Option<Box<Message>>,
    /// Every other kind.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, IgnoredAny>,
}

/// A message or a post in a channel.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    pub(super) message_thread_id: Option<i64>,
    #[serde(default)]
    pub(super) is_topic_message: bool,
    #[serde(default)]
    pub(super) is_automatic_forward: bool,
    pub(super) from: Option<User>,
    pub(super) sender_chat: Option<Chat>,
    pub(super) author_signature: Option<String>,
    pub(super) chat: Chat,
    pub(super) text: Option<String>,
    pub(super) entities: Option<Vec<Entity>>,
    pub(super) caption: Option<String>,
    pub(super) caption_entities: Option<Vec<Entity>>,
    pub(super) reply_to_message: Option<Box<Message>>,
    pub(super) quote: Option<TextQuote>,
    pub(super) forum_topic_created: Option<TopicCreated>,
    /// What else the message carries: its media, or what it tells as a service message.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) is_bot: bool,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
    pub(super) username: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) title: Option<String>,
    pub(super) username: Option<String>,
}

/// A stretch of a text with a meaning; offset and length count UTF-16 units.
#[derive(Debug, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: usize,
    pub(super) length: usize,
    pub(super) url: Option<String>,
    pub(super) user: Option<User>,
}

/// The passage of the message replied to that was picked out.
#[derive(Debug, Deserialize)]
pub(super) struct TextQuote {
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TopicCreated {
    pub(super) name: Option<String>,
}

/// What a message can carry besides its text, in the order in which it describes the message best.
const CONTENT: [&str; 20] = [
    "photo",
    "voice",
    "animation",
    "audio",
    "document",
    "video_note",
    "video",
    "sticker",
    "story",
    "paid_media",
    "live_photo",
    "contact",
    "dice",
    "game",
    "poll",
    "checklist",
    "venue",
    "location",
    "invoice",
    "successful_payment",
];

/// Fields that describe a message and are not what it carries.
const ABOUT: [&str; 6] = [
    "date",
    "edit_date",
    "via_bot",
    "forward_origin",
    "message_thread_id",
    "has_protected_content",
];

impl Message {
    /// Text or caption with the entities in it; none if the message has neither.
    pub(super) fn said(&self) -> Option<(&str, &[Entity])> {
        let (text, entities) = match (&self.text, &self.caption) {
            (Some(text), _) => (text, &self.entities),
            (None, Some(caption)) => (caption, &self.caption_entities),
            (None, None) => return None,
        };
        Some((text, entities.as_deref().unwrap_or_default()))
    }

    /// What the message carries besides its text, by the field's name.
    pub(super) fn attachment(&self) -> Option<&'static str> {
        CONTENT.into_iter().find(|kind| self.other.contains_key(*kind))
    }

    /// What a message without text is, for the reason it is ignored with.
    pub(super) fn nature(&self) -> &str {
        let service = || {
            self.other
                .keys()
                .map(String::as_str)
                .find(|key| !ABOUT.contains(key))
        };
        let topic = self.forum_topic_created.as_ref().map(|_| "forum_topic_created");
        self.attachment().or(topic).or_else(service).unwrap_or("nothing")
    }

    /// The forum topic it was said in.
    ///
    /// `message_thread_id` alone is not one: in groups without topics it names a chain of replies, and sending to it
    /// fails.
    pub(super) fn topic(&self) -> Option<i64> {
        self.message_thread_id.filter(|_| self.is_topic_message)
    }
}

impl User {
    pub(super) fn is(&self, username: &str) -> bool {
        self.username
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(username))
    }

    pub(super) fn display_name(&self) -> String {
        let names = [self.first_name.as_deref(), self.last_name.as_deref()];
        let full = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        match (full.trim(), &self.username) {
            ("", Some(username)) => username.clone(),
            ("", None) => self.id.to_string(),
            (full, _) => full.to_owned(),
        }
    }
}

impl Entity {
    /// The stretch of `text` it marks; none if it doesn't lie on character boundaries of it.
    pub(super) fn of<'t>(&self, text: &'t str) -> Option<&'t str> {
        let start = byte_at(text, self.offset)?;
        let end = byte_at(text, self.offset.checked_add(self.length)?)?;
        text.get(start..end)
    }
}

/// Where the UTF-16 unit number `units` stands in `text`, in bytes.
fn byte_at(text: &str, units: usize) -> Option<usize> {
    let mut passed = 0;
    for (at, character) in text.char_indices() {
        if passed >= units {
            return (passed == units).then_some(at);
        }
        passed += character.len_utf16();
    }
    (passed == units).then_some(text.len())
}
