//! Updates of a Telegram bot.
//!
//! Invariant: messages and posts with a text or a caption, newly written by people, are heard; every other update is
//! ignored with a reason that names its kind.

mod update;

use roost_shared::{
    event::Change,
    work::{Actor, Conversation, Quote, ReplyTo, Trust},
};

use self::update::{Chat, Entity, Message, Update, UpdateId};
use crate::{
    ingress::{
        channel::{Heard, Rejection, Request, Verdict, Verified},
        signature::is_same,
        text::{LIST_LIMIT, QUOTE_LIMIT, TEXT_LIMIT, cut, cut_name, web_address},
    },
    integration::TelegramSettings,
};

const TOKEN: &str = "X-Telegram-Bot-Api-Secret-Token";

/// Proves `X-Telegram-Bot-Api-Secret-Token`, which is all Telegram signs with.
///
/// # Errors
/// See [`Rejection`].
pub fn verify(secret_token: &str, request: Request<'_>) -> Result<Verified, Rejection> {
    if secret_token.is_empty() {
        return Err(Rejection::Secret("it is empty"));
    }
    let token = request
        .headers
        .get(TOKEN)
        .ok_or_else(|| Rejection::SignatureMissing {
            header: TOKEN.to_owned(),
        })?;
    if !is_same(secret_token, token.as_bytes()) {
        return Err(Rejection::SignatureWrong);
    }
    let update: UpdateId = serde_json::from_slice(request.body).map_err(malformed)?;
    Ok(Verified {
        dedupe_key: update.update_id.to_string(),
    })
}

