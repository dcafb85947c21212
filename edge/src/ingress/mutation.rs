//! For property tests: JSON with one of its values replaced, removed or its text cut off.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Bytes made from `originals` by damage at one place.
pub(crate) fn damaged(originals: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let replacement = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!({})),
        Just(json!([])),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    (
        prop::sample::select(originals),
        any::<prop::sample::Index>(),
        replacement,
        any::<Option<prop::sample::Index>>(),
    )
        .prop_map(|(mut value, place, replacement, end)| {
            let count = count(&value);
            replace(&mut value, &mut place.index(count), &replacement);
            let mut bytes = value.to_string().into_bytes();
            if let Some(end) = end {
                bytes.truncate(end.index(bytes.len() * 4));
            }
            bytes
        })
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the value that is `place` steps ahead in a walk; counts `place` down on the way.
fn replace(value: &mut Value, place: &mut usize, replacement: &Value) -> bool {
    if *place == 0 {
        *value = replacement.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, place, replacement)),
        Value::Object(fields) => fields
            .values_mut()
            .any(|field| replace(field, place, replacement)),
        _ => false,
    }
}
