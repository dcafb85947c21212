//! Who may do what: the master key and what is derived from it, sealed secrets, signed tokens.

pub mod keys;
pub mod seal;
pub mod session;
pub mod spent;
pub mod token;

use http::{HeaderMap, header::AUTHORIZATION};

/// The token of an `Authorization: Bearer …` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
