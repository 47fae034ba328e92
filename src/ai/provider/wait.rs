//! How long a provider asks to be left alone, in any of the forms they say it.
//!
//! - `Retry-After`: seconds, with or without a fraction, or a date (RFC 9110 section 10.2.3);
//!   `retry-after-ms` as OpenAI and Azure say it, which is finer.
//! - A 429 without one: when the limit that is used up begins anew. OpenAI, Groq and their
//!   compatibles say `x-ratelimit-remaining-tokens: 0` and `x-ratelimit-reset-tokens: 6m0s`,
//!   Anthropic `anthropic-ratelimit-tokens-reset: 2026-01-01T00:00:00Z`, others
//!   `x-ratelimit-reset` with seconds or a Unix time.
//! - Gemini says `retryDelay` in the error's body ([`in_details`]).
//!
//! Seconds throughout, rounded up: too early is refused again. At most a day.
#![forbid(unsafe_code)]

use crate::ai::tree::Node;
use crate::http::date;

/// Longest time that is believed.
const WAIT_S_MAX: u32 = 86_400;
/// Limits that are looked at in one answer: no provider has more.
const LIMITS_MAX: usize = 16;

/// What the fields of an error answer say.
pub fn in_fields<'f>(
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    now_unix_s: i64,
) -> Option<u32> {
    let text = |wanted: &str| {
        let mut all = fields.clone();
        let found = all.find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok()).map(str::trim)
    };
    let finer = text("retry-after-ms").and_then(number).map(|ms| up(ms / 1e3));
    let said = finer.or_else(|| {
        let value = text("retry-after")?;
        number(value).map(up).or_else(|| {
            let at = date::parse(value.as_bytes())?;
            Some(until(at, now_unix_s))
        })
    });
    if said.is_some() || status != 429 {
        return said;
    }
    // The limits that are used up: the longest of their times.
    let mut longest = None;
    for (name, value) in fields.clone().take(256) {
        let Some((front, back)) = remaining(name) else { continue };
        if std::str::from_utf8(value).ok().and_then(|it| number(it.trim())) != Some(0.0) {
            continue;
        }
        let mut resets = fields.clone().filter(|(name, _)| is_reset(name, front, back));
        let reset = resets.next().and_then(|(_, value)| std::str::from_utf8(value).ok());
        longest = longest.max(reset.and_then(|text| reset_s(text.trim(), now_unix_s)));
    }
    longest
}

/// What stands before and behind `remaining` in the name of a limit's field.
fn remaining(name: &[u8]) -> Option<(&[u8], &[u8])> {
    const WORD: &[u8] = b"remaining";
    let at = name.windows(WORD.len()).position(|part| part.eq_ignore_ascii_case(WORD))?;
    let front = name.get(..at)?;
    let is_limit = front.len() <= 64 && contains(front, b"ratelimit");
    is_limit.then(|| (front, name.get(at + WORD.len()..).unwrap_or_default()))
}

fn is_reset(name: &[u8], front: &[u8], back: &[u8]) -> bool {
    const WORD: &[u8] = b"reset";
    name.len() == front.len() + WORD.len() + back.len()
        && name.get(..front.len()).is_some_and(|it| it.eq_ignore_ascii_case(front))
        && name
            .get(front.len()..front.len() + WORD.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(WORD))
        && name.get(front.len() + WORD.len()..).is_some_and(|it| it.eq_ignore_ascii_case(back))
}

fn contains(name: &[u8], word: &[u8]) -> bool {
    name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// When a limit begins anew: a duration, seconds, a Unix time in seconds or milliseconds, or a date.
fn reset_s(text: &str, now_unix_s: i64) -> Option<u32> {
    if let Some(value) = number(text) {
        return Some(match value {
            ms if ms > 1e11 => until((ms / 1e3).ceil() as i64, now_unix_s),
            at if at > 1e8 => until(at.ceil() as i64, now_unix_s),
            seconds => up(seconds),
        });
    }
    if let Some(at) = date::parse_rfc3339(text.as_bytes()).or_else(|| date::parse(text.as_bytes()))
    {
        return Some(until(at, now_unix_s));
    }
    duration(text).map(up)
}

/// `retryDelay` among the details of Google's errors (`google.rpc.RetryInfo`).
pub(super) fn in_details(error: &Node<'_>) -> Option<u32> {
    let details = error.get("details")?.items();
    let said = details.iter().take(LIMITS_MAX).find_map(|it| it.text_of("retryDelay"))?;
    duration(said).map(up)
}

/// `6m0s`, `1.5s`, `120ms`: seconds of a duration as Go and Google write it.
fn duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (count, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number(count)? * scale;
        rest = behind;
    }
    (!text.is_empty()).then_some(seconds)
}

