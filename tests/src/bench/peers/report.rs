//! What the comparison found: rows of systems, their figures over several repetitions, as JSON and as tables.
//!
//! Invariant: the first system of a row is Roost; every ratio says how many times better Roost is.

use std::fmt::Write;

use serde::Serialize;

/// What the names of our own entries begin with; they are not compared with each other.
const OURS: &str = "Roost";

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The more, the better.
    More,
    /// The less, the better.
    Less,
}

/// One kind of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Which way it is better.
    pub better: Better,
}

impl Kind {
    /// A number that should be small.
    pub const fn less(name: &'static str) -> Self {
        let better = Better::Less;
        Self { name, better }
    }

    /// A number that should be large.
    pub const fn more(name: &'static str) -> Self {
        let better = Better::More;
        Self { name, better }
    }
}

/// What one repetition found.
pub type Sample = Vec<(Kind, f64)>;

/// One number of one system.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// The middle of the repetitions.
    pub median: f64,
    /// Each repetition, sorted.
    pub values: Vec<f64>,
}

/// One system in one row.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its name and version.
    pub system: String,
    /// Its numbers, or why there are none.
    #[serde(flatten)]
    pub result: Outcome,
}

/// What became of a measurement.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was measured, and nothing was lost.
    Figures(Vec<Figure>),
    /// It doesn't count, or could not be tried.
    NotRun(String),
}

/// One question, asked of several systems.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its short name, as `--only` takes it.
    pub name: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// The systems; Roost first.
    pub entries: Vec<Entry>,
    /// What a reader has to know to compare them.
    pub notes: &'static [&'static str],
    /// How it looks, as SVG.
    #[serde(skip)]
    pub picture: Option<String>,
}

impl Entry {
    /// Folds repetitions into figures.
    pub fn new(system: String, repetitions: Result<Vec<Sample>, String>) -> Self {
        let result = match repetitions {
            Ok(samples) => Outcome::Figures(fold(&samples)),
            Err(why) => Outcome::NotRun(why),
        };
        Self { system, result }
    }

    fn figures(&self) -> &[Figure] {
        match &self.result {
            Outcome::Figures(figures) => figures,
            Outcome::NotRun(_) => &[],
        }
    }
}

fn fold(samples: &[Sample]) -> Vec<Figure> {
    let first = samples.first().map(Vec::as_slice).unwrap_or_default();
    let of = |kind: Kind| {
        let mut values: Vec<f64> = samples
            .iter()
            .flatten()
            .filter(|(other, _)| *other == kind)
            .map(|(_, value)| *value)
            .collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied().unwrap_or_default();
        Figure { kind, median, values }
    };
    first.iter().map(|(kind, _)| of(*kind)).collect()
}

impl Row {
    /// The file of its picture, beside the page.
    pub fn picture_file(&self) -> String {
        format!("benchmarks-{}.svg", self.name)
    }

    /// As a table in Markdown, with its notes.
    pub fn table(&self) -> String {
        let mut kinds: Vec<Kind> = Vec::new();
        for figure in self.entries.iter().flat_map(Entry::figures) {
            if !kinds.contains(&figure.kind) {
                kinds.push(figure.kind);
            }
        }
        let ours = self.entries.first().map(Entry::figures).unwrap_or_default();
        let mut table = format!("### {}\n\n{}\n\n|", self.name, self.question);
        for head in std::iter::once("").chain(kinds.iter().map(|kind| kind.name)) {
            let _ = write!(table, " {head} |");
        }
        let _ = write!(table, "\n|---|{}\n", "---|".repeat(kinds.len()));
        for entry in &self.entries {
            let _ = write!(table, "| {} |", entry.system);
            if let Outcome::NotRun(why) = &entry.result {
                let _ = write!(
                    table,
                    " not run: {why} |{}",
                    " |".repeat(kinds.len().saturating_sub(1))
                );
            } else {
                for kind in &kinds {
                    let find =
                        |figures: &[Figure]| figures.iter().find(|figure| figure.kind == *kind).cloned();
                    let ours = find(ours).filter(|_| !entry.system.starts_with(OURS));
                    let cell = find(entry.figures()).map(|figure| cell(&figure, ours.as_ref()));
                    let _ = write!(table, " {} |", cell.unwrap_or_default());
                }
            }
            table.push('\n');
        }
        table.push('\n');
        if self.picture.is_some() {
            let _ = writeln!(table, "![{}]({})\n", self.name, self.picture_file());
        }
        for note in self.notes {
            let _ = writeln!(table, "- {note}");
        }
        table
    }
}

/// The median, the least and the most where they differ, and how many times better `ours` is.
fn cell(figure: &Figure, ours: Option<&Figure>) -> String {
    let mut cell = number(figure.median);
    if let [least, .., most] = figure.values.as_slice() {
        let (least, most) = (number(*least), number(*most));
        if least != most {
            let _ = write!(cell, " ({least}–{most})");
        }
    }
    if let Some(ours) = ours.filter(|ours| ours.median > 0.0 && figure.median > 0.0) {
        let ratio = match figure.kind.better {
            Better::More => ours.median / figure.median,
            Better::Less => figure.median / ours.median,
        };
        let _ = write!(cell, " · **{}×**", number(ratio));
    }
    cell
}

/// With the digits that mean something.
pub(in crate::bench) fn number(value: f64) -> String {
    match value.abs() {
        size if value.fract() == 0.0 && size < 10_000.0 => format!("{value}"),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        size if size < 10_000.0 => format!("{value:.0}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Puts `tables` between the markers of a page; `None` where it lacks them.
pub fn into_page(page: &str, tables: &str) -> Option<String> {
    const BEGIN: &str = "<!-- peers -->\n";
    const END: &str = "<!-- /peers -->";
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Kind = Kind::more("req/s");
    const P99: Kind = Kind::less("p99 ms");

    #[test]
    fn a_table_has_medians_ranges_ratios_and_reasons() {
        let row = Row {
            name: "ack",
            question: "How fast?",
            entries: vec![
                Entry::new(
                    "Roost".into(),
                    Ok([9_000.0, 12_000.0, 10_000.0]
                        .map(|rate| vec![(RATE, rate), (P99, 2.0)])
                        .to_vec()),
                ),
                Entry::new("slow".into(), Ok(vec![vec![(RATE, 2_000.0), (P99, 9.0)]])),
                Entry::new("absent".into(), Err("it is not installed".into())),
            ],
            notes: &["Both write."],
            picture: None,
        };
        assert_eq!(
            row.table(),
            "### ack\n\nHow fast?\n\n|  | req/s | p99 ms |\n|---|---|---|\n\
             | Roost | 10,000 (9000–12,000) | 2 |\n\
             | slow | 2000 · **5×** | 9 · **4.50×** |\n\
             | absent | not run: it is not installed | |\n\n- Both write.\n"
        );
    }

    #[test]
    fn tables_go_between_the_markers_and_nowhere_else() {
        let page = "# A\n<!-- peers -->\nold\n<!-- /peers -->\nend\n";
        let once = into_page(page, "new\n").unwrap();
        assert_eq!(once, "# A\n<!-- peers -->\n\nnew\n\n<!-- /peers -->\nend\n");
        assert_eq!(into_page(&once, "new").as_deref(), Some(once.as_str()));
        assert_eq!(into_page("# A\n", "new"), None);
    }
}
