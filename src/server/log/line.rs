//! One line of the log, put together in buffers that its thread keeps.
//!
//! A line for each request is the dearest thing that a server logs. So it is written once, from left
//! to right, into memory that is there already; numbers and plain text go past the formatter.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::base::limits;
use crate::http::{date, encode};

/// How a line is to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    /// As text, without time and level: whoever takes it has its own.
    Bare,
}

/// Buffers of one thread.
#[derive(Default)]
struct Kept {
    line: Vec<u8>,
    /// Of a value that only the formatter can write.
    value: String,
}

thread_local! {
    // Taken while a line is made: a host's callback that logs itself finds empty ones.
    static KEPT: Cell<Kept> = const { Cell::new(Kept { line: Vec::new(), value: String::new() }) };
}

/// Has `take` see the line of this event; in text and JSON it ends with a line feed.
pub(super) fn with_line(event: &Event<'_>, form: Form, unix_ms: i64, take: impl FnOnce(&[u8])) {
    with_kept(
        |line| {
            line.begin(*event.metadata().level(), unix_ms);
            event.record(line);
            line.end();
            take(&line.kept.line);
        },
        form,
    );
}

/// A line that the log says of itself.
pub(super) fn notice(is_json: bool, unix_ms: i64, text: &str) -> Vec<u8> {
    let form = if is_json { Form::Json } else { Form::Text };
    let mut line = Line { kept: Kept::default(), form, is_empty: true };
    line.begin(Level::WARN, unix_ms);
    line.add_message(text);
    line.end();
    line.kept.line
}

fn with_kept(make: impl FnOnce(&mut Line), form: Form) {
    let mut kept = KEPT.try_with(Cell::take).unwrap_or_default();
    kept.line.clear();
    let mut line = Line { kept, form, is_empty: true };
    make(&mut line);
    let mut kept = line.kept;
    kept.line.shrink_to(limits::POOLED_BUFFER_BYTES_MAX);
    kept.value.shrink_to(limits::POOLED_BUFFER_BYTES_MAX);
    // A thread that ends has no place for it any more.
    let _ = KEPT.try_with(|place| place.set(kept));
}

/// Takes the parts of an event in their order; `tracing` hands over the message first.
struct Line {
    kept: Kept,
    form: Form,
    /// Nothing stands in it yet that the next part must be kept apart from.
    is_empty: bool,
}

impl Line {
    fn begin(&mut self, level: Level, unix_ms: i64) {
        let (text, json) = match level {
            Level::ERROR => ("ERROR", "error"),
            Level::WARN => ("WARN ", "warn"),
            Level::INFO => ("INFO ", "info"),
            Level::DEBUG => ("DEBUG", "debug"),
            Level::TRACE => ("TRACE", "trace"),
        };
        let out = &mut self.kept.line;
        match self.form {
            Form::Bare => return,
            Form::Text => {
                date::rfc3339_ms(out, unix_ms);
                out.push(b' ');
                out.extend_from_slice(text.as_bytes());
            }
            Form::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                date::rfc3339_ms(out, unix_ms);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(json.as_bytes());
                out.push(b'"');
            }
        }
        self.is_empty = false;
    }

    fn end(&mut self) {
        match self.form {
            Form::Bare => {}
            Form::Text => self.kept.line.push(b'\n'),
            Form::Json => self.kept.line.extend_from_slice(b"}\n"),
        }
    }

    fn part(&mut self) {
        match self.form {
            Form::Json => self.kept.line.push(b','),
            _ if !self.is_empty => self.kept.line.push(b' '),
            _ => {}
        }
        self.is_empty = false;
    }

    /// Names are ours: nothing in them needs an escape.
    fn name(&mut self, name: &str) {
        self.part();
        let out = &mut self.kept.line;
        if self.form == Form::Json {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
        } else {
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
        }
    }

    fn add_message(&mut self, text: &str) {
        if self.form == Form::Json {
            self.name("message");
            quote_into(&mut self.kept.line, text);
        } else {
            self.part();
            escape_into(&mut self.kept.line, text);
        }
    }

    fn add(&mut self, name: &str, value: &str) {
        if name == "message" {
            return self.add_message(value);
        }
        self.name(name);
        let out = &mut self.kept.line;
        // A blank would end the value for whoever takes the line apart.
        if self.form == Form::Json || value.is_empty() || marks(value) & SPLITS != 0 {
            quote_into(out, value);
        } else {
            escape_into(out, value);
        }
    }

    fn add_shown(&mut self, name: &str, value: &dyn std::fmt::Debug) {
        let mut text = std::mem::take(&mut self.kept.value);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.add(name, &text);
        self.kept.value = text;
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field.name());
        encode::decimal(&mut self.kept.line, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field.name());
        if value < 0 {
            self.kept.line.push(b'-');
        }
        encode::decimal(&mut self.kept.line, value.unsigned_abs());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field.name());
        // JSON knows no infinity; the product logs none.
        let _ = write!(self.kept.line, "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field.name());
        self.kept.line.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add_shown(field.name(), value);
    }
}

