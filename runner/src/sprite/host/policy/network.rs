//! Which names of the outside a sprite may speak to.
//!
//! Invariant: a name is allowed only by a rule. The most specific rule that fits decides: the name itself, then the longest
//! `*.` suffix, then `*`; where two are as specific, `deny` wins; rules of its own come before those of a preset.

use serde::{Deserialize, Serialize};

/// What agents that write software need: package registries and the hosts of repositories.
const DEFAULTS: [&str; 33] = [
    "github.com",
    "*.github.com",
    "*.githubusercontent.com",
    "ghcr.io",
    "gitlab.com",
    "*.gitlab.com",
    "bitbucket.org",
    "codeberg.org",
    "crates.io",
    "*.crates.io",
    "static.rust-lang.org",
    "index.rust-lang.org",
    "docs.rs",
    "pypi.org",
    "files.pythonhosted.org",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "nodejs.org",
    "jsr.io",
    "npm.jsr.io",
    "deno.land",
    "proxy.golang.org",
    "sum.golang.org",
    "go.dev",
    "rubygems.org",
    "*.rubygems.org",
    "repo.maven.apache.org",
    "repo1.maven.org",
    "plugins.gradle.org",
    "services.gradle.org",
    "deb.debian.org",
    "security.debian.org",
    "archive.ubuntu.com",
];

const MAX_RULES: usize = 1_000;
const MAX_DOMAIN_BYTES: usize = 255;

/// The rules of one sprite, as the API has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sprite::host) struct NetworkPolicy {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Rule {
    Preset {
        include: Preset,
    },
    Domain {
        domain: String,
        #[serde(default)]
        action: Action,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Preset {
    Defaults,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    Allow,
    Deny,
}

/// What the rules say of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sprite::host) enum Verdict {
    Allowed,
    Denied,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        let include = Preset::Defaults;
        Self {
            rules: vec![Rule::Preset { include }],
        }
    }
}

impl NetworkPolicy {
    /// Why it can't be one, if so.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.rules.len() > MAX_RULES {
            return Some(format!("a network policy has at most {MAX_RULES} rules"));
        }
        let bad = self.rules.iter().find_map(|rule| match rule {
            Rule::Domain { domain, .. } if !is_pattern(domain) => Some(domain),
            _ => None,
        });
        bad.map(|domain| format!("{domain:?} is no domain; write example.com, *.example.com or *"))
    }

    /// Whether `host`, a name or an address as text, may be spoken to.
    pub(in crate::sprite::host) fn verdict(&self, host: &str) -> Verdict {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let of_domains = self.rules.iter().filter_map(|rule| match rule {
            Rule::Domain { domain, action } => Some((fit(domain, &host)?, *action)),
            Rule::Preset { .. } => None,
        });
        // At the same fit `Deny` is the greater.
        let by_domain = of_domains.max_by_key(|(fit, action)| (*fit, *action == Action::Deny));
        let allowed = match by_domain {
            Some((_, action)) => action == Action::Allow,
            None => {
                let preset = |rule: &Rule| matches!(rule, Rule::Preset { .. });
                self.rules.iter().any(preset) && DEFAULTS.iter().any(|domain| fit(domain, &host).is_some())
            }
        };
        if allowed {
            Verdict::Allowed
        } else {
            Verdict::Denied
        }
    }
}

/// How closely a pattern fits a host; `None` if it doesn't.
fn fit(pattern: &str, host: &str) -> Option<usize> {
    let pattern = pattern.to_ascii_lowercase();
    if pattern == "*" {
        return Some(0);
    }
    if let Some(suffix) = pattern.strip_prefix('*') {
        return host
            .strip_suffix(suffix)
            .is_some_and(|rest| !rest.is_empty())
            .then_some(suffix.len());
    }
    (pattern == host).then_some(usize::MAX)
}

fn is_pattern(domain: &str) -> bool {
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    domain == "*" || domain.len() <= MAX_DOMAIN_BYTES && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> NetworkPolicy {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_most_specific_rule_decides_and_deny_wins() {
        let policy = policy(
            r#"{"rules": [{"include": "defaults"}, {"domain": "*.example.com", "action": "allow"},
                {"domain": "bad.example.com", "action": "deny"}, {"domain": "*.sub.example.com", "action": "deny"},
                {"domain": "twice.org", "action": "allow"}, {"domain": "twice.org", "action": "deny"},
                {"domain": "docs.rs", "action": "deny"}]}"#,
        );
        assert_eq!(policy.refusal(), None);
        for allowed in ["a.example.com", "A.EXAMPLE.com.", "github.com", "api.github.com"] {
            assert_eq!(policy.verdict(allowed), Verdict::Allowed, "{allowed}");
        }
        for denied in [
            "example.com",
            "bad.example.com",
            "x.sub.example.com",
            "twice.org",
            "docs.rs",
            "notgithub.com",
            "github.com.evil.org",
            "169.254.169.254",
            "[::1]",
        ] {
            assert_eq!(policy.verdict(denied), Verdict::Denied, "{denied}");
        }
    }

    #[test]
    fn nothing_is_allowed_without_rules_and_all_by_a_star() {
        assert_eq!(policy(r#"{"rules": []}"#).verdict("github.com"), Verdict::Denied);
        assert_eq!(
            policy(r#"{"rules": [{"domain": "*"}]}"#).verdict("x.org"),
            Verdict::Allowed
        );
        assert_eq!(NetworkPolicy::default().verdict("crates.io"), Verdict::Allowed);
        for wrong in ["", "a b", "*.*.com", "http://x.org", "x..org", "a.*"] {
            let rules = format!(r#"{{"rules": [{{"domain": {wrong:?}, "action": "allow"}}]}}"#);
            assert!(policy(&rules).refusal().is_some(), "{wrong}");
        }
    }
}
