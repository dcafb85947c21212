//! Faults by seed: what breaks, when, and for how long.
//!
//! Invariant: one fault at a time on a link and on a host, and each is undone in its time; when the last is undone the world is
//! whole again. A link to a channel is held shorter than a claim lasts: what arrives after its claim is nothing the edge could
//! prevent, for channels take no fences.

use std::{collections::BTreeMap, time::Duration};

use turmoil::Sim;

use crate::{chance::Chance, edge_host::Skew, trace::Trace};

/// Links that break.
const LINKS: [(&str, &str); 16] = [
    ("edge-0", "database"),
    ("edge-1", "database"),
    ("edge-0", "runner-0"),
    ("edge-0", "runner-1"),
    ("edge-0", "runner-2"),
    ("edge-1", "runner-0"),
    ("edge-1", "runner-1"),
    ("edge-1", "runner-2"),
    ("edge-0", "sender"),
    ("edge-1", "sender"),
    ("edge-0", "github"),
    ("edge-1", "github"),
    ("edge-0", "telegram"),
    ("edge-1", "telegram"),
    ("edge-0", "person"),
    ("edge-1", "person"),
];
/// Hosts that are killed.
const HOSTS: [&str; 6] = ["edge-0", "edge-1", "runner-0", "runner-1", "runner-2", "database"];
/// How far a clock may be off either way, in milliseconds: a quarter of a lease.
const MOST_SKEW: i64 = 1_500;
/// The longest anything lasts on a link to a channel, in milliseconds.
const CHANNEL_LONGEST: u64 = 1_500;
/// The slowest message of a slow link.
const SLOW: Duration = Duration::from_millis(900);
/// The slowest message of a sound one.
pub const SOUND: Duration = Duration::from_millis(40);

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Partition,
    PartitionOneWay,
    Hold,
    Slow,
    Kill,
    Skew,
    /// A runner is cut off from both edges for longer than a lease lasts, and does not know.
    Isolate,
    /// The same, but what it and the edges send each other arrives when it is over.
    Freeze,
}

/// What is in the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Some of everything.
    Usual,
    /// Runners whose words arrive when others are at work on their runs; one at a time, so that there are others.
    Zombies,
}

const USUAL: [Kind; 12] = [
    Kind::Partition,
    Kind::Partition,
    Kind::PartitionOneWay,
    Kind::Hold,
    Kind::Hold,
    Kind::Slow,
    Kind::Kill,
    Kind::Kill,
    Kind::Kill,
    Kind::Skew,
    Kind::Isolate,
    Kind::Freeze,
];

/// What is to be undone.
#[derive(Debug, Clone, Copy)]
enum Undo {
    Repair(&'static str, &'static str),
    RepairOneWay(&'static str, &'static str),
    Release(&'static str, &'static str),
    Quicken(&'static str, &'static str),
    Boot(&'static str),
}

/// The faults of one simulation.
pub struct Faults {
    chance: Chance,
    weather: Weather,
    clocks: [Skew; 2],
    trace: Trace,
    next: Duration,
    until: Duration,
    /// By what is broken: when it is mended, and how.
    broken: BTreeMap<String, (Duration, Undo)>,
    /// How many there were.
    pub count: usize,
}

impl Faults {
    /// The faults of a seed, until a moment.
    pub fn new(seed: u64, weather: Weather, until: Duration, clocks: [Skew; 2], trace: &Trace) -> Self {
        Self {
            weather,
            chance: Chance::new(seed, "faults"),
            clocks,
            trace: trace.clone(),
            next: Duration::from_secs(1),
            until,
            broken: BTreeMap::new(),
            count: 0,
        }
    }

    /// Breaks and mends what is due.
    pub fn step(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let due: Vec<String> = self
            .broken
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(what, _)| what.clone())
            .collect();
        for what in due {
            if let Some((_, undo)) = self.broken.remove(&what) {
                self.trace.fault(now, &format!("{undo:?}"));
                mend(sim, undo);
            }
        }
        if now >= self.next && now < self.until {
            self.next = now + self.chance.between(100, 1_500);
            self.strike(sim, now);
        }
    }

    /// Whether everything is whole and stays so.
    pub fn are_over(&self, now: Duration) -> bool {
        now >= self.until && self.broken.is_empty()
    }

