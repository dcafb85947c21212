//! Text from outside as the model reads it: between marks that outsiders can't know, with who said it.
//!
//! Invariant: the marks hold an id that the edge made when the text was already there, so no text can close its own.

use std::fmt::{Display, Write};

use crate::work::{Actor, Trust};

/// Characters of one piece of outside text that the model is shown.
const PIECE: usize = 40_000;

/// Adds a piece of text from outside, marked with `id` and what it is.
pub fn quote(text: &mut String, id: impl Display, label: &str, content: &str) {
    let _ = write!(
        text,
        "\n\n[outside {id}: {label}]\n{}\n[end of outside {id}]",
        cut(content)
    );
}

/// Somebody, and how far the channel vouches for them.
pub fn who(actor: &Actor) -> String {
    let trust = match actor.trust {
        Trust::Member => "member",
        Trust::Outsider => "outsider",
    };
    format!("{:?} ({trust})", actor.name)
}

/// The text, or its beginning and a note of how much is missing.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(PIECE) {
        None => text.to_owned(),
        Some((end, _)) => format!(
            "{}\n[{} bytes more were left out]",
            &text[..end],
            text.len() - end
        ),
    }
}
