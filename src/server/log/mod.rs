//! The log of one server: `tracing` events to standard error, a file or the host's callback.
//!
//! A library sets no global subscriber. Each server carries a dispatch of its own, which its
//! threads install for themselves. Lines are written by a thread of their own ([`writer`]); the
//! host's callback is called where the event happens.

mod writer;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use parking_lot::RwLock;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use self::writer::Writer;
use crate::base::error::{Error, ErrorKind};
use crate::config::{Log, LogFormat, LogLevel};
use crate::http::date;
use crate::sys::clock;

/// Takes log lines on any thread.
pub trait LogSink: Send + Sync {
    /// One line: 1 error, 2 warning, 3 information, 4 debug, 5 trace; without time and level.
    fn line(&self, level: i32, message: &str);
}

/// Target of the lines that tell of requests. They are not a matter of the level.
pub(super) const ACCESS: &str = "neurohttp::access";

enum Sink {
    Writer(Writer),
    Host(Arc<dyn LogSink>),
}

/// All of it can change while the server runs. Relaxed: each is a switch by itself.
struct Lines {
    /// As [`level_number`].
    level: AtomicU8,
    json: AtomicBool,
    access: AtomicBool,
    sink: RwLock<Arc<Sink>>,
}

impl Lines {
    fn level(&self) -> Level {
        match self.level.load(Relaxed) {
            1 => Level::ERROR,
            2 => Level::WARN,
            3 => Level::INFO,
            4 => Level::DEBUG,
            _ => Level::TRACE,
        }
    }
}

/// Opens the log file of `dispatch` anew, after a rotation. Without a file it does nothing.
pub(super) fn reopen(dispatch: &Dispatch) {
    if let Some(lines) = dispatch.downcast_ref::<Lines>()
        && let Sink::Writer(writer) = &**lines.sink.read()
    {
        writer.reopen();
    }
}

/// Another place for lines, opened and not yet used.
pub(super) struct NewPlace(Writer);

/// Opens what `after` names, unless it is what `before` names.
///
/// # Errors
/// `Io` when the file cannot be opened.
pub(super) fn open_place(before: &Log, after: &Log) -> Result<Option<NewPlace>, Error> {
    if before.file == after.file {
        return Ok(None);
    }
    writer(after).map(|writer| Some(NewPlace(writer)))
}

/// Has `dispatch` follow other settings. A host that takes the lines keeps taking them.
pub(super) fn renew(dispatch: &Dispatch, log: &Log, place: Option<NewPlace>) {
    let Some(lines) = dispatch.downcast_ref::<Lines>() else { return };
    lines.level.store(number_of(log.level), Relaxed);
    lines.json.store(log.format == LogFormat::Json, Relaxed);
    lines.access.store(log.access, Relaxed);
    let is_writer = matches!(**lines.sink.read(), Sink::Writer(_));
    if let Some(NewPlace(writer)) = place
        && is_writer
    {
        let old = std::mem::replace(&mut *lines.sink.write(), Arc::new(Sink::Writer(writer)));
        // Waits for what was handed over, where no lock is held.
        drop(old);
    }
    // What is not wanted is not even asked about: every place that logs asks anew.
    tracing::callsite::rebuild_interest_cache();
}

fn writer(log: &Log) -> Result<Writer, Error> {
    match log.file.is_empty() {
        true => Ok(Writer::stderr()),
        false => Writer::file(&log.file)
            .map_err(|error| Error::new(ErrorKind::Io, format!("log.file {}: {error}", log.file))),
    }
}

fn number_of(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 1,
        LogLevel::Warn => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
        LogLevel::Trace => 5,
    }
}

/// Makes the folder of the log's file, as the original's build did. When it cannot be made, opening the
/// file says why.
pub(super) fn make_folder(log: &Log) {
    if let Some(folder) = std::path::Path::new(&log.file).parent() {
        drop(std::fs::create_dir_all(folder));
    }
}

