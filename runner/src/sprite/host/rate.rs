//! How fast sprites may be created.
//!
//! Invariant: within one window at most the limit is taken. A window begins with the first creation after the last one ended,
//! so that who is refused knows to the second when there is room again.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::error::ApiError;

/// How long a window lasts.
const WINDOW: Duration = Duration::from_secs(60);

/// What is left of the current window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) limit: usize,
    pub(super) remaining: usize,
    /// Whole seconds until the window ends, at least one.
    pub(super) seconds: u64,
}

/// The window of a host.
#[derive(Debug)]
pub(super) struct Rate {
    limit: usize,
    window: Mutex<Option<(Instant, usize)>>,
}

impl Rate {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            window: Mutex::default(),
        }
    }

    /// Takes one; says what is left after it.
    pub(super) fn take(&self) -> Result<Left, ApiError> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Result<Left, ApiError> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, taken) = window
            .filter(|(start, _)| now.duration_since(*start) < WINDOW)
            .unwrap_or((now, 0));
        let until = WINDOW.saturating_sub(now.duration_since(start));
        let left = Left {
            limit: self.limit,
            remaining: self.limit.saturating_sub(taken + 1),
            seconds: until.as_secs_f64().ceil().max(1.0) as u64,
        };
        if taken >= self.limit {
            return Err(ApiError::rate(left, WINDOW));
        }
        *window = Some((start, taken + 1));
        Ok(left)
    }

    /// Gives back one that was taken for nothing.
    pub(super) fn give_back(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, taken)) = window.as_mut() {
            *taken = taken.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_within_a_window_and_is_fresh_in_the_next() {
        let (rate, start) = (Rate::new(2), Instant::now());
        assert_eq!(rate.take_at(start).unwrap().remaining, 1);
        let later = start + Duration::from_millis(18_500);
        let left = rate.take_at(later).unwrap();
        assert_eq!((left.remaining, left.seconds), (0, 42));
        assert!(rate.take_at(later).is_err());
        rate.give_back();
        assert!(rate.take_at(later).is_ok() && rate.take_at(later).is_err());
        assert_eq!(rate.take_at(start + WINDOW).unwrap().remaining, 1);
    }
}
