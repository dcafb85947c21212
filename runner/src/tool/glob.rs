//! `glob`: files whose path matches a pattern.
//!
//! Invariant: matches come sorted by path, without what `.git` and our own `.roost` hold; what is left out is said.

use async_trait::async_trait;
use globset::{GlobBuilder, GlobMatcher};
use roost_shared::effect::EffectClass;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolContext, ToolOutput,
    command::{self, Finished},
    input::parse,
    path::AgentPath,
};

const MAX_MATCHES: usize = 1_000;
/// How much of a listing of all files is looked at.
const MAX_LISTING_BYTES: usize = 16 << 20;

/// Finds files by a pattern of their path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Glob;

#[derive(Debug, Deserialize)]
struct Input {
    pattern: String,
    #[serde(default)]
    path: String,
}

#[async_trait]
impl Tool for Glob {
    fn name(&self) -> &'static str {
        "glob"
    }

    fn description(&self) -> &'static str {
        "Finds files by a pattern of their path, such as src/**/*.rs or **/{Cargo,package}.*: \
         * and ? stay within a name, ** spans directories. Paths come relative to `path`, sorted."
    }

    fn input_schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "The pattern; a name alone is looked for at any depth."},
                "path": {"type": "string", "description": "Directory to look in; the home directory by default."},
            },
            "required": ["pattern"],
            "additionalProperties": false,
        })
    }

    fn effect_class(&self) -> EffectClass {
        EffectClass::Pure
    }

    async fn call(&self, context: &ToolContext, input: Value) -> ToolOutput {
        let input: Input = match parse(input) {
            Ok(input) => input,
            Err(output) => return output,
        };
        let matcher = match matcher(&input.pattern) {
            Ok(matcher) => matcher,
            Err(error) => return ToolOutput::error(format!("The pattern can't be read: {error}.")),
        };
        let path = AgentPath::new(&input.path);
        let target = path.argument();
        let skip = ["(", "-name", ".git", "-o", "-name", ".roost", ")", "-prune", "-o"];
        let mut find = vec!["find", "-H", &target];
        find.extend(
            skip.iter()
                .chain(&["(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\\0"]),
        );
        let Finished {
            stdout,
            stderr,
            exit,
            complete,
        } = match command::run(context, &find, MAX_LISTING_BYTES).await {
            Ok(finished) => finished,
            Err(output) => return output,
        };
        if stdout.is_empty() && exit != Some(0) {
            return ToolOutput::error(format!("{path} can't be searched: {}", stderr.trim()));
        }
        let names = stdout[..]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        let mut matches: Vec<_> = names
            .map(String::from_utf8_lossy)
            .filter(|name| matcher.is_match(name.as_ref()))
            .collect();
        matches.sort_unstable();
        let mut shown = matches
            .iter()
            .take(MAX_MATCHES)
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>()
            .join("\n");
        if matches.is_empty() {
            shown.push_str("[no file matches]");
        } else if matches.len() > MAX_MATCHES {
            shown.push_str(&format!(
                "\n[{} more matches; narrow the pattern]",
                matches.len() - MAX_MATCHES
            ));
        }
        if !complete {
            shown.push_str("\n[there are too many files to look at all of them; give a deeper path]");
        }
        ToolOutput::ok(shown)
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let anywhere = if pattern.contains('/') {
        pattern.to_owned()
    } else {
        format!("**/{pattern}")
    };
    Ok(GlobBuilder::new(&anywhere)
        .literal_separator(true)
        .build()?
        .compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_names_and_bare_names_are_found_at_any_depth() {
        let cases = [
            ("*.rs", "a.rs", true),
            ("*.rs", "src/deep/a.rs", true),
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/deep/a.rs", false),
            ("src/**/*.rs", "src/deep/er/a.rs", true),
            ("src/**/*.rs", "src/a.rs", true),
            ("./src/{a,b}.*", "src/b.toml", true),
            ("**/test_?.py", "x/test_1.py", true),
            ("a.rs", "b.rs", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                matcher(pattern).unwrap().is_match(path),
                expected,
                "{pattern} {path}"
            );
        }
        assert!(matcher("{a").is_err());
    }
}
