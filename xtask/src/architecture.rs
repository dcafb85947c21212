//! Checks that the crates depend on each other only in the direction `runner → shared ← edge`.
//!
//! Invariant: a crate of this workspace without a rule is itself a violation, so a new crate has to be given its place.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What one crate of the workspace may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The crate.
    pub krate: &'static str,
    /// The crates of the workspace that it may name, for any use, tests included.
    pub may_use: &'static [&'static str],
    /// Crates it must not name itself.
    pub must_not_name: &'static [&'static str],
    /// Crates it must not pull in, however indirectly, outside tests.
    pub must_not_reach: &'static [&'static str],
}

/// Crates that open sockets, files or databases, or that bring a runtime for them.
#[rustfmt::skip]
const IO: &[&str] = &[
    "async-io", "async-std", "axum", "hyper", "libsql", "mio", "reqwest", "rusqlite", "smol", "socket2", "spin-sdk",
    "tokio", "tokio-tungstenite", "worker",
];

/// Ways to a database: the runner speaks to the edge's API only.
const DATABASES: &[&str] = &["libsql", "libsql-hrana", "rusqlite", "sqlx"];

/// Where each crate stands.
pub const RULES: &[Rule] = &[
    Rule {
        krate: "roost-shared",
        may_use: &[],
        must_not_name: IO,
        must_not_reach: IO,
    },
    Rule {
        krate: "roost-edge",
        may_use: &["roost-shared"],
        must_not_name: &["clap"],
        must_not_reach: &[],
    },
    Rule {
        krate: "roost-runner",
        may_use: &["roost-shared", "roost-edge"],
        must_not_name: DATABASES,
        must_not_reach: &[],
    },
    Rule {
        krate: "roost-tests",
        may_use: &["roost-shared", "roost-edge", "roost-runner", "xtask"],
        must_not_name: &[],
        must_not_reach: &[],
    },
    Rule {
        krate: "xtask",
        may_use: &[],
        must_not_name: &[],
        must_not_reach: &["tokio"],
    },
];

/// The only places under `runner/src` that may name `roost_edge`: the all-in-one module.
pub const EDGE_USERS: &[&str] = &["all_in_one.rs", "all_in_one/"];

/// One dependency: the crate, and whether only tests use it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The crate depended on.
    pub krate: String,
    /// Why it is depended on.
    pub kind: Kind,
}

/// Why a crate is depended on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// By the crate itself or its build script.
    Code,
    /// By its tests, examples or benchmarks alone.
    Tests,
}

/// Who depends on whom, and who is in the workspace.
#[derive(Debug, Default)]
pub struct Graph {
    /// The workspace's crates.
    pub members: BTreeSet<String>,
    /// Each crate's direct dependencies.
    pub depends: BTreeMap<String, BTreeSet<Dependency>>,
}

impl Graph {
    /// Reads what `cargo metadata --format-version 1` printed.
    pub fn from_metadata(json: &str) -> Result<Self, serde_json::Error> {
        let metadata: Metadata = serde_json::from_str(json)?;
        let names: BTreeMap<&str, &str> = metadata
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let name = |id: &str| names.get(id).copied().unwrap_or(id).to_owned();
        let mut graph = Self {
            members: metadata.workspace_members.iter().map(|id| name(id)).collect(),
            ..Self::default()
        };
        for node in &metadata.resolve.nodes {
            let found = graph.depends.entry(name(&node.id)).or_default();
            for edge in &node.deps {
                let tests_only = edge
                    .dep_kinds
                    .iter()
                    .all(|kind| kind.kind.as_deref() == Some("dev"));
                let kind = if tests_only { Kind::Tests } else { Kind::Code };
                found.insert(Dependency {
                    krate: name(&edge.pkg),
                    kind,
                });
            }
        }
        Ok(graph)
    }

    fn direct(&self, krate: &str) -> impl Iterator<Item = &Dependency> {
        self.depends.get(krate).into_iter().flatten()
    }

    /// A shortest chain of non-test dependencies from `krate` to `target`.
    fn path(&self, krate: &str, target: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([krate.to_owned()]);
        let mut waiting = std::collections::VecDeque::from([vec![krate.to_owned()]]);
        while let Some(path) = waiting.pop_front() {
            let last = path.last()?;
            if last == target {
                return Some(path);
            }
            for next in self.direct(last).filter(|next| next.kind == Kind::Code) {
                if seen.insert(next.krate.clone()) {
                    waiting.push_back([path.as_slice(), std::slice::from_ref(&next.krate)].concat());
                }
            }
        }
        None
    }
}