/// The dispatch of a server with these settings.
///
/// # Errors
/// `Io` when the file cannot be opened.
pub(super) fn dispatch(log: &Log, host: Option<Arc<dyn LogSink>>) -> Result<Dispatch, Error> {
    let sink = match host {
        Some(host) => Sink::Host(host),
        None => Sink::Writer(writer(log)?),
    };
    Ok(Dispatch::new(Lines {
        level: AtomicU8::new(number_of(log.level)),
        json: AtomicBool::new(log.format == LogFormat::Json),
        access: AtomicBool::new(log.access),
        sink: RwLock::new(Arc::new(sink)),
    }))
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == ACCESS {
            return self.access.load(Relaxed);
        }
        *metadata.level() <= self.level() && metadata.target().starts_with("neurohttp")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        let level = self.level();
        Some(if self.access.load(Relaxed) { level.max(Level::INFO) } else { level }.into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let json = self.json.load(Relaxed);
        let mut line = Line { json, message: String::new(), fields: String::new() };
        event.record(&mut line);
        // A host's callback runs without the lock.
        let sink = Arc::clone(&self.sink.read());
        match &*sink {
            Sink::Host(host) => {
                host.line(level_number(level), &format!("{}{}", line.message, line.fields));
            }
            Sink::Writer(writer) if json => {
                let line = format!(
                    "{{\"time\":\"{}\",\"level\":\"{}\",\"message\":{}{}}}\n",
                    now(),
                    level.as_str().to_ascii_lowercase(),
                    quoted(&line.message),
                    line.fields
                );
                writer.line(&line, true);
            }
            Sink::Writer(writer) => {
                let line = format!("{} {:5} {}{}\n", now(), level, line.message, line.fields);
                writer.line(&line, false);
            }
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn level_number(level: Level) -> i32 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// RFC 3339, UTC, with milliseconds.
fn now() -> String {
    let ms = clock::unix_ms();
    let text = date::rfc3339(ms / 1_000);
    format!("{}.{:03}Z", text.trim_end_matches('Z'), ms % 1_000)
}

/// A JSON string. What could forge a line, move a cursor or turn text around is escaped.
fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    crate::json::escape_into(&mut out, text);
    let out = String::from_utf8(out).unwrap_or_default();
    if !out.chars().any(is_hidden) {
        return out;
    }
    let mut plain = String::with_capacity(out.len() + 8);
    for c in out.chars() {
        if is_hidden(c) {
            // None of them is beyond the first plane.
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Control characters, of which terminals also know those beyond ASCII, line ends of Unicode, and
/// marks that turn the direction of text.
fn is_hidden(c: char) -> bool {
    let is_mark =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_mark
}

/// What the log says of itself.
fn notice(is_json: bool, text: &str) -> String {
    match is_json {
        true => {
            format!("{{\"time\":\"{}\",\"level\":\"warn\",\"message\":{}}}\n", now(), quoted(text))
        }
        false => format!("{} WARN  {}\n", now(), escape_controls(text)),
    }
}

/// Collects the parts of an event.
struct Line {
    json: bool,
    message: String,
    fields: String,
}

impl Line {
    fn add(&mut self, name: &str, value: &str) {
        if name == "message" {
            self.message = if self.json { value.to_owned() } else { escape_controls(value) };
        } else if self.json {
            let _ = write!(self.fields, ",{}:{}", quoted(name), quoted(value));
        } else if value.is_empty() || value.contains([' ', '"', '=']) {
            // A blank would end the value for whoever takes the line apart.
            let _ = write!(self.fields, " {name}={}", quoted(value));
        } else {
            let _ = write!(self.fields, " {name}={}", escape_controls(value));
        }
    }

    fn add_number(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let _ = match self.json {
            true => write!(self.fields, ",{}:{value}", quoted(name)),
            false => write!(self.fields, " {name}={value}"),
        };
    }
}

/// Text for one line of a terminal: control characters could forge lines or move the cursor.
fn escape_controls(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_number(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_number(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinity; the product logs none.
        self.add_number(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_number(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Kept(Mutex<Vec<(i32, String)>>);

    impl LogSink for Kept {
        fn line(&self, level: i32, message: &str) {
            self.0.lock().push((level, message.to_owned()));
        }
    }

    #[test]
    fn events_reach_the_host_and_hostile_bytes_are_escaped() {
        let kept = Arc::new(Kept(Mutex::new(Vec::new())));
        let log = Log::default();
        let dispatch = dispatch(&log, Some(Arc::clone(&kept) as Arc<dyn LogSink>)).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::warn!(peer = "a\nb", "line\r\nforged");
            tracing::debug!("below the level");
        });
        let lines = kept.0.lock();
        assert_eq!(*lines, [(2, "line\\r\\nforged peer=a\\nb".to_owned())]);
    }

    /// Wrong: a name that a client chose moves the cursor of whoever reads the log, or turns a line
    /// around.
    #[test]
    fn nothing_that_a_terminal_obeys_is_written() {
        for hostile in
            ["\u{1b}[2J", "\u{9b}31m", "\u{7f}", "\u{85}", "\u{202e}", "\u{2028}", "\u{2066}"]
        {
            for value in [hostile.to_owned(), format!("with a blank {hostile}")] {
                for json in [true, false] {
                    let mut line = Line { json, message: String::new(), fields: String::new() };
                    line.add("model", &value);
                    assert!(!line.fields.chars().any(is_hidden), "{value:?}: {}", line.fields);
                }
                let read: String = serde_json::from_str(&quoted(&value)).unwrap();
                assert_eq!(read, value);
            }
        }
        assert_eq!(quoted("größer 日本"), "\"größer 日本\"");
    }
}
