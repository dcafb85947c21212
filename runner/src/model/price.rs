//! What models cost and how much they can have before them.
//!
//! Invariant: money is whole micro-dollars, computed in integers and rounded up once per call; a model that the table doesn't
//! know has no price rather than somebody else's.

use roost_shared::{MicroUsd, transcript::Usage};
use serde::Deserialize;

/// The month of the providers' price lists that the table follows. Earlier answers keep the cost they were journaled with.
pub const TABLE_VERSION: &str = "2026-11";

/// The window assumed of a model that is neither in the table nor in the configuration, in tokens.
pub const UNKNOWN_WINDOW: u64 = 128_000;

/// A price list, in micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Tokens read afresh.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens read from the provider's cache.
    #[serde(default)]
    pub cache_read: u64,
    /// Tokens written to the provider's cache.
    #[serde(default)]
    pub cache_write: u64,
}

/// What a model costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Price {
    /// The usual rates.
    #[serde(flatten)]
    pub rates: Rates,
    /// The rates of a whole call whose context is longer than this many tokens.
    #[serde(default)]
    pub long: Option<(u64, Rates)>,
}

impl Rates {
    fn cost(&self, usage: Usage) -> MicroUsd {
        let part = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
        let millionths = part(usage.input, self.input)
            + part(usage.output, self.output)
            + part(usage.cache_read, self.cache_read)
            + part(usage.cache_write, self.cache_write);
        MicroUsd(i64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(i64::MAX))
    }
}

impl Price {
    /// What one call cost.
    pub fn cost(&self, usage: Usage) -> MicroUsd {
        self.rates(usage.context()).cost(usage)
    }

    /// The rates of a call with this many tokens of context.
    pub fn rates(&self, context: u64) -> &Rates {
        match &self.long {
            Some((above, rates)) if context > *above => rates,
            _ => &self.rates,
        }
    }
}

/// A model the table knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its name, without the date of a snapshot.
    pub name: &'static str,
    /// Tokens it can have before it, its answer included.
    pub window: u64,
    /// What it costs.
    pub price: Price,
}

/// The entry with the longest name that begins `model`, where only a snapshot's date or `latest` follows. A vendor before
/// a slash (`anthropic/…` at OpenRouter) is left out, and `claude-sonnet-4.5` is `claude-sonnet-4-5`.
pub fn lookup(model: &str) -> Option<&'static Known> {
    let mut name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    if name.starts_with("claude") {
        name = name.replace('.', "-");
    }
    let matching = TABLE
        .iter()
        .filter(|known| name.strip_prefix(known.name).is_some_and(is_snapshot));
    matching.max_by_key(|known| known.name.len())
}

fn is_snapshot(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix(['-', '@']) else {
        return rest.is_empty();
    };
    let is_date =
        rest.len() >= 4 && rest.chars().all(|c| c.is_ascii_digit() || c == '-') && rest.as_bytes()[1] != b'-';
    rest == "latest" || is_date
}

