//! Lists for people: columns as wide as they must be, the last one as wide as it is.

/// A header and rows of as many cells, in lines.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header)];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// Names and what they are, one a line, the names as wide as the longest.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> = facts
        .iter()
        .map(|(name, fact)| {
            let fact = fact.replace('\n', &format!("\n{:width$}  ", ""));
            format!("{name:<width$}  {fact}").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}
