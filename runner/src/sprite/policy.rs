//! What a sprite may speak to, from the client: its network policy, with room for one more host.
//!
//! Invariant: what a person has decided stays. A rule is only ever added, only to a policy that is the preset for agents, and
//! only for a host that none of its own rules says anything about. Rules this side does not know are kept as they are.

use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Sprite, SpriteError, answer, client::REQUEST_TIMEOUT};

/// The preset of what agents need: package registries and the usual hosts of repositories.
const DEFAULTS: &str = "defaults";

/// A network policy as the Sprites API has it: `{"rules": [{"domain", "action"} or {"include"}]}`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct NetworkPolicy {
    #[serde(default)]
    rules: Vec<Value>,
}

impl Sprite {
    /// Lets the sprite speak to `host` (`git.example.com`) beside what the preset for agents allows. A policy that is not that
    /// preset, or that says something of the host already, is left alone. Safe to repeat.
    pub async fn allow_beside_defaults(&self, host: &str) -> Result<(), SpriteError> {
        let asked = self.policy(Method::GET);
        let mut policy: NetworkPolicy = answer::json(self.send_policy(asked).await?).await?;
        if !is_open_to(&policy.rules, host) {
            return Ok(());
        }
        policy.rules.push(json!({"domain": host, "action": "allow"}));
        let change = self.policy(Method::POST).json(&policy);
        self.send_policy(change).await?;
        tracing::info!(
            sprite = self.name(),
            host,
            "the sprite may speak to its repository's host"
        );
        Ok(())
    }

    fn policy(&self, method: Method) -> RequestBuilder {
        let request = self.sprites().request(method, self.url(&["policy", "network"]));
        request.timeout(REQUEST_TIMEOUT)
    }

    async fn send_policy(&self, request: RequestBuilder) -> Result<answer::Answer, SpriteError> {
        let what = || format!("the network policy of sprite {}", self.name());
        self.sprites().send(request, what).await
    }
}

/// Whether a rule for the host may be added: the preset is there, and no rule of the policy's own fits the host.
fn is_open_to(rules: &[Value], host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let fits = |rule: &Value| {
        let domain = rule["domain"].as_str().map(str::to_ascii_lowercase);
        domain.is_some_and(|domain| match domain.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix),
            None => domain == host,
        })
    };
    rules.iter().any(|rule| rule["include"] == DEFAULTS) && !rules.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_preset_is_widened_and_only_where_it_says_nothing() {
        let open = |rules: Value| is_open_to(rules.as_array().unwrap(), "Git.example.com");
        assert!(open(json!([{"include": "defaults"}])));
        assert!(open(
            json!([{"include": "defaults"}, {"domain": "*.example.org", "action": "deny"}])
        ));
        for decided in [
            json!([]),
            json!([{"domain": "github.com"}]),
            json!([{"include": "strict"}]),
            json!([{"include": "defaults"}, {"domain": "git.example.com", "action": "allow"}]),
            json!([{"include": "defaults"}, {"domain": "git.example.com", "action": "deny"}]),
            json!([{"include": "defaults"}, {"domain": "*.example.com", "action": "deny"}]),
            json!([{"domain": "*", "action": "deny"}, {"include": "defaults"}]),
        ] {
            assert!(!open(decided.clone()), "{decided}");
        }
    }
}
