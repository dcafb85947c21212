//! Tokens: JWTs (HS256) signed with a key per audience, so that a runner's token is no session and a session no API key.
//!
//! Nothing is stored for a token to be good; a row in `spent_tokens` ends one before its time, and makes a login code
//! good for one sign-in only.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use roost_shared::{TokenId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::keys::MasterKey;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Leasing runs and writing their journals.
    Runner,
    /// Signing in, once.
    Login,
    /// A signed-in browser.
    Session,
    /// The public API.
    Api,
}

impl Audience {
    fn name(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Login => "login",
            Self::Session => "session",
            Self::Api => "api",
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// What it is for.
    pub aud: Audience,
    /// Its id.
    pub jti: TokenId,
    /// The workspace it is good in.
    pub workspace: String,
    /// Who holds it: a runner's or a person's name.
    pub sub: String,
    /// Seconds since the epoch until which it is good.
    pub exp: i64,
}

/// A token that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by this edge for this purpose.
    #[error("the token was not issued here for this use")]
    Forged,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

/// Issues and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    master: MasterKey,
    keys: Arc<Keys>,
}

/// The keys, derived once: every request's token is checked by one.
struct Keys {
    runner: Key,
    login: Key,
    session: Key,
    api: Key,
}

/// What signs and checks the tokens of one audience.
struct Key {
    signs: EncodingKey,
    checks: DecodingKey,
    rules: Validation,
}

impl Key {
    fn new(master: &MasterKey, audience: Audience) -> Self {
        let secret = master.derive(&format!("roost/token/{}", audience.name()));
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[audience.name()]);
        // The library would read the host's clock, which is not ours to read; `check` looks at the expiry.
        rules.validate_exp = false;
        Self {
            signs: EncodingKey::from_secret(&secret),
            checks: DecodingKey::from_secret(&secret),
            rules,
        }
    }
}

impl Tokens {
    /// The tokens of a master key.
    pub fn new(master: MasterKey) -> Self {
        let keys = Arc::new(Keys {
            runner: Key::new(&master, Audience::Runner),
            login: Key::new(&master, Audience::Login),
            session: Key::new(&master, Audience::Session),
            api: Key::new(&master, Audience::Api),
        });
        Self { master, keys }
    }

    /// A signed token that says `claims`.
    ///
    /// # Errors
    /// When signing fails; HS256 does not.
    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let key = self.key(claims.aud);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key.signs)
            .map_err(|_| TokenError::Forged)
    }

    /// Claims for a token that is good from now for `span`.
    pub fn claims(
        aud: Audience,
        jti: TokenId,
        workspace: &str,
        sub: &str,
        now: UnixMillis,
        span: Duration,
    ) -> Claims {
        Claims {
            aud,
            jti,
            workspace: workspace.to_owned(),
            sub: sub.to_owned(),
            exp: (now + span).as_secs(),
        }
    }

    /// What a token says, if it is good for `audience` at `now`.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, audience: Audience, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        let key = self.key(audience);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.checks, &key.rules)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Forged,
            })?
            .claims;
        if claims.exp <= now.as_secs() {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// The key by which a runner knows the doorbell's ring: given to it with every poll, in hexadecimal.
    pub fn doorbell_key(&self, runner_token: TokenId) -> String {
        hex::encode(self.master.derive(&format!("roost/doorbell/{runner_token}")))
    }

    fn key(&self, audience: Audience) -> &Key {
        match audience {
            Audience::Runner => &self.keys.runner,
            Audience::Login => &self.keys.login,
            Audience::Session => &self.keys.session,
            Audience::Api => &self.keys.api,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_audience_its_time_and_its_key_only() {
        let tokens = Tokens::new(MasterKey::from_bytes([1; 32]));
        let now = UnixMillis(1_000_000);
        let id = TokenId::new(now, [3; 10]);
        let claims = Tokens::claims(
            Audience::Runner,
            id,
            "main",
            "laptop",
            now,
            Duration::from_secs(60),
        );
        let token = tokens.issue(&claims).unwrap();
        assert_eq!(tokens.check(Audience::Runner, &token, now), Ok(claims));
        assert_eq!(
            tokens.check(Audience::Session, &token, now),
            Err(TokenError::Forged)
        );
        assert_eq!(
            tokens.check(Audience::Runner, &token, now + Duration::from_secs(61)),
            Err(TokenError::Expired)
        );
        let others = Tokens::new(MasterKey::from_bytes([2; 32]));
        assert_eq!(
            others.check(Audience::Runner, &token, now),
            Err(TokenError::Forged)
        );
        let middle = token.len() / 2;
        let flipped = if token.as_bytes()[middle] == b'A' {
            "B"
        } else {
            "A"
        };
        let forged = format!("{}{flipped}{}", &token[..middle], &token[middle + 1..]);
        assert_eq!(
            tokens.check(Audience::Runner, &forged, now),
            Err(TokenError::Forged)
        );
    }
}
