//! `neurohttp top [URL]`: the figures of a running server in the terminal, from its `/stats`.
//!
//! The terminal is left as it is: a frame is written over the last one, so that there is nothing to
//! restore when the program is interrupted.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::terminal::{bytes, count, duration, plain, rate};
use super::url::Url;
use crate::Trouble;

/// An answer of `/stats` is never larger than this.
const STATS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Models and decisions shown.
const MODELS_MAX: usize = 16;
const DECISIONS_MAX: usize = 5;

/// What to look at, and whether once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    url: Url,
    is_once: bool,
}

/// Understands the words after `top`.
///
/// # Errors
/// One line that says what is wrong.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let mut url = None;
    let mut is_once = false;
    for word in words {
        let text = word.to_str().ok_or_else(|| format!("{word:?} is not text"))?;
        match text {
            "--once" => is_once = true,
            _ if text.starts_with('-') || url.is_some() => {
                return Err(format!("top: {text} is not understood; see neurohttp --help"));
            }
            _ => url = Some(Url::parse(text)?),
        }
    }
    let url = url.map_or_else(|| Url::parse("http://127.0.0.1:8080"), Ok)?;
    Ok(Options { url, is_once })
}

/// Shows figures until it is interrupted, or one frame where nobody watches.
///
/// # Errors
/// The server does not answer the first time.
pub(crate) fn run(options: &Options) -> Result<(), Trouble> {
    let url = format!("{}/stats", options.url.base());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(3)))
        .proxy(None)
        .build()
        .into();
    let ask = || -> Result<Value, String> {
        let mut answer = agent.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
        let body = answer.body_mut().with_config().limit(STATS_BYTES_MAX).read_to_string();
        let body = body.map_err(|error| format!("{url}: {error}"))?;
        serde_json::from_str(&body).map_err(|error| format!("{url}: {error}"))
    };
    let is_once = options.is_once || !std::io::stdout().is_terminal();
    let mut before = ask().map_err(Trouble::Running)?;
    let mut asked = Instant::now();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let told = ask();
        let seconds = asked.elapsed().as_secs_f64();
        asked = Instant::now();
        let text = match &told {
            Ok(now) => frame(&options.url.base(), &before, now, seconds),
            Err(said) => format!("{}\n", plain(said)),
        };
        if is_once {
            return match told {
                Ok(_) => crate::say(&text),
                Err(said) => Err(Trouble::Running(said)),
            };
        }
        crate::say(&format!("\x1b[H\x1b[2J{text}"))?;
        if let Ok(now) = told {
            before = now;
        }
    }
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
}

