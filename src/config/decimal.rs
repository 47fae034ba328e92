//! Numbers that may have a fraction: prices and shares. Kept as whole millionths, so that what is
//! written is what is counted with.
#![forbid(unsafe_code)]

use super::ConfigError;
use super::node::{Node, Value};
use super::schema::{Rule, Setting, Shape};
use super::values::wrong_type;

/// Digits behind the point, at most.
const DIGITS_MAX: usize = 6;
const ONE: u64 = 1_000_000;

/// A number of at least 0 with six digits behind the point.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Decimal {
    millionths: u64,
}

impl Decimal {
    /// A whole number.
    pub const fn whole(number: u32) -> Decimal {
        Decimal { millionths: number as u64 * ONE }
    }

    /// The number in millionths.
    pub fn millionths(self) -> u64 {
        self.millionths
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self.millionths == 0
    }

    /// Reads `12`, `0.15` and TOML's `1_000.5`; no sign, no exponent.
    fn parse(text: &str) -> Option<Decimal> {
        let text = text.replace('_', "");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DIGITS_MAX {
            return None;
        }
        let padded: u64 = format!("{fraction:0<DIGITS_MAX$}").parse().ok()?;
        let millionths = whole.parse::<u64>().ok()?.checked_mul(ONE)?.checked_add(padded)?;
        Some(Decimal { millionths })
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.millionths / ONE)?;
        match self.millionths % ONE {
            0 => Ok(()),
            rest => write!(f, ".{}", format!("{rest:0>6}").trim_end_matches('0')),
        }
    }
}

impl Setting for Decimal {
    const SHAPE: Shape = Shape::Toml;

    fn read(key: &str, node: &Node, rule: Rule) -> Result<Decimal, ConfigError> {
        let (low, high) = match rule {
            Rule::Range(low, high) => (low, high),
            _ => (0, u64::from(u32::MAX)),
        };
        let expected = format!("a number from {low} to {high} with at most 6 decimals");
        let text = match &node.value {
            Value::Integer(integer) => integer.to_string(),
            Value::Float(text) => text.clone(),
            _ => return Err(wrong_type(key, node, &expected)),
        };
        let range = low.saturating_mul(ONE)..=high.saturating_mul(ONE);
        Decimal::parse(&text)
            .filter(|number| range.contains(&number.millionths))
            .ok_or_else(|| node.at.error(format!("`{key}` is {text}, expected {expected}")))
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        out.push_str(&self.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_printed() {
        for (text, millionths, printed) in [
            ("0", 0, "0"),
            ("0.0", 0, "0"),
            ("2.50", 2_500_000, "2.5"),
            ("0.000001", 1, "0.000001"),
            ("1_000.075", 1_000_075_000, "1000.075"),
            ("15", 15_000_000, "15"),
        ] {
            let number = Decimal::parse(text).unwrap();
            assert_eq!(number.millionths(), millionths, "{text}");
            assert_eq!(number.to_string(), printed, "{text}");
        }
        for text in
            ["", ".5", "-1", "+1", "1e3", "nan", "inf", "0.0000001", "99999999999999999999", "1.x"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
