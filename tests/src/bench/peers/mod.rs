//! Roost and its peers, measured in one run on one machine by one loader.
//!
//! Invariant: a system that can't be installed, does not start or loses an event gets a reason instead of numbers, and the
//! run goes on.

mod ack;
pub(super) mod arrivals;
mod attempt;
mod chart;
mod density;
mod dispatch;
mod growth;
pub(super) mod intake;
mod programs;
mod queues;
mod recovery;
pub mod report;
mod restate;
pub(super) mod roost;
mod start;
mod turn;

use std::{fs, path::PathBuf, time::Instant};

use clap::ValueEnum;
use serde::Serialize;

use self::report::Row;
use super::machine;

/// The questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Webhooks answered a second, each durable.
    Ack,
    /// From a webhook to the model, or to the peer's handler.
    Dispatch,
    /// What a turn of durable steps costs.
    Turn,
    /// What runs take of a runner while they wait or listen.
    Density,
    /// From the death of a runner to the next request at the model.
    Recovery,
    /// Ready time, idle memory, sizes.
    Start,
    /// What acks and turns cost when there is more of everything.
    Growth,
}

/// What is measured and where the numbers go.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only this row; may be repeated.
    #[arg(long, value_name = "ROW")]
    only: Vec<Question>,
    /// All numbers, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder whose benchmarks.md gets the tables.
    #[arg(long, value_name = "FOLDER")]
    docs: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    rows: Vec<Row>,
}

/// Measures, prints the tables on standard output and writes the files.
///
/// # Panics
/// When a file can't be written.
pub async fn run(options: Options) {
    attempt::quietly();
    let machine = machine();
    let began = Instant::now();
    let mut rows = Vec::new();
    for question in Question::value_variants() {
        if options.only.is_empty() || options.only.contains(question) {
            eprintln!("{:>4} s  {}", began.elapsed().as_secs(), name(*question));
            let row = question.ask().await;
            println!("{}", row.table());
            rows.push(row);
        }
    }
    eprintln!("{:>4} s  done", began.elapsed().as_secs());
    let report = Report { machine, rows };
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report).expect("numbers and texts");
        fs::write(file, text).expect("the JSON file is written");
    }
    if let Some(folder) = &options.docs {
        let path = folder.join("benchmarks.md");
        let page = fs::read_to_string(&path).expect("docs/benchmarks.md");
        let page = report::into_page(&page, &report.tables()).expect("the page has the markers");
        fs::write(&path, page).expect("docs/benchmarks.md is written");
        for row in &report.rows {
            if let Some(picture) = &row.picture {
                fs::write(folder.join(row.picture_file()), picture).expect("the picture is written");
            }
        }
    }
}

fn name(question: Question) -> String {
    question
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Question {
    async fn ask(self) -> Row {
        match self {
            Self::Ack => ack::row().await,
            Self::Dispatch => dispatch::row().await,
            Self::Turn => turn::row().await,
            Self::Density => density::row().await,
            Self::Recovery => recovery::row().await,
            Self::Start => start::row().await,
            Self::Growth => growth::row().await,
        }
    }
}

impl Report {
    fn tables(&self) -> String {
        let mut text = format!(
            "`cargo xtask bench --peers` on {}. Medians of repetitions, least and most in parentheses; **×** says how many \
             times better the first line of its table is.\n\n",
            self.machine
        );
        for row in &self.rows {
            text.push_str(&row.table());
            text.push('\n');
        }
        text
    }
}
