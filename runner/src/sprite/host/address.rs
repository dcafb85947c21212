//! Where the host and its sprites are reached: the host at its URL, a sprite under its name before that.
//!
//! Invariant: what [`Address::sprite`] reads out of a `Host` header is what [`Address::of_sprite`] put into a URL. Names
//! under `localhost` are always understood: browsers and most resolvers lead them to this machine.

use std::net::SocketAddr;

use reqwest::Url;

use super::HostError;

const LOCALHOST: &str = "localhost";

/// The host's address as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    scheme: String,
    domain: String,
    port: Option<u16>,
}

impl Address {
    /// The address of a host that only this machine reaches, or that nobody gave a name.
    pub(super) fn local(listening: SocketAddr) -> Self {
        Self {
            scheme: "http".into(),
            domain: LOCALHOST.into(),
            port: Some(listening.port()),
        }
    }

    /// Reads `https://sprites.example.org` or the like.
    pub(super) fn parse(url: &str) -> Result<Self, HostError> {
        let wrong = || HostError::Url { url: url.to_owned() };
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let domain = parsed.domain().ok_or_else(wrong)?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong());
        }
        Ok(Self {
            scheme: parsed.scheme().to_owned(),
            domain: domain.to_owned(),
            port: parsed.port(),
        })
    }

    /// The URL of a sprite.
    pub(super) fn of_sprite(&self, name: &str) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{name}.{}{port}/", self.scheme, self.domain)
    }

    /// The sprite that a `Host` header means; `None` if it means the host itself.
    pub(super) fn sprite(&self, host: &str) -> Option<String> {
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => host,
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        [self.domain.as_str(), LOCALHOST].into_iter().find_map(|domain| {
            let name = host.strip_suffix(domain)?.strip_suffix('.')?;
            (!name.is_empty() && !name.contains('.')).then(|| name.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sprite_is_found_under_the_url_it_was_given() {
        let address = Address::parse("https://sprites.example.org").unwrap();
        assert_eq!(address.of_sprite("a-1"), "https://a-1.sprites.example.org/");
        assert_eq!(address.sprite("A-1.sprites.example.org").as_deref(), Some("a-1"));
        let local = Address::local(([127, 0, 0, 1], 7420).into());
        assert_eq!(local.of_sprite("a"), "http://a.localhost:7420/");
        assert_eq!(local.sprite("a.localhost:7420").as_deref(), Some("a"));
        for host in [
            "sprites.example.org",
            "127.0.0.1:7420",
            "localhost",
            "a.b.localhost",
            "[::1]:7420",
            "a.example.org",
            "",
        ] {
            assert_eq!(address.sprite(host), None, "{host}");
        }
        assert!(
            Address::parse("ftp://example.org").is_err() && Address::parse("http://127.0.0.1:1").is_err()
        );
    }
}
