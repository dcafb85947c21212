//! Some seeds of the simulation: nothing is broken in a whole world, a seed replays, and a defect does not go unseen.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use roost_sim::{
    faults::Weather,
    store::Sabotage,
    world::{Plan, run},
};

/// A plan short enough for a test.
fn short(seed: u64) -> Plan {
    Plan {
        messages: 10,
        span: std::time::Duration::from_secs(15),
        ..Plan::new(seed)
    }
}

#[test]
fn no_promise_is_broken() {
    for seed in 100..104 {
        let report = run(short(seed)).unwrap();
        assert!(
            report.faults > 5 && report.counts.runs > 2,
            "seed {seed} tries nothing"
        );
        assert_eq!(report.offences, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_seed_replays_line_by_line_and_in_another_process() {
    let seed = 7;
    let (first, second) = (run(short(seed)).unwrap(), run(short(seed)).unwrap());
    let lines = (first.trace.lines(), second.trace.lines());
    let parts = lines.0.iter().zip(&lines.1).find(|(one, other)| one != other);
    assert_eq!(parts, None, "the same up to here");
    assert_eq!(lines.0.len(), lines.1.len());
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_roost-sim"))
        .args(["--seed", &seed.to_string(), "--messages", "10", "--seconds", "15"])
        .output()
        .unwrap();
    let table = String::from_utf8(elsewhere.stdout).unwrap();
    assert!(
        table.contains(&first.trace.digest()),
        "{}\n{table}",
        first.trace.digest()
    );
    assert_ne!(first.trace.digest(), run(short(8)).unwrap().trace.digest());
}

/// Many runs at once, and runners that stand still under them.
fn haunted(seed: u64) -> Plan {
    Plan {
        messages: 36,
        span: std::time::Duration::from_secs(12),
        weather: Weather::Zombies,
        ..Plan::new(seed)
    }
}

#[test]
fn a_defect_does_not_go_unseen() {
    for (sabotage, plan) in [
        (Sabotage::LostCommits, short as fn(u64) -> Plan),
        (Sabotage::NoFence, haunted),
        (Sabotage::NoLook, short),
    ] {
        let seen = (200..206).any(|seed| {
            let plan = Plan {
                sabotage,
                ..plan(seed)
            };
            !run(plan).unwrap().offences.is_empty()
        });
        assert!(seen, "{sabotage:?}");
    }
    assert_eq!(run(haunted(200)).unwrap().offences, Vec::<String>::new());
}