/// Not plain: JSON escapes it, a terminal obeys it, or it is beyond ASCII.
const RARE: u8 = 1;
/// Takes a text line apart.
const SPLITS: u8 = 2;

static MARKS: [u8; 256] = {
    let mut marks = [RARE; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        marks[byte] = 0;
        byte += 1;
    }
    marks[b'\\' as usize] = RARE;
    marks[b'"' as usize] = RARE | SPLITS;
    marks[b' ' as usize] = SPLITS;
    marks[b'=' as usize] = SPLITS;
    marks
};

/// What stands anywhere in this text.
fn marks(text: &str) -> u8 {
    text.bytes().fold(0, |marks, byte| marks | MARKS[usize::from(byte)])
}

/// A JSON string. What could forge a line, move a cursor or turn text around is escaped.
fn quote_into(out: &mut Vec<u8>, text: &str) {
    if marks(text) & RARE == 0 {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            // None of them is beyond the first plane.
            _ if is_hidden(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Text for one line of a terminal: control characters could forge lines or move the cursor.
fn escape_into(out: &mut Vec<u8>, text: &str) {
    if marks(text) & RARE == 0 || !text.chars().any(is_hidden) {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        if is_hidden(c) {
            drop(write!(out, "{}", c.escape_default()));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Control characters, of which terminals also know those beyond ASCII, line ends of Unicode, and
/// marks that turn the direction of text.
fn is_hidden(c: char) -> bool {
    let is_mark =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, name: &str, value: &str) -> String {
        let mut line = Line { kept: Kept::default(), form, is_empty: true };
        line.add(name, value);
        String::from_utf8(line.kept.line).unwrap()
    }

    /// Wrong: a name that a client chose moves the cursor of whoever reads the log, or turns a line
    /// around.
    #[test]
    fn nothing_that_a_terminal_obeys_is_written() {
        for hostile in [
            "\u{1b}[2J",
            "\u{9b}31m",
            "\u{7f}",
            "\u{85}",
            "\u{202e}",
            "\u{2028}",
            "\u{2066}",
            "\n",
            "a\"b\\c",
            "\\",
            "\"",
        ] {
            for value in [hostile.to_owned(), format!("with a blank {hostile}")] {
                for name in ["model", "message"] {
                    for form in [Form::Json, Form::Text, Form::Bare] {
                        let line = written(form, name, &value);
                        assert!(!line.chars().any(is_hidden), "{value:?}: {line}");
                    }
                    let line = format!("{{\"a\":1{}}}", written(Form::Json, name, &value));
                    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(read[name], value, "{line}");
                }
            }
        }
    }

    /// Wrong: what takes a line of text apart reads one value as two, or none.
    #[test]
    fn a_value_that_would_come_apart_is_quoted() {
        let check = |value, expected: &str| {
            assert_eq!(written(Form::Text, "path", value), format!("path={expected}"));
        };
        check("/v1/chat", "/v1/chat");
        check("a\\b", "a\\b");
        check("größer", "größer");
        check("", "\"\"");
        check("two words", "\"two words\"");
        check("a=b", "\"a=b\"");
        check("größer 日本", "\"größer 日本\"");
        check("say \"it\"", "\"say \\\"it\\\"\"");
        check("a\tb", "a\\tb");
    }

    #[test]
    fn a_notice_is_a_line_of_its_own() {
        let text = String::from_utf8(notice(false, 784_111_777_250, "3 lines")).unwrap();
        assert_eq!(text, "1994-11-06T08:49:37.250Z WARN  3 lines\n");
        let text = String::from_utf8(notice(true, 784_111_777_250, "3 lines")).unwrap();
        let expected =
            "{\"time\":\"1994-11-06T08:49:37.250Z\",\"level\":\"warn\",\"message\":\"3 lines\"}\n";
        assert_eq!(text, expected);
    }
}
