//! Money: whole micro-dollars, so that a sum of a million small calls is still exact.

use std::{fmt, iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};

/// An amount in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl Add for MicroUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for MicroUsd {
    /// Dollars with cents, and as many further digits as the amount needs: `$1.50`, `$0.000225`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        let fraction = format!("{:06}", amount % 1_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}${}.{}", amount / 1_000_000, &fraction[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::MicroUsd;

    #[test]
    fn shows_every_digit_that_matters() {
        for (amount, text) in [
            (0, "$0.00"),
            (1_500_000, "$1.50"),
            (225, "$0.000225"),
            (-20_000, "-$0.02"),
        ] {
            assert_eq!(MicroUsd(amount).to_string(), text);
        }
    }
}