    fn strike(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let kind = match self.weather {
            Weather::Usual => *self.chance.one_of(&USUAL),
            Weather::Zombies => Kind::Freeze,
        };
        match kind {
            Kind::Kill => self.kill(sim, now),
            Kind::Skew => self.skew(now),
            Kind::Isolate | Kind::Freeze => self.isolate(sim, now, kind),
            kind => self.cut(sim, now, kind),
        }
    }

    fn kill(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let host = *self.chance.one_of(&HOSTS);
        let down = self.chance.between(50, 3_000);
        if self.broken.contains_key(host) {
            return;
        }
        self.note(now, &format!("Kill({host}) for {} ms", down.as_millis()));
        sim.crash(host);
        self.broken
            .insert(host.to_owned(), (now + down, Undo::Boot(host)));
    }

    fn skew(&mut self, now: Duration) {
        let edge = self.chance.below(self.clocks.len());
        let wide = usize::try_from(2 * MOST_SKEW).unwrap_or_default();
        let off = i64::try_from(self.chance.below(wide)).unwrap_or_default() - MOST_SKEW;
        self.note(now, &format!("Skew(edge-{edge}) {off} ms"));
        self.clocks[edge].set(off);
    }

    fn isolate(&mut self, sim: &mut Sim<'_>, now: Duration, kind: Kind) {
        let runner = *self.chance.one_of(&["runner-0", "runner-1", "runner-2"]);
        let span = match self.weather {
            Weather::Usual => self.chance.between(7_000, 11_000),
            Weather::Zombies => self.chance.between(6_500, 9_000),
        };
        if self.weather == Weather::Zombies {
            self.next += span;
        }
        let links = ["edge-0", "edge-1"].map(|edge| (edge, format!("{edge}/{runner}")));
        if links.iter().any(|(_, link)| self.broken.contains_key(link)) {
            return;
        }
        self.note(now, &format!("{kind:?}({runner}) for {} ms", span.as_millis()));
        for (edge, link) in links {
            let undo = if kind == Kind::Freeze {
                sim.hold(edge, runner);
                Undo::Release(edge, runner)
            } else {
                sim.partition(edge, runner);
                Undo::Repair(edge, runner)
            };
            self.broken.insert(link, (now + span, undo));
        }
    }

    fn cut(&mut self, sim: &mut Sim<'_>, now: Duration, kind: Kind) {
        let (a, b) = *self.chance.one_of(&LINKS);
        let longest = match b {
            "github" | "telegram" => CHANNEL_LONGEST,
            _ => 9_000,
        };
        let span = self.chance.between(200, longest);
        let (from, to) = *self.chance.one_of(&[(a, b), (b, a)]);
        let link = format!("{a}/{b}");
        if self.broken.contains_key(&link) {
            return;
        }
        self.note(
            now,
            &format!("{kind:?}({from}, {to}) for {} ms", span.as_millis()),
        );
        let undo = match kind {
            Kind::PartitionOneWay => {
                sim.partition_oneway(from, to);
                Undo::RepairOneWay(from, to)
            }
            Kind::Hold => {
                sim.hold(a, b);
                Undo::Release(a, b)
            }
            Kind::Slow => {
                sim.set_link_max_message_latency(a, b, SLOW);
                Undo::Quicken(a, b)
            }
            Kind::Partition | Kind::Kill | Kind::Skew | Kind::Isolate | Kind::Freeze => {
                sim.partition(a, b);
                Undo::Repair(a, b)
            }
        };
        self.broken.insert(link, (now + span, undo));
    }

    fn note(&mut self, now: Duration, what: &str) {
        self.count += 1;
        self.trace.fault(now, what);
    }
}

fn mend(sim: &mut Sim<'_>, undo: Undo) {
    match undo {
        Undo::Repair(a, b) => sim.repair(a, b),
        Undo::RepairOneWay(from, to) => sim.repair_oneway(from, to),
        Undo::Release(a, b) => sim.release(a, b),
        Undo::Quicken(a, b) => sim.set_link_max_message_latency(a, b, SOUND),
        Undo::Boot(host) => sim.bounce(host),
    }
}
