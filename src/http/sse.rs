//! Server-sent events (WHATWG HTML, "Server-sent events"): reading and writing.
//!
//! Events are framed on bytes before anything is decoded, so a stream may be cut anywhere, within
//! a character too. Lines end in LF, CR LF or CR; a byte order mark at the start is skipped.
//! A field that lies whole in one input is not copied: only what is cut between two inputs, and
//! data of several lines, is kept.
//!
//! One departure from the standard: an event that the end of the stream cuts off before its blank
//! line is delivered by [`SseReader::finish`], because providers do end their last event so.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SseEvent<'a> {
    /// Its type; empty means `message`.
    pub event: &'a [u8],
    /// Its data, lines joined by LF; may be empty.
    pub data: &'a [u8],
    /// The last id the stream has given, here or earlier; empty if none.
    pub id: &'a [u8],
    /// The reconnection time it sets, in milliseconds.
    pub retry: Option<u64>,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SseError {
    /// One event has more bytes than allowed.
    EventTooLarge,
}

impl fmt::Display for SseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SseError::EventTooLarge => f.write_str("a server-sent event is too large"),
        }
    }
}

impl std::error::Error for SseError {}

/// Reads a stream of events.
#[derive(Clone, Debug)]
pub struct SseReader {
    max_event_bytes: usize,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Data of the current event, a LF after each line.
    data: Vec<u8>,
    event: Vec<u8>,
    id: Vec<u8>,
    retry: Option<u64>,
    /// Bytes of the whole lines of the current event, comments left out.
    event_bytes: usize,
    has_data: bool,
    /// The last input ended in CR: a LF that comes now belongs to it.
    skip_lf: bool,
    /// Bytes of a byte order mark seen so far; `BOM.len()` once it is decided.
    bom: usize,
    failed: bool,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Data of the current event within one input, so far a single line.
type Direct = Option<Range<usize>>;

impl SseReader {
    /// A reader that refuses events of more than `max_event_bytes`, line ends included.
    pub fn new(max_event_bytes: usize) -> SseReader {
        SseReader {
            max_event_bytes,
            line: Vec::new(),
            data: Vec::new(),
            event: Vec::new(),
            id: Vec::new(),
            retry: None,
            event_bytes: 0,
            has_data: false,
            skip_lf: false,
            bom: 0,
            failed: false,
        }
    }