/// A number that is not negative, without an exponent or a sign.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_plain || text.len() > 32 {
        return None;
    }
    text.parse().ok()
}

fn up(seconds: f64) -> u32 {
    seconds.ceil().clamp(0.0, f64::from(WAIT_S_MAX)) as u32
}

fn until(at_unix_s: i64, now_unix_s: i64) -> u32 {
    let ahead = at_unix_s.saturating_sub(now_unix_s).clamp(0, i64::from(WAIT_S_MAX));
    u32::try_from(ahead).unwrap_or(WAIT_S_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::tree;

    /// What a 429 with these fields asks for, at the second 100.
    fn asked(fields: &[(&str, &str)]) -> Option<u32> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        in_fields(429, fields, 100)
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        for (value, want) in [
            ("7", Some(7)),
            (" 12 ", Some(12)),
            ("0", Some(0)),
            ("1.2", Some(2)),
            ("999999999", Some(86_400)),
            ("99999999999999999999999999999999999", None),
            ("Thu, 01 Jan 1970 00:02:00 GMT", Some(20)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 31 Dec 2199 23:59:59 GMT", Some(86_400)),
            ("soon", None),
            ("-1", None),
            ("1e9", None),
            ("NaN", None),
            ("inf", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(asked(&[("Retry-After", value)]), want, "{value}");
        }
        assert_eq!(asked(&[("retry-after-ms", "1250"), ("retry-after", "9")]), Some(2));
        assert_eq!(asked(&[("retry-after-ms", "x"), ("retry-after", "9")]), Some(9));
    }

    #[test]
    fn a_limit_that_is_used_up_says_when_it_begins_anew() {
        for (prefix, suffix, reset, want) in [
            ("x-ratelimit-", "-tokens", "6m0s", Some(360)),
            ("x-ratelimit-", "-requests", "1ms", Some(1)),
            ("X-RateLimit-", "-Requests", "2m59.56s", Some(180)),
            ("x-ratelimit-", "-tokens", "1h2m3s", Some(3723)),
            ("x-ratelimit-", "-tokens", "7.66s", Some(8)),
            ("x-ratelimit-", "-tokens", "30", Some(30)),
            ("anthropic-ratelimit-", "-input-tokens", "1970-01-01T00:02:00Z", Some(20)),
            ("anthropic-ratelimit-", "-tokens", "1970-01-01T01:02:00.5+01:00", Some(21)),
            ("anthropic-ratelimit-", "-tokens", "1969-12-31T23:59:59Z", Some(0)),
            ("x-ratelimit-", "", "1700000000000", Some(86_400)),
            ("x-ratelimit-", "", "1700000000", Some(86_400)),
            ("ratelimit-", "", "15", Some(15)),
            ("x-ratelimit-", "-tokens", "6 minutes", None),
            ("x-ratelimit-", "-tokens", "m", None),
            ("x-ratelimit-", "-tokens", "5", Some(5)),
        ] {
            let remaining = format!("{prefix}remaining{suffix}");
            let name = format!("{prefix}reset{suffix}");
            let fields = [(remaining.as_str(), "0"), (name.as_str(), reset)];
            assert_eq!(asked(&fields), want, "{name}: {reset}");
            let fields = [(name.as_str(), reset), (remaining.as_str(), "12")];
            assert_eq!(asked(&fields), None, "there is some left");
        }
        let both = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "2s"),
            ("x-ratelimit-reset-requests", "1m"),
        ];
        assert_eq!(asked(&both), Some(60), "the longest");
        let mut said = both.to_vec();
        said.push(("retry-after", "3"));
        assert_eq!(asked(&said), Some(3), "what it says itself counts");
        let of_503 = both.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(in_fields(503, of_503, 100), None, "it is not the limit that failed");
    }

    #[test]
    fn a_delay_among_the_details_is_read() {
        for (text, want) in [
            (r#"{"details":[{"@type":"x"},{"retryDelay":"36s"}]}"#, Some(36)),
            (r#"{"details":[{"retryDelay":"36.5s"}]}"#, Some(37)),
            (r#"{"details":[{"retryDelay":36}]}"#, None),
            (r#"{"details":{}}"#, None),
            (r#"{}"#, None),
        ] {
            assert_eq!(in_details(&tree::parse(text.as_bytes()).unwrap()), want, "{text}");
        }
    }
}
