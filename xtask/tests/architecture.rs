//! The workspace as it is keeps to the direction of its rooms.

// Helpers of a test, too, may panic.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::architecture::{Graph, RULES, edge_named_outside, violations};

#[test]
fn crates_depend_in_one_direction() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let graph = Graph::from_metadata(&String::from_utf8(metadata.stdout).unwrap()).unwrap();
    assert!(
        graph.members.len() >= 5 && graph.depends.len() > 50,
        "the metadata was read"
    );
    let found = violations(&graph, RULES);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_runner_looks_into_the_edge_at_one_place() {
    let root = workspace().join("runner/src");
    let files: Vec<(String, String)> = rust_files(&root)
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            (below, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(!files.is_empty());
    let found = edge_named_outside(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// `cargo run -- demo`, as the README has it, finds its program among those of the runner.
#[test]
fn cargo_run_runs_roost() {
    let text = std::fs::read_to_string(workspace().join("runner/Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    assert_eq!(manifest["package"]["default-run"].as_str(), Some("roost"));
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
