//! The way from a run's sprite to the host of its repository.
//!
//! Invariant: a host that can't be allowed is no error here: git says what it could not reach, and why.

use http::Uri;

use crate::sprite::Sprite;

/// The host that every sprite may speak to, unless somebody took that away.
const USUAL: &str = "github.com";

/// Sees to it that the sprite may speak to the host of `origin` (`https://git.example.com`), unless a person decided otherwise.
pub(super) async fn open(sprite: &Sprite, origin: &str) {
    let Some(host) = host(origin).filter(|host| host != USUAL) else {
        return;
    };
    if let Err(error) = sprite.allow_beside_defaults(&host).await {
        tracing::warn!(
            %error,
            sprite = sprite.name(),
            host,
            "the sprite's network policy could not be changed for its repository's host"
        );
    }
}

/// The host of an origin, without its port.
fn host(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    uri.host().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_host_without_a_port() {
        assert_eq!(
            host("https://Git.example.com:8443").as_deref(),
            Some("git.example.com")
        );
        assert_eq!(host("nonsense at all"), None);
    }
}
