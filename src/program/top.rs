//! `neurohttp top [URL]`: the figures of a running server in the terminal, from its `/stats`.
//!
//! A frame is written over the last one and fitted to the terminal. `q` or a signal ends it; the
//! terminal, whose keys come unseen meanwhile, is left as it was.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdin, stdout};
use std::time::{Duration, Instant};

use neurohttp::sys::signal::Signals;
use neurohttp::sys::terminal::{Keys, size};
use serde_json::Value;

use super::terminal::{bytes, count, duration, figures, plain, rate};
use super::url::Url;
use crate::Trouble;

/// An answer of `/stats` is never larger than this.
const STATS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Models and decisions shown.
const MODELS_MAX: usize = 16;
const DECISIONS_MAX: usize = 5;
/// Between two looks at keys and signals, in milliseconds.
const STEP_MS: i32 = 100;
/// Columns of a model's name, at most and at least.
const NAME_COLUMNS: (usize, usize) = (40, 12);

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
    let is_once = options.is_once || !stdout().is_terminal();
    let mut before = ask().map_err(Trouble::Running)?;
    let mut asked = Instant::now();
    let signals = Signals::block().map_err(|error| Trouble::Running(error.to_string()))?;
    // Without a terminal to read keys from there are signals.
    let keys = if is_once { None } else { Keys::take(&stdin()).ok() };
    loop {
        if is_ended(keys.as_ref(), &signals) {
            return Ok(());
        }
        let told = ask();
        let seconds = asked.elapsed().as_secs_f64();
        asked = Instant::now();
        let text = match &told {
            Ok(now) => {
                let (columns, rows) = size(&stdout()).unwrap_or((usize::MAX, usize::MAX));
                let text = frame(&options.url.base(), &before, now, seconds, columns);
                fit(&text, columns, rows)
            }
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

/// Waits for the next frame. True: the one who watches has seen enough.
fn is_ended(keys: Option<&Keys>, signals: &Signals) -> bool {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        match keys.map(|keys| keys.next(STEP_MS)) {
            Some(Ok(Some(b'q' | b'Q')) | Err(_)) => return true,
            Some(Ok(_)) => {
                if signals.wait_for(0).is_some() {
                    return true;
                }
            }
            None => {
                if signals.wait_for(STEP_MS as u32).is_some() {
                    return true;
                }
            }
        }
    }
    false
}

/// Cuts a text to so many columns and rows: a line that wraps would move the others away.
fn fit(text: &str, columns: usize, rows: usize) -> String {
    let mut out = String::with_capacity(text.len());
    // The last row stays free: its line feed would move the first one away.
    for line in text.lines().take(rows.saturating_sub(1).max(1)) {
        match line.char_indices().nth(columns) {
            Some(_) => {
                out.extend(line.chars().take(columns.saturating_sub(1)));
                out.push('…');
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
}

/// One frame: what `now` says, and rates since `before`.
fn frame(base: &str, before: &Value, now: &Value, seconds: f64, columns: usize) -> String {
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
    models(&mut out, now, columns);
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

/// The columns beside a model's name: heading, width, and which go first where there is no room.
const COLUMNS: [(&str, usize, u8); 8] = [
    ("requests", 12, 7),
    ("failed", 9, 6),
    ("tokens in", 13, 4),
    ("cached", 13, 0),
    ("tokens out", 13, 5),
    ("cost $", 10, 1),
    ("first p50", 10, 3),
    ("p99", 10, 2),
];

fn models(out: &mut String, now: &Value, columns: usize) {
    let Some(models) = now.pointer("/models").and_then(Value::as_object) else { return };
    if models.is_empty() {
        return;
    }
    let mut shown: Vec<_> = COLUMNS.iter().enumerate().collect();
    let width = |shown: &[(usize, &(&str, usize, u8))]| -> usize {
        shown.iter().map(|(_, (_, width, _))| width + 1).sum()
    };
    while !shown.is_empty() && width(&shown) + NAME_COLUMNS.1 > columns {
        let least = shown.iter().map(|(_, (.., rank))| *rank).min();
        shown.retain(|(_, (.., rank))| Some(*rank) != least);
    }
    let longest = models.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let room = columns.saturating_sub(width(&shown)).min(NAME_COLUMNS.0);
    let name_columns = room.min(longest.max(NAME_COLUMNS.1));
    let mut line = |name: &str, cells: &[String; COLUMNS.len()]| {
        let name: String = name.chars().take(name_columns).collect();
        let _ = write!(out, "{name:<name_columns$}");
        for (index, (_, width, _)) in &shown {
            let _ = write!(out, " {:>width$}", cells[*index]);
        }
        out.push('\n');
    };
    line("", &std::array::from_fn(|_| String::new()));
    line("model", &COLUMNS.map(|(heading, ..)| heading.to_owned()));
    for (name, model) in models.iter().take(MODELS_MAX) {
        let whole = |path: &str| count(number(model, path) as u64);
        let ms = |path: &str| duration(number(model, path) * 1e3);
        let cells = [
            whole("/requests"),
            whole("/failures"),
            whole("/prompt_tokens"),
            whole("/cached_tokens"),
            whole("/completion_tokens"),
            figures(number(model, "/cost_usd")),
            ms("/first_token_ms/p50"),
            ms("/latency_ms/p99"),
        ];
        line(&plain(name), &cells);
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
        let text = frame("http://h", &before, &now, 2.0, 120);
        assert!(text.contains("answers     100/s"), "{text}");
        assert!(text.contains("1 234"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        // A server that was started anew.
        let fresh = serde_json::json!({ "uptime_seconds": 1, "responses": 10 });
        assert!(frame("http://h", &now, &fresh, 1.0, 80).contains("answers     10.0/s"));
    }

    /// Wrong: lines wrap and push each other out of a narrow terminal.
    #[test]
    fn a_frame_fits_its_terminal() {
        let long = "m".repeat(60);
        let mut now = serde_json::json!({ "uptime_seconds": 7, "state": "running" });
        now["models"][&long] = serde_json::json!({ "requests": 1_234_567, "cost_usd": 1.5 });
        for columns in [1, 20, 40, 79, 80, 120, 200] {
            let text = frame("http://h", &now, &now, 1.0, columns);
            let text = fit(&text, columns, 50);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{text}");
        }
        let table = |columns| frame("http://h", &now, &now, 1.0, columns);
        assert!(table(60).contains("requests") && !table(60).contains("cost $"));
        assert!(table(140).contains("1.50") && table(140).contains(&long[..40]));
        assert!(table(140).contains("cached") && !table(140).contains(&long[..41]));
        assert_eq!(fit("a\nb\nc\nd\n", 80, 3), "a\nb\n");
        assert_eq!(fit("abcdef\n", 4, 9), "abc…\n");
    }

    #[test]
    fn words_are_understood() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from));
        assert_eq!(parse("").unwrap().url.base(), "http://127.0.0.1:8080");
        assert!(parse("--once h:81").unwrap().is_once);
        assert!(parse("a b").is_err() && parse("--x").is_err());
    }
}
