//! What services a sprite has: what may be defined, in which order they start, and how that is kept.
//!
//! Invariant: every service's needs are defined and no service needs itself, however indirectly; at most one has the port
//! that the sprite's URL leads to. What was answered is on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::sprite::{host::error::ApiError, wire_services::Definition};

const FILE: &str = "services.json";
const MAX_TEXT_BYTES: usize = 64 << 10;
/// A name that is an endpoint's own.
const RESERVED: &str = "signal";

/// A definition as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    pub(super) definition: Definition,
    /// Whether it shall run.
    pub(super) wanted: bool,
}

/// Whether `new` may be defined beside (or instead of one of) `others`.
pub(super) fn check(
    new: &Definition,
    others: &BTreeMap<String, Definition>,
    limit: usize,
) -> Result<(), ApiError> {
    let name = &new.name;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if !starts || name.len() > 64 || !name.bytes().all(fits) || name == RESERVED {
        return Err(invalid(format!(
            "{name} can't be a service's name: use up to 64 letters, digits, hyphens, underscores and dots, with a \
             letter or digit first, but not {RESERVED}"
        )));
    }
    if new.cmd.is_empty() {
        return Err(invalid(
            "cmd is missing; name the program, and its arguments in args",
        ));
    }
    let env = new.env.iter().flat_map(|(key, value)| [key, value]);
    let texts = || [&new.cmd].into_iter().chain(&new.args).chain(env.clone());
    if texts().any(|text| text.contains('\0')) || texts().map(String::len).sum::<usize>() > MAX_TEXT_BYTES {
        return Err(invalid(
            "the command and its environment are longer than 64 KiB or have a NUL in them",
        ));
    }
    if new.env.keys().any(|key| key.is_empty() || key.contains('=')) {
        return Err(invalid("a variable's name must not be empty or have a = in it"));
    }
    if new.http_port == Some(0) {
        return Err(invalid("http_port must be between 1 and 65535"));
    }
    if let Some(unknown) = new
        .needs
        .iter()
        .find(|need| *need != name && !others.contains_key(*need))
    {
        return Err(invalid(format!(
            "service {name} needs {unknown}, which is not defined; define that first"
        )));
    }
    let mut all = others.clone();
    all.insert(name.clone(), new.clone());
    if let Some(circle) = circle(&all, name) {
        return Err(conflict(format!(
            "these services need each other in a circle: {}; take one need away",
            circle.join(" → ")
        )));
    }
    let takes_port = |other: &&Definition| other.name != *name && other.http_port.is_some();
    if new.http_port.is_some()
        && let Some(other) = others.values().find(takes_port)
    {
        return Err(conflict(format!(
            "service {} has an HTTP port already, and a sprite has one; take it away there first",
            other.name
        )));
    }
    if !others.contains_key(name) && others.len() >= limit {
        let message = format!("the sprite has {limit} services, as many as it may; delete some first");
        return Err(ApiError::limit("service_limit_exceeded", message, limit));
    }
    Ok(())
}

/// Everything that `name` needs, however indirectly, each after what it needs itself; `name` comes last.
pub(super) fn order(all: &BTreeMap<String, Definition>, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    // A name is looked at twice: to put its needs before it, and to take it.
    let mut todo = vec![(name.to_owned(), false)];
    while let Some((name, is_second)) = todo.pop() {
        if is_second {
            found.push(name);
        } else if let Some(definition) = all.get(&name)
            && seen.insert(name.clone())
        {
            todo.push((name, true));
            todo.extend(definition.needs.iter().rev().map(|need| (need.clone(), false)));
        }
    }
    found
}

/// The way from `name` back to itself by needs, if there is one.
fn circle(all: &BTreeMap<String, Definition>, name: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![vec![name.to_owned()]];
    while let Some(way) = todo.pop() {
        let needs = way.last().and_then(|last| all.get(last)).map(|last| &last.needs);
        for need in needs.into_iter().flatten() {
            let mut on = way.clone();
            on.push(need.clone());
            if need == name {
                return Some(on);
            }
            if seen.insert(need.clone()) {
                todo.push(on);
            }
        }
    }
    None
}

/// Reads what is kept in a sprite's directory. Blocks.
pub(super) fn read(home: &Path) -> io::Result<Vec<Kept>> {
    match fs::read(home.join(FILE)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Replaces it; returns once it is on disk. Blocks.
pub(super) fn write(home: &Path, kept: &[Kept]) -> io::Result<()> {
    let new = home.join(format!("{FILE}.new"));
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    fs::rename(&new, home.join(FILE))?;
    File::open(home)?.sync_all()
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "service_invalid", message)
}

pub(super) fn conflict(message: String) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "service_conflict", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, needs: &[&str]) -> Definition {
        Definition {
            name: name.into(),
            cmd: "true".into(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..Definition::default()
        }
    }

    fn services(all: &[(&str, &[&str])]) -> BTreeMap<String, Definition> {
        let all = all
            .iter()
            .map(|(name, needs)| ((*name).to_owned(), service(name, needs)));
        all.collect()
    }

    #[test]
    fn needs_come_first_and_each_once() {
        let all = services(&[
            ("app", &["db", "cache"]),
            ("cache", &["disk"]),
            ("db", &["disk"]),
            ("disk", &[]),
        ]);
        assert_eq!(order(&all, "app"), ["disk", "db", "cache", "app"]);
        assert_eq!(order(&all, "disk"), ["disk"]);
    }

    #[test]
    fn circles_unknown_needs_and_second_ports_are_refused() {
        let all = services(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]);
        assert!(check(&service("d", &["a", "c"]), &all, 9).is_ok());
        for bad in [
            service("c", &["a"]),
            service("c", &["c"]),
            service("d", &["x"]),
            service("../d", &[]),
        ] {
            assert!(check(&bad, &all, 9).is_err(), "{bad:?}");
        }
        assert!(check(&service("d", &[]), &all, 3).is_err() && check(&service("a", &[]), &all, 3).is_ok());
        let port = |name| Definition {
            http_port: Some(80),
            ..service(name, &[])
        };
        let one = BTreeMap::from([("a".to_owned(), port("a"))]);
        assert!(check(&port("a"), &one, 9).is_ok() && check(&port("b"), &one, 9).is_err());
    }
}
