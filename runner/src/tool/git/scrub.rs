//! Taking credentials out of text.
//!
//! Invariant: what is returned holds no credential noted before, plain or as HTTP sends it, and nothing that looks like a
//! token of a GitHub App's installation, which another runner may have given to this run.

use std::sync::{Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD};
use roost_shared::wire::CredentialResponse;

/// What stands where a credential stood.
const REMOVED: &str = "[credential removed]";
/// How tokens of installations begin.
const INSTALLATION: &str = "ghs_";
/// Characters after the beginning from which on it is one.
const SHORTEST: usize = 16;
/// Values remembered; a run is given a new one an hour.
const MOST: usize = 256;

/// The credentials a run was given, in every form text may show them.
#[derive(Default)]
pub(super) struct Given(Mutex<Vec<String>>);

impl Given {
    pub(super) fn note(&self, credential: &CredentialResponse) {
        let CredentialResponse {
            username, password, ..
        } = credential;
        let basic = STANDARD.encode(format!("{username}:{password}"));
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for value in [password.clone(), basic] {
            if !given.contains(&value) {
                given.push(value);
            }
        }
        let excess = given.len().saturating_sub(MOST);
        given.drain(..excess);
    }

    pub(super) fn scrub(&self, mut text: String) -> String {
        for value in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), REMOVED);
            }
        }
        scrub_installations(text)
    }
}

fn scrub_installations(text: String) -> String {
    if !text.contains(INSTALLATION) {
        return text;
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(INSTALLATION) {
        let (before, token) = rest.split_at(at);
        clean.push_str(before);
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let end = token.find(|c| !is_token(c)).unwrap_or(token.len());
        if end >= INSTALLATION.len() + SHORTEST {
            clean.push_str(REMOVED);
        } else {
            clean.push_str(&token[..end]);
        }
        rest = &token[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_credential_is_left_and_all_else_is() {
        let given = Given::default();
        given.note(&CredentialResponse {
            username: "x-access-token".into(),
            password: "a static token".into(),
            expires_at: None,
        });
        let basic = STANDARD.encode("x-access-token:a static token");
        let text = format!("says a static token twice: a static token\nAuthorization: Basic {basic}\nüber");
        assert_eq!(
            given.scrub(text),
            format!("says {REMOVED} twice: {REMOVED}\nAuthorization: Basic {REMOVED}\nüber")
        );
        let other = "url = https://x:ghs_0123456789abcdefABCDEF@github.com, ghs_ and ghs_short stay";
        assert_eq!(
            given.scrub(other.to_owned()),
            format!("url = https://x:{REMOVED}@github.com, ghs_ and ghs_short stay")
        );
    }
}
