//! Paths as agents write them.
//!
//! Invariant: one file has one spelling here as far as its text tells: relative to the home if it is below it, else absolute.
//! That spelling means the same to the file API and to a command that starts in the home, on every sprite host.

use crate::sprite::HOME;

/// A path an agent gave.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct AgentPath(String);

impl AgentPath {
    /// Reads `src/x`, `./src/x`, `~/src/x`, `/home/sprite/src/x` (all the same) or another absolute path.
    pub(super) fn new(text: &str) -> Self {
        let home = text == "~" || text == HOME;
        let below = text
            .strip_prefix("~/")
            .or_else(|| text.strip_prefix(HOME)?.strip_prefix('/'));
        let (absolute, rest) = match below {
            Some(rest) => (false, rest),
            None if home => (false, ""),
            None => (text.starts_with('/'), text),
        };
        let names: Vec<_> = rest
            .split('/')
            .filter(|name| !matches!(*name, "" | "."))
            .collect();
        Self(match (absolute, names.is_empty()) {
            (true, _) => format!("/{}", names.join("/")),
            (false, true) => ".".into(),
            (false, false) => names.join("/"),
        })
    }

    /// For the file API and for people.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// For the argument list of a command that starts in the home; never mistaken for an option.
    pub(super) fn argument(&self) -> String {
        if self.0.starts_with('/') || self.0 == "." {
            self.0.clone()
        } else {
            format!("./{}", self.0)
        }
    }
}

impl std::fmt::Display for AgentPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_below_the_home_is_one() {
        for text in [
            "src/x",
            "./src//x",
            "~/src/x",
            "/home/sprite/src/x",
            "/home/sprite//./src/x/",
        ] {
            assert_eq!(AgentPath::new(text).as_str(), "src/x", "{text}");
        }
        for text in ["", ".", "~", "./", "/home/sprite", "/home/sprite/"] {
            assert_eq!(AgentPath::new(text).as_str(), ".", "{text}");
        }
        for (text, kept) in [
            ("/etc/x", "/etc/x"),
            ("/home/sprites/x", "/home/sprites/x"),
            ("~x", "~x"),
            ("../x", "../x"),
        ] {
            assert_eq!(AgentPath::new(text).as_str(), kept, "{text}");
        }
        assert_eq!(AgentPath::new("-rf").argument(), "./-rf");
    }
}