/// Says what was heard.
///
/// # Errors
/// [`Rejection::Malformed`] when the body is not an update.
pub fn normalise(settings: &TelegramSettings, request: Request<'_>) -> Result<Verdict, Rejection> {
    let update: Update = serde_json::from_slice(request.body).map_err(malformed)?;
    let said = [("message", update.message), ("channel_post", update.channel_post)];
    let edited = [
        ("edited_message", update.edited_message),
        ("edited_channel_post", update.edited_channel_post),
    ];
    let first = |kinds: [(&'static str, Option<Box<Message>>); 2]| {
        kinds
            .into_iter()
            .find_map(|(kind, message)| Some((kind, message?)))
    };
    Ok(match (first(said), first(edited)) {
        (Some((kind, message)), _) => listen(settings, kind, &message),
        (None, Some((kind, message))) => match listen(settings, kind, &message) {
            Verdict::Heard(heard) => Verdict::Changed(Change::Edited, heard),
            other => other,
        },
        (None, None) => {
            let kind = update.other.keys().find(|key| *key != "update_id");
            let kind = kind.map_or_else(|| "nothing".to_owned(), |kind| cut_name(kind));
            Verdict::Ignored(format!("event not listened to: {kind}"))
        }
    })
}

fn malformed(error: serde_json::Error) -> Rejection {
    Rejection::Malformed(error.to_string())
}

fn listen(settings: &TelegramSettings, kind: &str, message: &Message) -> Verdict {
    let ignored = |reason: &str| Verdict::Ignored(reason.to_owned());
    let Some((text, entities)) = message.said().filter(|(text, _)| !text.trim().is_empty()) else {
        return Verdict::Ignored(format!("no text: {}", cut_name(message.nature())));
    };
    if message.is_automatic_forward {
        return ignored("forwarded automatically from the channel");
    }
    // Who speaks as a chat (an anonymous administrator, a channel) has a bot of Telegram's own in `from`.
    if let (Some(from), None) = (&message.from, &message.sender_chat) {
        if from.is(&settings.bot_username) {
            return ignored("own message");
        }
        if from.is_bot {
            return ignored("from a bot");
        }
    }
    let Some(actor) = actor(settings, message) else {
        return ignored("from nobody");
    };
    let mentions = mentions(text, entities);
    Verdict::Heard(Box::new(Heard {
        kind: kind.to_owned(),
        conversation: conversation(message, &actor),
        actor,
        text: cut(text, TEXT_LIMIT),
        context: context(settings, message, text, entities),
        reply_to: ReplyTo::Telegram {
            chat: message.chat.id,
            topic: message.topic(),
            message: message.message_id,
        },
        to_bot: is_to_bot(settings, message, text, entities, &mentions),
        mentions,
        labels: Vec::new(),
    }))
}

fn actor(settings: &TelegramSettings, message: &Message) -> Option<Actor> {
    let (id, name) = match (&message.sender_chat, &message.from) {
        (Some(chat), _) => (
            chat.id,
            chat.title.clone().or_else(|| message.author_signature.clone()),
        ),
        (None, Some(user)) => (user.id, Some(user.display_name())),
        (None, None) => return None,
    };
    Some(Actor {
        id: id.to_string(),
        name: cut_name(&name.unwrap_or_else(|| id.to_string())),
        trust: trust(settings, id),
    })
}

/// Telegram vouches for nobody: only those the integration lists are members.
fn trust(settings: &TelegramSettings, id: i64) -> Trust {
    match settings.members.contains(&id) {
        true => Trust::Member,
        false => Trust::Outsider,
    }
}

fn conversation(message: &Message, actor: &Actor) -> Conversation {
    let chat = &message.chat;
    let title = chat.title.as_deref().unwrap_or(&actor.name);
    let topic_name = message
        .reply_to_message
        .as_ref()
        .and_then(|first| first.forum_topic_created.as_ref()?.name.as_deref());
    Conversation {
        key: match message.topic() {
            Some(topic) => format!("{}/{topic}", chat.id),
            None => chat.id.to_string(),
        },
        title: cut_name(&match topic_name {
            Some(topic) => format!("{title} › {topic}"),
            None => title.to_owned(),
        }),
        url: web_address(link(chat, message.topic().unwrap_or(message.message_id)).as_deref()),
    }
}

/// The address of a topic or message, where chats have one: public chats by name, supergroups and channels by number.
fn link(chat: &Chat, part: i64) -> Option<String> {
    let is_shared = matches!(chat.kind.as_str(), "supergroup" | "channel");
    match &chat.username {
        _ if !is_shared => None,
        Some(name) => Some(format!("https://t.me/{name}/{part}")),
        None => {
            let number = chat.id.to_string();
            Some(format!("https://t.me/c/{}/{part}", number.strip_prefix("-100")?))
        }
    }
}

/// What was said is about the message it replies to, what hangs on it, and addresses hidden behind its words.
fn context(settings: &TelegramSettings, message: &Message, text: &str, entities: &[Entity]) -> Vec<Quote> {
    let quote = |label: String, by, text: &str| Quote {
        label,
        by,
        text: cut(text, QUOTE_LIMIT),
    };
    let mut context = Vec::new();
    if let Some(earlier) = replied_to(message) {
        if let Some((text, _)) = earlier.said() {
            context.push(quote(
                "message replied to".to_owned(),
                actor(settings, earlier),
                text,
            ));
        } else if let Some(attachment) = earlier.attachment() {
            context.push(quote(
                "message replied to".to_owned(),
                actor(settings, earlier),
                attachment,
            ));
        }
    }
    if let Some(passage) = &message.quote {
        context.push(quote("passage replied to".to_owned(), None, &passage.text));
    }
    if let Some(attachment) = message.attachment() {
        context.push(quote("attachment, not fetched".to_owned(), None, attachment));
    }
    for entity in entities
        .iter()
        .filter(|entity| entity.kind == "text_link")
        .take(LIST_LIMIT)
    {
        if let (Some(words), Some(url)) = (entity.of(text), web_address(entity.url.as_deref())) {
            context.push(quote(format!("link behind “{}”", cut_name(words)), None, &url));
        }
    }
    context
}

/// The message replied to. In a topic every message replies to the one that opened the topic, which means nothing.
fn replied_to(message: &Message) -> Option<&Message> {
    let earlier = message.reply_to_message.as_deref();
    earlier.filter(|earlier| earlier.forum_topic_created.is_none())
}

fn mentions(text: &str, entities: &[Entity]) -> Vec<String> {
    let mut names = Vec::new();
    for entity in entities {
        let name = match entity.kind.as_str() {
            "mention" => entity.of(text).and_then(|words| words.strip_prefix('@')),
            "text_mention" => entity.user.as_ref().and_then(|user| user.username.as_deref()),
            _ => None,
        };
        let Some(name) = name.map(|name| cut_name(name).to_lowercase()) else {
            continue;
        };
        if !name.is_empty() && names.len() < LIST_LIMIT && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A bare `/command` in a group may be meant for any bot there; `/command@name` says which.
fn is_to_bot(
    settings: &TelegramSettings,
    message: &Message,
    text: &str,
    entities: &[Entity],
    mentions: &[String],
) -> bool {
    let bot = settings.bot_username.to_lowercase();
    let is_command_to_bot = |entity: &Entity| {
        let addressee = entity.of(text).and_then(|words| Some(words.split_once('@')?.1));
        entity.kind == "bot_command" && addressee.is_some_and(|name| name.eq_ignore_ascii_case(&bot))
    };
    let is_reply_to_bot = || {
        let author = replied_to(message).and_then(|earlier| earlier.from.as_ref());
        author.is_some_and(|author| author.is(&bot))
    };
    message.chat.kind == "private"
        || mentions.contains(&bot)
        || entities.iter().any(is_command_to_bot)
        || is_reply_to_bot()
}

#[cfg(test)]
mod tests;
