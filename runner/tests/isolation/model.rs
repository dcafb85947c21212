//! The lines of `docs/threat-model.md`: the first cell of every row of its table.

/// The names of the attempts, as the page has them.
pub(crate) fn lines() -> Vec<String> {
    include_str!("../../../docs/threat-model.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}
