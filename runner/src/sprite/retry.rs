//! Which requests are made again after the way to the host failed, and when.
//!
//! Invariant: a request is repeated only where doing it twice is doing it once, or where it surely never arrived; an exec
//! whose outcome is not known is not. What the host itself refuses is never repeated here: limits are for the scheduler.

use std::time::Duration;

use reqwest::Method;

use crate::random;

/// How often a request is repeated at most.
const REPEATS: u32 = 4;
/// The pause before the first repeat; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What making a request twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// The same as making it once.
    IsOnce,
    /// Something else: a second sprite, a second command, a failure that was a success.
    Differs,
}

impl Twice {
    /// Reads, whole writes and deletions can be repeated. The API's POSTs create, rename, kill and restore, and an upgrade
    /// to WebSocket, though a GET, starts a command: those differ, whatever they ask for.
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE => Self::IsOnce,
            _ => Self::Differs,
        }
    }
}

/// The pauses between tries: growing, with up to as much again by chance, so that those who failed together do not come
/// back together.
#[derive(Debug, Clone)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
    left: u32,
}

impl Pauses {
    /// Those of one request.
    pub(super) fn of_request() -> Self {
        Self::new(FIRST_PAUSE, LONGEST_PAUSE, REPEATS)
    }

    /// `count` pauses, the first of them about `first`, none longer than twice `longest`.
    pub(crate) fn new(first: Duration, longest: Duration, count: u32) -> Self {
        Self {
            next: first,
            longest,
            left: count,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.next.min(self.longest);
        self.next = (pause * 2).min(self.longest);
        Some(jittered(pause))
    }
}

/// The pause and up to as much again.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let chance = u16::from_le_bytes(random::bytes());
    pause + pause.mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end() {
        let pauses: Vec<_> = Pauses::new(Duration::from_millis(100), Duration::from_millis(350), 4).collect();
        assert_eq!(pauses.len(), 4);
        for (pause, base) in pauses.iter().zip([100, 200, 350, 350]) {
            let base = Duration::from_millis(base);
            assert!((base..=2 * base).contains(pause), "{pauses:?}");
        }
    }

    #[test]
    fn only_what_twice_is_once_is_repeated() {
        for (method, twice) in [
            (Method::GET, Twice::IsOnce),
            (Method::PUT, Twice::IsOnce),
            (Method::DELETE, Twice::IsOnce),
            (Method::POST, Twice::Differs),
            (Method::PATCH, Twice::Differs),
        ] {
            assert_eq!(Twice::of(&method), twice, "{method}");
        }
    }
}