    /// Takes up input and calls `on_event` for each event that it completes. After an error every
    /// further call fails too.
    pub fn feed(
        &mut self,
        input: &[u8],
        mut on_event: impl FnMut(SseEvent<'_>),
    ) -> Result<(), SseError> {
        if self.failed {
            return Err(SseError::EventTooLarge);
        }
        let result = self.feed_lines(input, &mut on_event);
        self.failed = result.is_err();
        result
    }

    /// The stream has ended: an event without its blank line is delivered if it has data.
    pub fn finish(&mut self, mut on_event: impl FnMut(SseEvent<'_>)) {
        if self.failed {
            return;
        }
        if self.bom < BOM.len() {
            // A mark that was cut off is no mark.
            self.line.extend_from_slice(BOM.get(..self.bom).unwrap_or_default());
            self.bom = BOM.len();
        }
        let line = std::mem::take(&mut self.line);
        let mut direct = None;
        self.take_line(&line, 0..line.len(), &mut direct);
        self.end_event(direct, &line, &mut on_event);
    }

    fn feed_lines(
        &mut self,
        input: &[u8],
        on_event: &mut impl FnMut(SseEvent<'_>),
    ) -> Result<(), SseError> {
        let mut position = self.skip_bom(input);
        let mut direct: Direct = None;
        loop {
            if self.skip_lf && position < input.len() {
                self.skip_lf = false;
                position += usize::from(input.get(position) == Some(&b'\n'));
            }
            let rest = input.get(position..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.check_size(rest.len())?;
                self.keep(direct, input);
                self.line.extend_from_slice(rest);
                return Ok(());
            };
            self.check_size(length)?;
            self.skip_lf = rest.get(length) == Some(&b'\r');
            if !self.line.is_empty() {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(rest.get(..length).unwrap_or_default());
                // This line does not lie in the input, so its data cannot be lent from there.
                self.take_line(&line, 0..line.len(), &mut direct);
                self.keep(direct.take(), &line);
                line.clear();
                self.line = line;
            } else if length == 0 {
                self.end_event(direct.take(), input, on_event);
            } else {
                self.take_line(input, position..position + length, &mut direct);
            }
            position += length + 1;
        }
    }

    /// The position behind a byte order mark; keeps count of a mark that is cut.
    fn skip_bom(&mut self, input: &[u8]) -> usize {
        let mut position = 0;
        while let Some(expected) = BOM.get(self.bom) {
            match input.get(position) {
                None => break,
                Some(byte) if byte == expected => {
                    self.bom += 1;
                    position += 1;
                }
                Some(_) => {
                    // Not a mark after all: what came of it is text.
                    self.line.extend_from_slice(BOM.get(..self.bom).unwrap_or_default());
                    self.bom = BOM.len();
                }
            }
        }
        position
    }

    /// Refuses an event that is too large with `more` bytes in its current line.
    fn check_size(&self, more: usize) -> Result<(), SseError> {
        let bytes = self.event_bytes.saturating_add(self.line.len()).saturating_add(more);
        if bytes > self.max_event_bytes { Err(SseError::EventTooLarge) } else { Ok(()) }
    }

    /// Interprets the line at `range` of `input`. Its data is lent through `direct` as long as it
    /// is the first of its event; a second line makes a copy of both.
    fn take_line(&mut self, input: &[u8], range: Range<usize>, direct: &mut Direct) {
        let end = range.end;
        let line = input.get(range).unwrap_or_default();
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(colon).unwrap_or((line, &[]));
        let value = match rest {
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            _ => &[],
        };
        if name.is_empty() {
            return;
        }
        self.event_bytes = self.event_bytes.saturating_add(line.len() + 1);
        match name {
            b"data" if !self.has_data => {
                self.has_data = true;
                *direct = Some(end - value.len()..end);
            }
            b"data" => {
                self.keep(direct.take(), input);
                self.keep(Some(end - value.len()..end), input);
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                self.retry = Some(text.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }

    /// Copies lent data before the input it lies in goes away.
    fn keep(&mut self, direct: Direct, input: &[u8]) {
        if let Some(range) = direct {
            self.data.extend_from_slice(input.get(range).unwrap_or_default());
            self.data.push(b'\n');
        }
    }

    /// A blank line: the event is delivered if it has data, and forgotten.
    fn end_event(&mut self, direct: Direct, input: &[u8], on_event: &mut impl FnMut(SseEvent<'_>)) {
        if self.has_data {
            let data = match direct {
                Some(range) => input.get(range).unwrap_or_default(),
                None => self.data.strip_suffix(b"\n").unwrap_or_default(),
            };
            on_event(SseEvent { event: &self.event, data, id: &self.id, retry: self.retry });
            self.retry = None;
        }
        self.event.clear();
        self.data.clear();
        self.has_data = false;
        self.event_bytes = 0;
    }
}

/// Appends one event. Data of several lines becomes several `data:` lines. What could end the
/// line of the event's name (CR, LF) or is not allowed in it (NUL) is left out.
pub fn write_event(out: &mut Vec<u8>, event: Option<&str>, data: &[u8]) {
    out.reserve(data.len() + 8);
    if let Some(name) = event {
        out.extend_from_slice(b"event: ");
        out.extend(name.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        out.push(b'\n');
    }
    let mut rest = data;
    while let Some(length) = memchr::memchr2(b'\n', b'\r', rest) {
        let (line, end) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        data_line(out, line);
        rest = match end {
            [b'\r', b'\n', tail @ ..] | [_, tail @ ..] => tail,
            [] => &[],
        };
    }
    data_line(out, rest);
    out.push(b'\n');
}

fn data_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
