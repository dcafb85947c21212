//! `docs/reference/errors.md` has a line for every stable code, and for nothing else.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What a code stands behind, at most a few words away.
const BEFORE: [&str; 9] = [
    "ApiError::new(",
    "Problem::new(",
    "Failure::failed(",
    "Failure::usage(",
    "unfit(",
    "failed(\n",
    "code: ",
    ".guard(",
    "=> (",
];

/// Literals that look like codes where codes stand, and are none.
const NO_CODES: [&str; 2] = ["reasoning_content", "ghs_"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "standin" {
            sources(&path, into);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default()
                .to_owned();
            into.push((path, code));
        }
    }
}

/// The literal at the beginning of `text`, if it looks like a code.
fn literal(text: &str) -> Option<&str> {
    let word = text.strip_prefix('"')?.split('"').next()?;
    let fits = word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    fits.then_some(word)
}

/// Every literal of `text` that looks like a code.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('"').filter_map(|(at, _)| literal(&text[at..]))
}

fn codes_of(source: &str) -> BTreeSet<&str> {
    let mut codes = BTreeSet::new();
    for before in BEFORE {
        for (at, _) in source.match_indices(before) {
            let rest = &source[at + before.len()..];
            // A status, a scope or `Some(` may stand between; a sentence may not.
            let rest = rest.trim_start();
            let rest = rest.strip_prefix("Some(").unwrap_or(rest).trim_start();
            let rest = match rest.split_once(',') {
                Some((status, rest)) if status.starts_with("StatusCode::") => rest.trim_start(),
                _ => rest,
            };
            codes.extend(literal(rest));
        }
    }
    for (at, _) in source.match_indices("fn code(&self)") {
        let body = source[at..].split("\n    }").next().unwrap_or_default();
        codes.extend(literals(body));
    }
    for line in source
        .lines()
        .filter(|line| line.contains("const ") && line.contains(": &str = "))
    {
        codes.extend(literals(line));
    }
    codes
        .into_iter()
        .filter(|code| !NO_CODES.contains(code))
        .collect()
}

#[test]
fn every_code_is_explained_and_no_other() {
    let mut files = Vec::new();
    for krate in ["edge", "runner", "shared"] {
        sources(&root().join(krate).join("src"), &mut files);
    }
    let mut codes: BTreeMap<&str, &Path> = BTreeMap::new();
    for (path, text) in &files {
        codes.extend(codes_of(text).into_iter().map(|code| (code, path.as_path())));
    }
    assert!(codes.len() > 50, "the sources were read");

    let page = fs::read_to_string(root().join("docs/reference/errors.md")).unwrap();
    let explained: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let missing: Vec<String> = codes
        .iter()
        .filter(|(code, _)| !explained.contains(*code))
        .map(|(code, path)| format!("{code} ({})", path.display()))
        .collect();
    assert!(
        missing.is_empty(),
        "no line in errors.md for:\n{}",
        missing.join("\n")
    );
    let gone: Vec<&&str> = explained
        .iter()
        .filter(|code| {
            !files
                .iter()
                .any(|(_, text)| text.contains(&format!("\"{code}\"")))
        })
        .collect();
    assert!(
        gone.is_empty(),
        "errors.md explains what no source says: {gone:?}"
    );
}
