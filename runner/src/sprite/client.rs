//! The client: where a sprite host is, who we are to it, and its sprites.
//!
//! Invariant: every request carries the bearer token and ends within its time limit; how it is sent, and when again, is
//! [`super::answer`]'s.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, Url};

use super::{
    Sprite, SpriteError,
    answer::{Answer, json, send, send_file},
    pool::Pool,
    wire_sprites::{CreateSprite, SpriteInfo, SpritePage},
};

/// A create may have to wait for a machine; everything else is quick or streams.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PAGE_SIZE: usize = 50;

/// A client of one sprite host. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Sprites {
    inner: Arc<Inner>,
}

struct Inner {
    base: Url,
    token: String,
    http: reqwest::Client,
    /// Upgrades to WebSocket need HTTP/1.1, which a TLS host might otherwise negotiate away.
    upgrade: reqwest::Client,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Sprites {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sprites")
            .field("base", &self.inner.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Sprites {
    /// A client of the host at `base` (for example `http://127.0.0.1:7420` or `https://api.sprites.dev`) with a bearer
    /// token. Fails with [`SpriteError::Refused`] when `base` is not an http(s) URL.
    pub fn new(base: &str, token: impl Into<String>) -> Result<Self, SpriteError> {
        let invalid = |message: String| SpriteError::Refused {
            status: 0,
            reason: "bad_base_url".into(),
            message,
        };
        let base = Url::parse(base).map_err(|error| invalid(format!("{base} is not a URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(invalid(format!("{base} must start with http:// or https://")));
        }
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
        };
        let http = builder().build().map_err(SpriteError::unavailable)?;
        let upgrade = builder().http1_only().build().map_err(SpriteError::unavailable)?;
        Ok(Self {
            inner: Arc::new(Inner {
                base,
                token: token.into(),
                http,
                upgrade,
                pool: Arc::default(),
            }),
        })
    }

    /// A handle to a sprite by name, without asking the host whether it exists.
    pub fn sprite(&self, name: impl Into<String>) -> Sprite {
        Sprite::new(self.clone(), name.into())
    }

    /// Makes sure the sprite exists and returns its handle. Safe to repeat and to race.
    pub async fn ensure(&self, name: &str) -> Result<Sprite, SpriteError> {
        match self.get(name).await {
            Ok(_) => return Ok(self.sprite(name)),
            Err(SpriteError::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.create(name, BTreeMap::new()).await {
            Ok(_) => Ok(self.sprite(name)),
            // Somebody else created it between our two requests.
            Err(SpriteError::Refused { status: 409, .. }) => Ok(self.sprite(name)),
            // The answer was lost, the sprite perhaps not.
            Err(error @ SpriteError::Unavailable { .. }) => match self.get(name).await {
                Ok(_) => Ok(self.sprite(name)),
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Creates a sprite whose commands see `environment` besides the host's defaults.
    /// A name that is taken is [`SpriteError::Refused`] with status 409.
    pub async fn create(
        &self,
        name: &str,
        environment: BTreeMap<String, String>,
    ) -> Result<SpriteInfo, SpriteError> {
        let body = CreateSprite {
            name: name.to_owned(),
            environment,
            ..CreateSprite::default()
        };
        let request = self
            .request(Method::POST, self.url(&[]))
            .timeout(CREATE_TIMEOUT)
            .json(&body);
        json(self.send(request, || format!("sprite {name}")).await?).await
    }

    /// What the host knows about a sprite.
    pub async fn get(&self, name: &str) -> Result<SpriteInfo, SpriteError> {
        let request = self
            .request(Method::GET, self.url(&[name]))
            .timeout(REQUEST_TIMEOUT);
        json(self.send(request, || format!("sprite {name}")).await?).await
    }

    /// All sprites whose name starts with `prefix` (empty for all), by name; follows every page.
    pub async fn list(&self, prefix: &str) -> Result<Vec<SpriteInfo>, SpriteError> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut url = self.url(&[]);
            {
                let mut query = url.query_pairs_mut();
                query.append_pair("max_results", &PAGE_SIZE.to_string());
                if !prefix.is_empty() {
                    query.append_pair("prefix", prefix);
                }
                if let Some(token) = &token {
                    query.append_pair("continuation_token", token);
                }
            }
            let request = self.request(Method::GET, url).timeout(REQUEST_TIMEOUT);
            let page: SpritePage = json(self.send(request, || "the list of sprites".into()).await?).await?;
            found.extend(page.sprites);
            match page.next_continuation_token {
                Some(next) if page.has_more && token.as_deref() != Some(next.as_str()) => token = Some(next),
                _ => return Ok(found),
            }
        }
    }

    /// Deletes a sprite with everything in it and ends its processes. Deleting what is gone is a success.
    pub async fn delete(&self, name: &str) -> Result<(), SpriteError> {
        let request = self
            .request(Method::DELETE, self.url(&[name]))
            .timeout(REQUEST_TIMEOUT);
        match self.send(request, || format!("sprite {name}")).await {
            Ok(_) | Err(SpriteError::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `base/v1/sprites` followed by `segments`, each percent-encoded.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.inner.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "sprites"]).extend(segments);
        }
        url
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner
            .http
            .request(method, url)
            .bearer_auth(&self.inner.token)
    }

    /// The host's control connections.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.inner.pool
    }

    /// A request on the HTTP/1.1-only client, for an upgrade to WebSocket.
    pub(super) fn upgrade_request(&self, url: Url) -> RequestBuilder {
        self.inner.upgrade.get(url).bearer_auth(&self.inner.token)
    }

    /// Sends, again where that is safe, and turns every answer that is not a success into an error; `what` names what was
    /// asked for.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        what: impl FnOnce() -> String,
    ) -> Result<Answer, SpriteError> {
        send(request, what).await
    }

    /// As [`Sprites::send`] for the file endpoints, whose errors carry a POSIX code and the path.
    pub(super) async fn send_file(&self, request: RequestBuilder, path: &str) -> Result<Answer, SpriteError> {
        send_file(request, path).await
    }
}