/// One frame: what `now` says, and rates since `before`.
fn frame(base: &str, before: &Value, now: &Value, seconds: f64) -> String {
    // A server that has been started anew begins from nothing.
    let is_same = number(now, "/uptime_seconds") >= number(before, "/uptime_seconds");
    let per_second = |path: &str| {
        let since = if is_same { number(before, path) } else { 0.0 };
        rate((number(now, path) - since).max(0.0) / seconds.max(0.05))
    };
    let whole = |path: &str| count(number(now, path) as u64);
    let mut out = String::new();
    let state = now.pointer("/state").and_then(Value::as_str).unwrap_or("?");
    let _ = writeln!(
        out,
        "NeuroHTTP at {base}   {}   up {} s   {} resident",
        plain(state),
        whole("/uptime_seconds"),
        bytes(number(now, "/memory_resident_bytes"))
    );
    let _ = writeln!(
        out,
        "\nanswers     {}/s   4xx {}/s   5xx {}/s   cancelled {}/s",
        per_second("/responses"),
        per_second("/responses_by_class/4xx"),
        per_second("/responses_by_class/5xx"),
        per_second("/cancelled")
    );
    let _ = writeln!(
        out,
        "connections {} open   {}/s new   {} refused",
        whole("/connections/active"),
        per_second("/connections/accepted"),
        whole("/connections/refused")
    );
    let _ = writeln!(
        out,
        "models      {}/s begun   {}/s failed   {} tokens/s in   {} out   {}/s retries",
        per_second("/calls/started"),
        per_second("/calls/failed"),
        per_second("/calls/prompt_tokens"),
        per_second("/calls/completion_tokens"),
        per_second("/calls/retries")
    );
    let hits = number(now, "/cache/hits") + number(now, "/cache/coalesced");
    let asked = hits + number(now, "/cache/misses");
    let share =
        if asked > 0.0 { format!("{:.1} %", 100.0 * hits / asked) } else { "–".to_owned() };
    let _ = writeln!(
        out,
        "cache       {share} of answers   {} entries   {}",
        whole("/cache/entries"),
        bytes(number(now, "/cache/bytes"))
    );
    let _ = writeln!(
        out,
        "firewall    {} attacks blocked   {} rate limited   {} denied   {} clients blocked",
        whole("/firewall/attacks_blocked"),
        whole("/firewall/rate_limited"),
        whole("/firewall/denied"),
        whole("/firewall/blocked_clients")
    );
    let _ = writeln!(
        out,
        "optimizer   refused {} blocking   {} upstreams   {} turns",
        whole("/optimizer/refused/blocking"),
        whole("/optimizer/refused/upstreams"),
        whole("/optimizer/refused/turns")
    );
    models(&mut out, now);
    let decisions = now.pointer("/optimizer/decisions").and_then(Value::as_array);
    for decision in decisions.into_iter().flatten().rev().take(DECISIONS_MAX) {
        let word = |name: &str| decision.get(name).and_then(Value::as_str).unwrap_or("?");
        let limit = |name: &str| match decision.get(name).and_then(Value::as_u64) {
            Some(n) => count(n),
            None => "none".to_owned(),
        };
        let _ = writeln!(
            out,
            "            {}: {} to {}, {}",
            plain(word("lever")),
            limit("from"),
            limit("to"),
            plain(word("reason"))
        );
    }
    out
}

fn models(out: &mut String, now: &Value) {
    let Some(models) = now.pointer("/models").and_then(Value::as_object) else { return };
    if models.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<28} {:>12} {:>9} {:>13} {:>13} {:>10} {:>10}",
        "model", "requests", "failed", "tokens in", "tokens out", "first p50", "p99"
    );
    for (name, model) in models.iter().take(MODELS_MAX) {
        let whole = |path: &str| count(number(model, path) as u64);
        let ms = |path: &str| duration(number(model, path) * 1e3);
        let name: String = plain(name).chars().take(28).collect();
        let _ = writeln!(
            out,
            "{name:<28} {:>12} {:>9} {:>13} {:>13} {:>10} {:>10}",
            whole("/requests"),
            whole("/failures"),
            whole("/prompt_tokens"),
            whole("/completion_tokens"),
            ms("/first_token_ms/p50"),
            ms("/latency_ms/p99")
        );
    }
    if models.len() > MODELS_MAX {
        let _ = writeln!(out, "and {} more", models.len() - MODELS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_rates_and_no_escape_of_the_server() {
        let before = serde_json::json!({ "uptime_seconds": 5, "responses": 100 });
        let now = serde_json::json!({
            "uptime_seconds": 7, "responses": 300, "state": "run\u{1b}[2Jning",
            "models": { "m\u{1b}": { "requests": 1234 } },
        });
        let text = frame("http://h", &before, &now, 2.0);
        assert!(text.contains("answers     100/s"), "{text}");
        assert!(text.contains("1 234"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        // A server that was started anew.
        let fresh = serde_json::json!({ "uptime_seconds": 1, "responses": 10 });
        assert!(frame("http://h", &now, &fresh, 1.0).contains("answers     10.0/s"));
    }

    #[test]
    fn words_are_understood() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from));
        assert_eq!(parse("").unwrap().url.base(), "http://127.0.0.1:8080");
        assert!(parse("--once h:81").unwrap().is_once);
        assert!(parse("a b").is_err() && parse("--x").is_err());
    }
}
