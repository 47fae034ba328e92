//! What tokens cost.
#![forbid(unsafe_code)]

use crate::ai::chat::Usage;

/// What the tokens of a target cost, each in millionths of a millionth of a US dollar: a price of
/// 0.15 dollars for a million tokens is 150,000. 0: not known, nothing is counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Prices {
    /// A token read.
    pub input: u64,
    /// A token written.
    pub output: u64,
    /// A token read from the provider's cache.
    pub cached: u64,
    /// A token read and put into the provider's cache.
    pub cache_written: u64,
}

impl Prices {
    /// Whether any price is known.
    pub fn is_known(&self) -> bool {
        *self != Prices::default()
    }

    /// What a request cost, in billionths of a US dollar; the nearest.
    pub fn cost_nano(&self, usage: &Usage) -> u64 {
        let cached = usage.cached.unwrap_or(0).min(usage.prompt_tokens);
        let rest = usage.prompt_tokens.saturating_sub(cached);
        let written = usage.cache_written.unwrap_or(0).min(rest);
        let fresh = rest.saturating_sub(written);
        let cost = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let all = [
            cost(fresh, self.input),
            cost(cached, self.cached),
            cost(written, self.cache_written),
            cost(usage.completion_tokens, self.output),
        ];
        let pico = all.iter().fold(0_u128, |sum, part| sum.saturating_add(*part));
        u64::try_from(pico.saturating_add(500) / 1_000).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_token_has_its_price() {
        // 3 dollars in, 15 out, 0.30 from the cache, 3.75 into it.
        let prices = Prices {
            input: 3_000_000,
            output: 15_000_000,
            cached: 300_000,
            cache_written: 3_750_000,
        };
        let usage = |prompt, completion, cached, written| Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            cached,
            cache_written: written,
            reasoning: None,
            is_estimated: false,
        };
        for (usage, nano) in [
            (usage(1_000_000, 0, None, None), 3_000_000_000),
            (usage(0, 1_000_000, None, None), 15_000_000_000),
            (usage(1000, 10, Some(600), Some(100)), 900_000 + 180_000 + 375_000 + 150_000),
            // A provider that says more than can be is not believed.
            (usage(10, 0, Some(100), Some(100)), 3_000),
            (usage(0, 0, None, None), 0),
        ] {
            assert_eq!(prices.cost_nano(&usage), nano, "{usage:?}");
        }
        let huge = usage(u64::MAX, u64::MAX, None, None);
        assert_eq!(prices.cost_nano(&huge), u64::MAX);
        assert_eq!(Prices::default().cost_nano(&huge), 0);
        assert!(prices.is_known() && !Prices::default().is_known());
    }
}
