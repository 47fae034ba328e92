//! Server-sent events framed on bytes, before anything is decoded: an event may be cut anywhere,
//! inside a character too. WHATWG HTML, section "Interpreting an event stream".
#![forbid(unsafe_code)]

use super::garbage;
use crate::base::error::Failure;

/// Largest event; images come in events too.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Is given each event's name and data.
pub(super) type OnEvent<'c> = &'c mut dyn FnMut(&[u8], &[u8]) -> Result<(), Failure>;

/// Collects bytes into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The data lines of the event that is not complete yet, joined by LF.
    data: Vec<u8>,
    has_data: bool,
    name: Vec<u8>,
    /// The last byte was CR: a LF right after it belongs to the same line end.
    after_cr: bool,
    began: bool,
}

impl Events {
    /// Takes in bytes; calls `on(name, data)` for each complete event that has data.
    pub(super) fn feed(&mut self, mut bytes: &[u8], on: OnEvent<'_>) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.after_cr)
            && let Some(rest) = bytes.strip_prefix(b"\n")
        {
            bytes = rest;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            let is_cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or(&[]);
            if is_cr {
                match bytes.strip_prefix(b"\n") {
                    Some(rest) => bytes = rest,
                    None => self.after_cr = bytes.is_empty(),
                }
            }
            if self.line.is_empty() {
                self.end_line(line, on)?;
            } else {
                self.grow(line.len())?;
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                let result = self.end_line(&whole, on);
                // The buffer goes back for the next cut line.
                whole.clear();
                self.line = whole;
                result?;
            }
        }
        self.grow(bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// The stream has ended: a last event without its blank line counts, as providers and proxies
    /// leave it out.
    pub(super) fn finish(&mut self, on: OnEvent<'_>) -> Result<(), Failure> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, on)?;
        }
        self.end_line(b"", on)
    }

    fn grow(&self, more: usize) -> Result<(), Failure> {
        if self.line.len() + self.data.len() + more > EVENT_BYTES_MAX {
            return Err(garbage("an event larger than 16 MiB"));
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], on: OnEvent<'_>) -> Result<(), Failure> {
        let line = match std::mem::replace(&mut self.began, true) {
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            true => line,
        };
        if line.is_empty() {
            let result = if self.has_data {
                on(&self.name, &self.data)
            } else {
                Ok(())
            };
            self.data.clear();
            self.name.clear();
            self.has_data = false;
            return result;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment: providers ping with them.
            Some(0) => return Ok(()),
            Some(colon) => {
                let value = line.get(colon + 1..).unwrap_or(&[]);
                (
                    line.get(..colon).unwrap_or(&[]),
                    value.strip_prefix(b" ").unwrap_or(value),
                )
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                self.grow(value.len())?;
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut events = Events::default();
        let mut on = |name: &[u8], data: &[u8]| {
            found.push((
                String::from_utf8(name.to_vec()).unwrap(),
                String::from_utf8(data.to_vec()).unwrap(),
            ));
            Ok(())
        };
        for chunk in chunks {
            events.feed(chunk, &mut on).unwrap();
        }
        events.finish(&mut on).unwrap();
        found
    }

    #[test]
    fn every_line_end_and_every_cut_gives_the_same_events() {
        let text = "\u{feff}: ping\nevent: a\ndata: é😀\ndata:two\n\nretry: 5\n\ndata: [DONE]";
        let expected = [
            ("a".to_owned(), "é😀\ntwo".to_owned()),
            (String::new(), "[DONE]".to_owned()),
        ];
        for end in ["\n", "\r\n", "\r"] {
            let bytes = text.replace('\n', end).into_bytes();
            assert_eq!(collect(&[&bytes]), expected, "{end:?}");
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(collect(&[head, tail]), expected, "{end:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(collect(&single), expected, "{end:?} byte by byte");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];
        let mut on = |_: &[u8], _: &[u8]| Ok(());
        let failed = (0..20).any(|_| events.feed(&piece, &mut on).is_err());
        assert!(failed);
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert!((0..20).any(|_| events.feed(&line, &mut on).is_err()));
    }
}
