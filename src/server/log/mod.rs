//! The log of one server: `tracing` events to standard error, a file or the host's callback.
//!
//! A library sets no global subscriber. Each server carries a dispatch of its own, which its
//! threads install for themselves. Lines are made by [`line`] and written by a thread of their own
//! ([`writer`]); the host's callback is called where the event happens.

mod line;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use self::line::Form;
use self::writer::{Place, Writer};
use crate::base::error::{Error, ErrorKind};
use crate::config::{Log, LogFormat, LogLevel};
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
    /// Lines that were dropped or could not be written.
    lost: Arc<AtomicU64>,
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
pub(super) struct NewPlace(Place);

/// Opens what `after` names, unless it is what `before` names.
///
/// # Errors
/// `Io` when the file cannot be opened.
pub(super) fn open_place(before: &Log, after: &Log) -> Result<Option<NewPlace>, Error> {
    if before.file == after.file {
        return Ok(None);
    }
    place(after).map(|place| Some(NewPlace(place)))
}

/// Has `dispatch` follow other settings. A host that takes the lines keeps taking them.
pub(super) fn renew(dispatch: &Dispatch, log: &Log, place: Option<NewPlace>) {
    let Some(lines) = dispatch.downcast_ref::<Lines>() else { return };
    lines.level.store(number_of(log.level), Relaxed);
    lines.json.store(log.format == LogFormat::Json, Relaxed);
    lines.access.store(log.access, Relaxed);
    let is_writer = matches!(**lines.sink.read(), Sink::Writer(_));
    if let Some(NewPlace(place)) = place
        && is_writer
    {
        let writer = Writer::new(place, Arc::clone(&lines.lost));
        let old = std::mem::replace(&mut *lines.sink.write(), Arc::new(Sink::Writer(writer)));
        // Waits for what was handed over, where no lock is held.
        drop(old);
    }
    // What is not wanted is not even asked about: every place that logs asks anew.
    tracing::callsite::rebuild_interest_cache();
}

fn place(log: &Log) -> Result<Place, Error> {
    match log.file.is_empty() {
        true => Ok(Place::Stderr),
        false => Place::file(&log.file)
            .map_err(|error| Error::new(ErrorKind::Io, format!("log.file {}: {error}", log.file))),
    }
}

/// How many lines of `dispatch` were dropped or could not be written, and go on being counted.
pub(super) fn lost(dispatch: &Dispatch) -> Arc<AtomicU64> {
    dispatch.downcast_ref().map(|lines: &Lines| Arc::clone(&lines.lost)).unwrap_or_default()
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
    let lost = Arc::<AtomicU64>::default();
    let sink = match host {
        Some(host) => Sink::Host(host),
        None => Sink::Writer(Writer::new(place(log)?, Arc::clone(&lost))),
    };
    Ok(Dispatch::new(Lines {
        level: AtomicU8::new(number_of(log.level)),
        json: AtomicBool::new(log.format == LogFormat::Json),
        access: AtomicBool::new(log.access),
        sink: RwLock::new(Arc::new(sink)),
        lost,
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
        // A host's callback runs without the lock.
        let sink = Arc::clone(&self.sink.read());
        match &*sink {
            Sink::Host(host) => line::with_line(event, Form::Bare, 0, |line| {
                host.line(level_number(*event.metadata().level()), &String::from_utf8_lossy(line));
            }),
            Sink::Writer(writer) => {
                let is_json = self.json.load(Relaxed);
                let form = if is_json { Form::Json } else { Form::Text };
                line::with_line(event, form, clock::unix_ms(), |line| writer.line(line, is_json));
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
