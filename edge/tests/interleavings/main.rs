//! Arbitrary interleavings of messages, their edits and deletions, two runners, outages and people, against the real embedded database and a clock that
//! the test moves: whatever happens in whatever order, every message is in exactly one place, every journal is one the
//! state machine allows, and whoever lost a lease can write nothing.

#![allow(clippy::unwrap_used)]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod steps;
mod world;

use proptest::{collection::vec, prelude::*, sample::select};
use roost_shared::agent::LaneMode;

use steps::any_step;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_doubles_or_tears_anything(
        mode in select(LaneMode::ALL.to_vec()),
        debounce in select(vec![0, 0, 1_000]),
        steps in vec(any_step(), 1..50),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(mode, debounce).await;
            for step in &steps {
                world.step(step).await;
                world.check().await;
            }
        });
    }
}
