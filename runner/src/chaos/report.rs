//! The report: one table for people, the same as JSON for programs.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Chaos,
    check::{self, Counts, Kind, Offence},
    history::History,
    offender,
    recovery::{self, Recovery, Spans, ms},
};

/// Offences that are listed; the rest is counted.
const LISTED: usize = 12;

/// What was set up and for how long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// `file` or `server`.
    pub database: &'static str,
    /// What decided the faults.
    pub seed: u64,
    /// Seconds a lease lasts.
    pub lease_s: u64,
    /// Milliseconds from one fault to the next, on average.
    pub pace_ms: u128,
    /// Milliseconds in which faults came.
    pub stormy_ms: u128,
    /// Milliseconds until everything had come to rest.
    pub took_ms: u128,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was set up.
    pub setting: Setting,
    /// `kill -9`s.
    pub kills: usize,
    /// Every kind of fault and how often it came.
    pub faults: BTreeMap<&'static str, usize>,
    /// Processes that ended without having been asked to.
    pub crashes: u32,
    /// What was counted.
    pub counts: Counts,
    /// How long recoveries took.
    pub recovery: Recovery,
    /// Things lost.
    pub lost: usize,
    /// Things doubled.
    pub doubled: usize,
    /// Journals torn.
    pub torn: usize,
    /// The first broken promises.
    pub offences: Vec<Offence>,
    /// The story of the first of them.
    pub story: Vec<String>,
}

impl Report {
    pub(super) fn of(
        chaos: &Chaos,
        history: &History,
        stormy: Duration,
        took: Duration,
        crashes: u32,
    ) -> Self {
        let (counts, mut offences) = check::check(history);
        let mut faults = BTreeMap::new();
        for struck in &history.struck {
            *faults.entry(struck.fault.name()).or_default() += 1;
        }
        let of = |kind| offences.iter().filter(|offence| offence.kind == kind).count();
        let (lost, doubled, torn) = (of(Kind::Lost), of(Kind::Doubled), of(Kind::Torn));
        let story = offences
            .first()
            .map(|first| offender::story(history, first))
            .unwrap_or_default();
        offences.truncate(LISTED);
        Self {
            setting: Setting {
                database: if chaos.database.is_some() {
                    "server"
                } else {
                    "file"
                },
                seed: chaos.seed,
                lease_s: chaos.lease.as_secs(),
                pace_ms: chaos.pace.as_millis(),
                stormy_ms: stormy.as_millis(),
                took_ms: took.as_millis(),
            },
            kills: history
                .struck
                .iter()
                .filter(|struck| struck.fault.is_kill())
                .count(),
            faults,
            crashes,
            counts,
            recovery: recovery::measure(history),
            lost,
            doubled,
            torn,
            offences,
            story,
        }
    }

    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.lost + self.doubled + self.torn == 0 && self.crashes == 0
    }

    /// The table.
    pub fn table(&self) -> String {
        let (setting, counts) = (&self.setting, &self.counts);
        let seconds = |ms: u128| format!("{:.0} s", ms as f64 / 1e3);
        let database = match setting.database {
            "server" => "libSQL server, two edges",
            _ => "embedded file, one edge",
        };
        let mut lines = vec![
            format!(
                "{database} · seed {} · leases of {} s",
                setting.seed, setting.lease_s
            ),
            row("time under faults", &seconds(setting.stormy_ms)),
            row("until all had come to rest", &seconds(setting.took_ms)),
            row("kills", &self.kills.to_string()),
        ];
        lines.extend(
            self.faults
                .iter()
                .map(|(name, times)| row(&format!("  {name}"), &times.to_string())),
        );
        let asked = counts.answers + counts.repeated;
        lines.extend([
            row(
                "webhooks answered 2xx",
                &format!(
                    "{} of {} ({} requests)",
                    counts.accepted, counts.webhooks, counts.requests
                ),
            ),
            row(
                "runs",
                &format!(
                    "{} · kept back after crashes, then resumed by a person: {}",
                    counts.runs, counts.kept_back
                ),
            ),
            row(
                "replies",
                &format!(
                    "{} · in doubt, a person is asked: {}",
                    counts.replies, counts.in_doubt
                ),
            ),
            row(
                "commands",
                &format!(
                    "{} · cut off with their sprite host: {}",
                    counts.commands, counts.cut_commands
                ),
            ),
            row(
                "model calls",
                &format!(
                    "{asked} · repeated: {} · leases broken: {}",
                    counts.repeated, counts.broken_leases
                ),
            ),
            row(
                "runner killed → asks the model again",
                &spans(&self.recovery.killed_seen),
            ),
            row("  whatever else was broken", &spans(&self.recovery.killed)),
            row("runner killed → leased again", &spans(&self.recovery.leased_seen)),
            row(
                "  a second time in a row, held back",
                &spans(&self.recovery.held_back),
            ),
            row("runner stopped → leased again", &spans(&self.recovery.stopped)),
            row("given back → leased again", &spans(&self.recovery.given_back)),
            row("processes that ended by themselves", &self.crashes.to_string()),
            row("LOST", &self.lost.to_string()),
            row("DOUBLED", &self.doubled.to_string()),
            row("TORN", &self.torn.to_string()),
        ]);
        for offence in &self.offences {
            let job = offence.job.map(|job| format!("job {job}: ")).unwrap_or_default();
            lines.push(format!("  ! {job}{}", offence.what));
        }
        if !self.story.is_empty() {
            lines.push(format!("The first of them (seed {}):", setting.seed));
            lines.extend(self.story.iter().map(|line| format!("  {line}")));
        }
        lines.join("\n")
    }
}

fn row(name: &str, value: &str) -> String {
    format!("  {name:<40} {value}")
}

fn spans(spans: &Spans) -> String {
    match spans.count {
        0 => "none".to_owned(),
        count => format!(
            "p50 {} · p99 {} · max {} ({count})",
            ms(spans.p50_ms),
            ms(spans.p99_ms),
            ms(spans.max_ms)
        ),
    }
}
