//! What the lists share: the choices above them, the links to the pages after and before, and what an empty one says.
//!
//! Invariant: a link to another page keeps every choice that was made.

use std::fmt::Display;

use maud::{Markup, html};

use super::field;

/// A list as it was asked for.
pub(super) struct Listing<'a> {
    path: &'static str,
    cursor: &'a str,
    next: Option<String>,
    choices: Vec<Choice<'a>>,
}

struct Choice<'a> {
    label: &'static str,
    name: &'static str,
    chosen: &'a str,
    /// Values, and what they are called.
    options: Vec<(String, String)>,
}

impl<'a> Listing<'a> {
    /// The list at `path`, from the entry `cursor` on (empty: the newest); `next` is where the page after it begins.
    pub(super) fn at(path: &'static str, cursor: &'a str, next: Option<impl Display>) -> Self {
        Self {
            path,
            cursor,
            next: next.map(|next| next.to_string()),
            choices: Vec::new(),
        }
    }

    /// The same with a choice among what the entries are; each option is a value and what it is called.
    pub(super) fn by(
        mut self,
        (label, name): (&'static str, &'static str),
        chosen: &'a str,
        options: impl IntoIterator<Item = (impl Display, impl Display)>,
    ) -> Self {
        let options = options.into_iter();
        self.choices.push(Choice {
            label,
            name,
            chosen,
            options: options
                .map(|(value, called)| (value.to_string(), called.to_string()))
                .collect(),
        });
        self
    }

    /// Whether this is the newest page, which may change at any time.
    pub(super) fn is_newest(&self) -> bool {
        self.cursor.is_empty()
    }

    /// Whether some entries may be left out here.
    pub(super) fn is_part(&self) -> bool {
        !self.is_newest() || self.choices.iter().any(|choice| !choice.chosen.is_empty())
    }

    /// The form with the choices.
    pub(super) fn filter(&self) -> Markup {
        html! {
            form.filter method="get" action=(self.path) data-autosubmit {
                @for choice in &self.choices {
                    (field::choice(choice.label, choice.name, &html! {
                        option value="" { "all" }
                        @for (value, called) in &choice.options {
                            option value=(value) selected[value == choice.chosen] { (called) }
                        }
                    }))
                }
                button { "Show" }
            }
        }
    }

    /// That no entry fits the choices.
    pub(super) fn nothing(&self, entry: &str) -> Markup {
        html! { p.empty { "No " (entry) " fits. " a href=(self.path) { "Show all" } } }
    }

    /// Links to the pages after and before this one.
    pub(super) fn pager(&self) -> Markup {
        html! {
            @if !self.is_newest() || self.next.is_some() {
                nav.pager aria-label="Pages" {
                    @if !self.is_newest() { a href=(self.link(None)) rel="first" { "Newest" } }
                    @if let Some(next) = &self.next { a href=(self.link(Some(next))) rel="next" { "Older" } }
                }
            }
        }
    }

    fn link(&self, cursor: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for choice in self.choices.iter().filter(|choice| !choice.chosen.is_empty()) {
            query.append_pair(choice.name, choice.chosen);
        }
        query.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
        format!("{}?{}", self.path, query.finish())
    }
}

/// Options that are called what they are.
pub(super) fn words<'w>(
    words: impl IntoIterator<Item = &'w str>,
) -> impl Iterator<Item = (&'w str, &'w str)> {
    words.into_iter().map(|word| (word, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_page_keeps_what_was_chosen() {
        let listing = Listing::at("/admin/runs", "01A", Some("01B"))
            .by(("Phase", "phase"), "", words(["failed"]))
            .by(("Agent", "agent"), "a & b", [("a & b", "Ada")]);
        let pager = listing.pager().into_string();
        assert!(
            pager.contains("href=\"/admin/runs?agent=a+%26+b&amp;cursor=01B\""),
            "{pager}"
        );
        assert!(pager.contains("href=\"/admin/runs?agent=a+%26+b\""), "{pager}");
        let newest = Listing::at("/admin/runs", "", None::<&str>);
        assert_eq!(newest.pager().into_string(), "");
        assert!(listing.is_part() && !newest.is_part());
    }
}