/// Every dependency of the graph that goes against `rules`, one sentence each.
pub fn violations(graph: &Graph, rules: &[Rule]) -> Vec<String> {
    let mut found = Vec::new();
    for member in &graph.members {
        let Some(rule) = rules.iter().find(|rule| rule.krate == member) else {
            found.push(format!(
                "{member} has no rule: give it its place in xtask/src/architecture.rs"
            ));
            continue;
        };
        for used in graph.direct(member) {
            let own = graph.members.contains(&used.krate);
            if own && used.krate != *member && !rule.may_use.contains(&used.krate.as_str()) {
                found.push(format!("{member} must not depend on {}", used.krate));
            }
            if used.kind == Kind::Code && rule.must_not_name.contains(&used.krate.as_str()) {
                found.push(format!("{member} must not name {}", used.krate));
            }
        }
        for banned in rule.must_not_reach {
            if let Some(path) = graph.path(member, banned) {
                found.push(format!(
                    "{member} must not reach {banned}, but does: {}",
                    path.join(" → ")
                ));
            }
        }
    }
    found
}

/// Every file of `runner/src` (path below it, text) whose code names the edge crate without being allowed to.
pub fn edge_named_outside<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let allowed = |path: &str| {
        EDGE_USERS
            .iter()
            .any(|user| path == *user || user.ends_with('/') && path.starts_with(user))
    };
    files
        .filter(|(path, text)| !allowed(path) && text.lines().any(names_edge))
        .map(|(path, _)| format!("runner/src/{path} names roost_edge; only the all-in-one module may"))
        .collect()
}

/// Whether the line's code, not its comment or a text about log levels, names the crate.
fn names_edge(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["roost_edge::", "use roost_edge", "crate roost_edge"]
        .iter()
        .any(|name| code.contains(name))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str, Kind)]) -> Graph {
        let members = ["roost-shared", "roost-edge", "roost-runner"]
            .map(str::to_owned)
            .into();
        let mut graph = Graph {
            members,
            ..Graph::default()
        };
        for (from, to, kind) in edges {
            let dependency = Dependency {
                krate: (*to).to_owned(),
                kind: *kind,
            };
            graph
                .depends
                .entry((*from).to_owned())
                .or_default()
                .insert(dependency);
        }
        graph
    }

    #[test]
    fn the_drawn_direction_passes() {
        let good = graph(&[
            ("roost-edge", "roost-shared", Kind::Code),
            ("roost-runner", "roost-shared", Kind::Code),
            ("roost-runner", "roost-edge", Kind::Code),
            ("roost-runner", "tokio", Kind::Code),
            ("roost-shared", "proptest", Kind::Tests),
            ("proptest", "tokio", Kind::Code),
        ]);
        assert_eq!(violations(&good, RULES), Vec::<String>::new());
    }

    #[test]
    fn each_wrong_turn_is_named() {
        let bad = graph(&[
            ("roost-shared", "roost-edge", Kind::Code),
            ("roost-edge", "roost-runner", Kind::Tests),
            ("roost-shared", "helper", Kind::Code),
            ("helper", "tokio", Kind::Code),
            ("roost-runner", "libsql", Kind::Code),
        ]);
        let found = violations(&bad, RULES).join("\n");
        assert!(
            found.contains("roost-shared must not depend on roost-edge"),
            "{found}"
        );
        assert!(
            found.contains("roost-edge must not depend on roost-runner"),
            "{found}"
        );
        assert!(found.contains("roost-shared → helper → tokio"), "{found}");
        assert!(found.contains("roost-runner must not name libsql"), "{found}");
    }

    #[test]
    fn a_crate_without_a_rule_is_a_violation() {
        let mut strange = graph(&[]);
        strange.members.insert("roost-attic".to_owned());
        assert_eq!(violations(&strange, RULES).len(), 1);
    }

    #[test]
    fn the_edge_is_named_in_the_all_in_one_module_only() {
        let files = [
            ("all_in_one/mod.rs", "use roost_edge::x;"),
            ("worker/lease.rs", "roost_edge::db()"),
            (
                "cli/options.rs",
                "/// For example roost_edge=debug, see roost_edge::host.",
            ),
        ];
        let found = edge_named_outside(files.into_iter());
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("worker/lease.rs"), "{found:?}");
    }
}
