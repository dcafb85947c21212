//! Chance that repeats: the same seed gives the same choices, on every machine.
//!
//! Invariant: nothing here asks the system; what a seed decides is the schedule of faults and of webhooks, not the instants
//! at which processes react to them.

use std::time::Duration;

/// A stream of choices: [SplitMix64](https://dl.acm.org/doi/10.1145/2660193.2660195).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own, which the choices of this one do not disturb.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn share(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// A span between two.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        shortest + longest.saturating_sub(shortest).mul_f64(self.share())
    }

    /// Whether something with this chance happens.
    pub fn happens(&mut self, chance: f64) -> Luck {
        if self.share() < chance {
            Luck::Yes
        } else {
            Luck::No
        }
    }

    /// One of these, by weight.
    pub fn pick<T: Copy>(&mut self, weighted: &[(T, u32)]) -> Option<T> {
        let total: u32 = weighted.iter().map(|(_, weight)| weight).sum();
        let mut at =
            u32::try_from(self.below(usize::try_from(total).unwrap_or(usize::MAX))).unwrap_or_default();
        for (choice, weight) in weighted {
            if at < *weight {
                return Some(*choice);
            }
            at -= weight;
        }
        None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            let picks: Vec<_> = (0..50)
                .map(|_| chance.pick(&[('a', 1), ('b', 3), ('c', 0)]).unwrap())
                .collect();
            (picks, chance.share(), chance.below(1000))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let (picks, ..) = draw(7);
        let count = |which| picks.iter().filter(|pick| **pick == which).count();
        assert!(count('b') > count('a') && count('a') > 0 && count('c') == 0);
    }
}
