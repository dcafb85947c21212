//! The reference file says what the types say, and mistakes are named.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{Config, REFERENCE};
use crate::model::{ModelConfig, ModelSettings, Patience, ProviderConfig};

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
    assert_eq!(keys(&as_it_stands), keys(&Config::default()));
    assert!(as_it_stands.models.providers.is_empty() && as_it_stands.models.models.is_empty());

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

/// Gives the names of a struct's fields to whoever deserialises one from it, and nothing else.
struct FieldsOf<'a>(&'a mut &'static [&'static str]);

impl<'de> serde::Deserializer<'de> for FieldsOf<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only fields are of interest"))
    }

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields_of<T: for<'de> serde::Deserialize<'de>>() -> BTreeSet<&'static str> {
    let mut fields: &'static [&'static str] = &[];
    drop(T::deserialize(FieldsOf(&mut fields)));
    assert!(!fields.is_empty());
    fields.iter().copied().collect()
}

#[test]
fn the_models_part_of_the_reference_shows_every_key() {
    let shown: toml::Table = uncommented().parse().unwrap();
    let models = shown["models"].as_table().unwrap();
    let keys_at = |path: &[&str]| -> BTreeSet<String> {
        let table = path
            .iter()
            .fold(models, |table, key| table[*key].as_table().unwrap());
        table.keys().cloned().collect()
    };
    let same = |shown: BTreeSet<String>, fields: BTreeSet<&str>| {
        assert_eq!(shown.iter().map(String::as_str).collect::<BTreeSet<_>>(), fields);
    };
    same(keys_at(&[]), fields_of::<ModelConfig>());
    same(keys_at(&["patience"]), fields_of::<Patience>());
    same(
        keys_at(&["providers", "openrouter"]),
        fields_of::<ProviderConfig>(),
    );
    same(
        keys_at(&["models", "openrouter/some/model"]),
        fields_of::<ModelSettings>(),
    );

    let patience = Config::parse(&uncommented(), Path::new("roost.toml"))
        .unwrap()
        .models
        .patience;
    assert_eq!(format!("{patience:?}"), format!("{:?}", Patience::default()));
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
