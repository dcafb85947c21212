//! The reference file says what the types say, and mistakes are named.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{Config, REFERENCE};

/// A reference file's keys are commented out without a blank after the `#`; prose has one.
fn uncommented() -> String {
    REFERENCE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '#']) => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Dotted keys of all values that are no tables.
fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, into);
            }
        }
        other => {
            into.insert(prefix.to_owned(), other.clone());
        }
    }
}

fn keys(value: &impl serde::Serialize) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    flatten("", &serde_json::to_value(value).unwrap(), &mut flat);
    flat
}

/// The comment that stands above a key's line in the reference.
fn comment_above(dotted: &str) -> String {
    let (table, key) = dotted.rsplit_once('.').unwrap();
    let lines: Vec<&str> = REFERENCE.lines().collect();
    let begin = lines
        .iter()
        .position(|line| *line == format!("[{table}]"))
        .unwrap_or_else(|| panic!("[{table}] is a table of the reference"));
    let at = lines[begin..]
        .iter()
        .position(|line| line.starts_with(&format!("#{key} = ")))
        .unwrap_or_else(|| panic!("{dotted} stands in the reference"));
    let above: Vec<&str> = lines[begin..begin + at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("# "))
        .copied()
        .collect();
    above.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_is_the_defaults_and_nothing_but() {
    let as_it_stands = Config::parse(REFERENCE, Path::new("roost.toml")).unwrap();
    assert_eq!(as_it_stands, Config::default());

    let shown = Config::parse(&uncommented(), Path::new("roost.toml")).unwrap();
    let (shown, defaults) = (keys(&shown), keys(&Config::default()));
    for (key, default) in &defaults {
        let comment = comment_above(key);
        assert!(!comment.is_empty(), "{key} is explained");
        if default.is_null() {
            assert!(!shown[key].is_null(), "{key} has an example in the reference");
            assert!(
                comment.contains("No default"),
                "{key} has no default, and says so"
            );
        } else {
            assert_eq!(&shown[key], default, "the default of {key}");
            assert!(!comment.contains("No default"), "{key} has a default");
        }
    }
}

#[test]
fn a_mistake_is_one_sentence_with_file_line_and_key() {
    let said = |text: &str| {
        Config::parse(text, Path::new("roost.toml"))
            .unwrap_err()
            .to_string()
    };
    let unknown = said("[edge]\nlisten = \"127.0.0.1:1\"\nlisen = 3\n");
    assert!(
        unknown.starts_with("roost.toml, line 3: edge.lisen: unknown field `lisen`, expected one of"),
        "{unknown}"
    );
    let type_ = said("[runner]\n\nslots = \"many\"\n");
    assert_eq!(
        type_,
        "roost.toml, line 3: runner.slots: invalid type: string \"many\", expected u32"
    );
    let value = said("[edge]\nlisten = \"8080\"\n");
    assert!(value.starts_with("roost.toml, line 2: edge.listen: "), "{value}");
    let syntax = said("[edge\n");
    assert!(syntax.starts_with("roost.toml, line 1: "), "{syntax}");
    assert_eq!(syntax.lines().count(), 1, "{syntax}");
}

#[test]
fn no_secret_is_shown() {
    let config = Config::parse(
        "[edge]\nmaster_key = \"hush\"\n[runner]\ntoken = \"hush\"",
        Path::new("x"),
    )
    .unwrap();
    assert!(!format!("{config:?}").contains("hush"));
}
