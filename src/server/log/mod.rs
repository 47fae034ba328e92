//! The log of one server: `tracing` events to standard error, a file or the host's callback.
//!
//! A library sets no global subscriber. Each server carries a dispatch of its own, which its
//! threads install for themselves. Lines are written by a thread of their own ([`writer`]); the
//! host's callback is called where the event happens.

mod writer;

use std::fmt::Write as _;
use std::sync::Arc;

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

struct Lines {
    level: Level,
    json: bool,
    sink: Sink,
    access: bool,
}

/// Opens the log file of `dispatch` anew, after a rotation. Without a file it does nothing.
pub(super) fn reopen(dispatch: &Dispatch) {
    if let Some(Lines { sink: Sink::Writer(writer), .. }) = dispatch.downcast_ref::<Lines>() {
        writer.reopen();
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
        None if log.file.is_empty() => Sink::Writer(Writer::stderr()),
        None => Sink::Writer(Writer::file(&log.file).map_err(|error| {
            Error::new(ErrorKind::Io, format!("log.file {}: {error}", log.file))
        })?),
    };
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    Ok(Dispatch::new(Lines {
        level,
        json: log.format == LogFormat::Json,
        sink,
        access: log.access,
    }))
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == ACCESS {
            return self.access;
        }
        *metadata.level() <= self.level && metadata.target().starts_with("neurohttp")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(if self.access { self.level.max(Level::INFO) } else { self.level }.into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let mut line = Line { json: self.json, message: String::new(), fields: String::new() };
        event.record(&mut line);
        match &self.sink {
            Sink::Host(host) => {
                host.line(level_number(level), &format!("{}{}", line.message, line.fields));
            }
            Sink::Writer(writer) if self.json => writer.line(&format!(
                "{{\"time\":\"{}\",\"level\":\"{}\",\"message\":{}{}}}\n",
                now(),
                level.as_str().to_ascii_lowercase(),
                quoted(&line.message),
                line.fields
            )),
            Sink::Writer(writer) => {
                writer.line(&format!("{} {:5} {}{}\n", now(), level, line.message, line.fields));
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

/// A JSON string. Control characters, also those of a hostile peer, are escaped.
fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    crate::json::escape_into(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
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
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
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
}
