//! Chance that repeats: the same seed gives the same choices, on every machine.
//!
//! Invariant: every host has a stream of its own, so that one more choice on one of them moves no other's.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use roost_edge::ports::Random;

/// A stream of choices: [SplitMix64](https://dl.acm.org/doi/10.1145/2660193.2660195).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut chance = Self(seed);
        for byte in purpose.bytes() {
            chance.0 = chance.draw() ^ u64::from(byte);
        }
        chance
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.draw() % end).unwrap_or_default()
    }

    /// One of these; the first where there is but one.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// A span between two, in whole milliseconds.
    pub fn between(&mut self, shortest: u64, longest: u64) -> Duration {
        let wide = usize::try_from(longest.saturating_sub(shortest)).unwrap_or(usize::MAX);
        Duration::from_millis(shortest + u64::try_from(self.below(wide)).unwrap_or_default())
    }

    /// Whether something happens that happens in so many of a hundred cases.
    pub fn in_hundred(&mut self, cases: usize) -> Luck {
        if self.below(100) < cases {
            Luck::Yes
        } else {
            Luck::No
        }
    }
}

/// How a chance fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// It happens.
    Yes,
    /// It does not.
    No,
}

/// A stream that many hands draw from, in the order in which they come: the port for random bytes.
#[derive(Debug, Clone)]
pub struct SharedChance(Arc<Mutex<Chance>>);

impl SharedChance {
    /// Shares a stream.
    pub fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(chance)))
    }

    /// Draws from it.
    pub fn draw<T>(&self, choose: impl FnOnce(&mut Chance) -> T) -> T {
        choose(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Random for SharedChance {
    fn fill(&self, buffer: &mut [u8]) {
        self.draw(|chance| {
            for part in buffer.chunks_mut(8) {
                part.copy_from_slice(&chance.draw().to_le_bytes()[..part.len()]);
            }
        });
    }
}