/// Rates in thousandths of a dollar per million tokens: input, output, cache read, cache write.
const fn rates(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Rates {
    Rates {
        input: input * 1_000,
        output: output * 1_000,
        cache_read: cache_read * 1_000,
        cache_write: cache_write * 1_000,
    }
}

const fn flat(name: &'static str, window: u64, rates: Rates) -> Known {
    let price = Price { rates, long: None };
    Known { name, window, price }
}

/// OpenAI's rule for its long windows: above 272,000 tokens input and cache cost twice, output half as much again.
const fn doubling(name: &'static str, window: u64, rates: Rates) -> Known {
    let above = Rates {
        input: rates.input * 2,
        output: rates.output + rates.output / 2,
        cache_read: rates.cache_read * 2,
        cache_write: rates.cache_write * 2,
    };
    let price = Price {
        rates,
        long: Some((272_000, above)),
    };
    Known { name, window, price }
}

const HAIKU_5_5: Known = Known {
    name: "claude-haiku-5-5",
    window: 1_000_000,
    price: Price {
        rates: rates(100, 500, 10, 125),
        long: Some((100_000, rates(500, 2_500, 50, 625))),
    },
};

const TABLE: &[Known] = &[
    flat("claude-fable-5-1", 1_000_000, rates(10_000, 50_000, 250, 12_500)),
    flat("claude-mythos-5-1", 1_000_000, rates(10_000, 50_000, 250, 12_500)),
    flat("claude-fable-5", 1_000_000, rates(10_000, 50_000, 1_000, 12_500)),
    flat("claude-mythos-5", 1_000_000, rates(10_000, 50_000, 1_000, 12_500)),
    flat("claude-opus-5-5", 1_000_000, rates(4_000, 20_000, 200, 5_000)),
    flat("claude-opus-5", 1_000_000, rates(5_000, 25_000, 500, 6_250)),
    flat("claude-opus-4-8", 1_000_000, rates(5_000, 25_000, 500, 6_250)),
    flat("claude-opus-4-7", 1_000_000, rates(5_000, 25_000, 500, 6_250)),
    flat("claude-opus-4-6", 1_000_000, rates(5_000, 25_000, 500, 6_250)),
    flat("claude-opus-4-5", 200_000, rates(5_000, 25_000, 500, 6_250)),
    flat("claude-opus-4-1", 200_000, rates(15_000, 75_000, 1_500, 18_750)),
    flat("claude-opus-4", 200_000, rates(15_000, 75_000, 1_500, 18_750)),
    flat("claude-sonnet-5-5", 1_000_000, rates(2_000, 10_000, 100, 2_500)),
    flat("claude-sonnet-5", 1_000_000, rates(2_000, 10_000, 200, 2_500)),
    flat("claude-sonnet-4-6", 1_000_000, rates(3_000, 15_000, 300, 3_750)),
    flat("claude-sonnet-4-5", 200_000, rates(3_000, 15_000, 300, 3_750)),
    flat("claude-sonnet-4", 200_000, rates(3_000, 15_000, 300, 3_750)),
    HAIKU_5_5,
    flat("claude-haiku-4-5", 200_000, rates(1_000, 5_000, 100, 1_250)),
    doubling("gpt-6.2-astra", 1_050_000, rates(8_000, 40_000, 400, 10_000)),
    doubling("gpt-6.2-sol", 1_050_000, rates(2_000, 10_000, 100, 2_500)),
    doubling("gpt-6.1-sol", 1_050_000, rates(2_000, 10_000, 100, 2_500)),
    doubling("gpt-6.1-terra", 1_050_000, rates(1_000, 5_000, 50, 1_250)),
    doubling("gpt-6-astra", 1_050_000, rates(10_000, 50_000, 1_000, 12_500)),
    doubling("gpt-6-sol", 1_050_000, rates(2_000, 10_000, 200, 2_500)),
    doubling("gpt-6-luna", 1_050_000, rates(100, 500, 10, 125)),
    doubling("gpt-5.6-sol", 1_050_000, rates(4_000, 20_000, 400, 5_000)),
    doubling("gpt-5.6-terra", 1_050_000, rates(2_000, 12_000, 200, 2_500)),
    doubling("gpt-5.6-luna", 1_050_000, rates(200, 1_200, 20, 250)),
    doubling("gpt-5.5", 1_050_000, rates(5_000, 30_000, 500, 5_000)),
    doubling("gpt-5.4", 1_050_000, rates(2_500, 15_000, 250, 2_500)),
    flat("gpt-5.4-mini", 400_000, rates(750, 4_500, 75, 750)),
    flat("gpt-5.2", 400_000, rates(1_750, 14_000, 175, 1_750)),
    flat("gpt-5.1", 400_000, rates(1_250, 10_000, 125, 1_250)),
    flat("gpt-5", 400_000, rates(1_250, 10_000, 125, 1_250)),
    flat("gpt-5-mini", 400_000, rates(250, 2_000, 25, 250)),
    flat("gpt-5-nano", 400_000, rates(50, 400, 5, 50)),
    flat("gpt-4.1", 1_047_576, rates(2_000, 8_000, 500, 2_000)),
    flat("gpt-4.1-mini", 1_047_576, rates(400, 1_600, 100, 400)),
    flat("gpt-4.1-nano", 1_047_576, rates(100, 400, 25, 100)),
    flat("gpt-4o", 128_000, rates(2_500, 10_000, 1_250, 2_500)),
    flat("gpt-4o-mini", 128_000, rates(150, 600, 75, 150)),
    flat("o3", 200_000, rates(2_000, 8_000, 500, 2_000)),
    flat("o4-mini", 200_000, rates(1_100, 4_400, 275, 1_100)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins_and_only_a_snapshot_may_follow() {
        let name = |model| lookup(model).map(|known| known.name);
        assert_eq!(name("claude-sonnet-4-5"), Some("claude-sonnet-4-5"));
        assert_eq!(name("claude-sonnet-4-5-20250929"), Some("claude-sonnet-4-5"));
        assert_eq!(name("claude-sonnet-4-20250514"), Some("claude-sonnet-4"));
        assert_eq!(name("anthropic/claude-sonnet-4.5"), Some("claude-sonnet-4-5"));
        assert_eq!(name("claude-opus-4-5@20251101"), Some("claude-opus-4-5"));
        assert_eq!(name("gpt-5-mini-2025-08-07"), Some("gpt-5-mini"));
        assert_eq!(name("gpt-5-chat-latest"), None);
        assert_eq!(name("gpt-5.9"), None);
        assert_eq!(name("claude-opus-5-9"), None);
        assert_eq!(name("openai/gpt-4o-mini:free"), None);
        assert_eq!(name("llama3.2"), None);
    }

    #[test]
    fn a_call_costs_every_kind_of_token_and_is_rounded_up_once() {
        let price = lookup("claude-sonnet-4-5").unwrap().price;
        let usage = Usage {
            input: 1,
            output: 1,
            cache_read: 1,
            cache_write: 1,
        };
        // 3 + 15 + 0.3 + 3.75 = 22.05 micro-dollars
        assert_eq!(price.cost(usage), MicroUsd(23));
        let million = Usage {
            input: 1_000_000,
            output: 1_000_000,
            ..Usage::default()
        };
        assert_eq!(price.cost(million), MicroUsd(18_000_000));
        assert_eq!(price.cost(Usage::default()), MicroUsd(0));
        let huge = Usage {
            input: u64::MAX,
            output: 0,
            cache_read: 0,
            cache_write: 0,
        };
        assert_eq!(price.cost(huge), MicroUsd(i64::MAX));
    }

    #[test]
    fn above_the_threshold_the_whole_call_costs_more() {
        let price = lookup("claude-haiku-5-5").unwrap().price;
        let usage = |cache_read| Usage {
            input: 0,
            output: 1_000,
            cache_read,
            cache_write: 0,
        };
        assert_eq!(price.cost(usage(100_000)), MicroUsd(500 + 1_000));
        assert_eq!(price.cost(usage(100_001)), MicroUsd(2_500 + 5_001));
    }

    #[test]
    fn a_price_from_the_configuration_reads_like_the_table() {
        let price: Price =
            toml::from_str("input = 1000\noutput = 2000\nlong = [10, { input = 3000, output = 4000 }]")
                .unwrap();
        assert_eq!(price.rates(10).input, 1_000);
        assert_eq!(price.rates(11).output, 4_000);
    }
}
