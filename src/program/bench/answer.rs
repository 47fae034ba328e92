//! One answer on its way: its head, its body's end, the events of a stream.

use neurohttp::http::framing::BodyDecoder;
use neurohttp::http::head::{HeadLimits, Progress, ResponseHead, parse_response};
use neurohttp::http::method::Method;
use neurohttp::http::sse::SseReader;

use super::tally::{Tally, Trouble};

/// A larger event is a mistake of whoever sends it.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Why an answer cannot be read on.
pub(super) type Failed = (Trouble, String);

/// What it came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) status: u16,
    /// The connection may be used again.
    pub(super) stays: bool,
}

/// An answer being read.
pub(super) struct Answer {
    method: Method,
    wants_events: bool,
    head: ResponseHead,
    /// A head that has not come whole.
    partial: Vec<u8>,
    body: Option<BodyDecoder>,
    stream: Option<Stream>,
}

/// The events of one stream.
struct Stream {
    reader: SseReader,
    /// Events, those with text, and the last of these.
    events: u64,
    first_us: Option<u64>,
    last_us: u64,
    /// When the first event came, whatever it holds.
    any_us: Option<u64>,
    /// What an event of the kind error said.
    error: Option<String>,
}

impl Answer {
    pub(super) fn new(method: &str, wants_events: bool) -> Answer {
        Answer {
            method: Method::from_token(method.as_bytes()),
            wants_events,
            head: ResponseHead::new(),
            partial: Vec::new(),
            body: None,
            stream: None,
        }
    }

    /// Makes ready for the next one.
    pub(super) fn reset(&mut self) {
        self.head.reset();
        self.partial.clear();
        self.body = None;
        self.stream = None;
    }

    /// Takes up bytes that came `elapsed_us` after the request went out.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        elapsed_us: u64,
        tally: &mut Tally,
    ) -> Result<Option<Done>, Failed> {
        if self.body.is_some() {
            return self.feed_body(bytes, elapsed_us, tally);
        }
        let mut held = std::mem::take(&mut self.partial);
        let all = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        match self.feed_head(all)? {
            Ok(size) => self.feed_body(all.get(size..).unwrap_or_default(), elapsed_us, tally),
            Err(skipped) => {
                self.partial = all.get(skipped..).unwrap_or_default().to_vec();
                Ok(None)
            }
        }
    }

    /// Where the body begins, once the head is whole; until then how many bytes of interim answers
    /// before it are done with.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Result<usize, usize>, Failed> {
        let limits = HeadLimits { header_section: 65_536, ..HeadLimits::default() };
        let mut start = 0;
        loop {
            let rest = bytes.get(start..).unwrap_or_default();
            let progress = parse_response(rest, &limits, self.method, &mut self.head)
                .map_err(|error| (Trouble::Protocol, error.to_string()))?;
            if progress == Progress::Partial {
                // It is looked at anew when more has come.
                self.head.reset();
                return Ok(Err(start));
            }
            if self.head.status >= 200 {
                break;
            }
            start += self.head.size;
            self.head.reset();
        }
        self.body = Some(BodyDecoder::new(self.head.body));
        let kind = self.head.find_name(bytes.get(start..).unwrap_or_default(), b"content-type");
        let is_stream = kind
            .map(|field| field.value.of(bytes.get(start..).unwrap_or_default()))
            .any(|kind| kind.to_ascii_lowercase().starts_with(b"text/event-stream"));
        if self.wants_events && is_stream {
            self.stream = Some(Stream {
                reader: SseReader::new(EVENT_BYTES_MAX),
                events: 0,
                first_us: None,
                last_us: 0,
                any_us: None,
                error: None,
            });
        }
        Ok(Ok(start + self.head.size))
    }

    fn feed_body(
        &mut self,
        mut bytes: &[u8],
        elapsed_us: u64,
        tally: &mut Tally,
    ) -> Result<Option<Done>, Failed> {
        let Some(body) = self.body.as_mut() else { return Ok(None) };
        while !bytes.is_empty() && !body.is_done() {
            let piece =
                body.decode(bytes).map_err(|error| (Trouble::Protocol, error.to_string()))?;
            if let Some(stream) = &mut self.stream {
                let data = bytes.get(piece.data).unwrap_or_default();
                stream.feed(data, elapsed_us, tally)?;
            }
            bytes = bytes.get(piece.consumed..).unwrap_or_default();
        }
        if !body.is_done() {
            return Ok(None);
        }
        // Nothing was asked for that could follow.
        self.complete(bytes.is_empty(), tally).map(Some)
    }

    /// The connection has ended.
    pub(super) fn end(&mut self, tally: &mut Tally) -> Result<Done, Failed> {
        let closed = || (Trouble::Closed, "the connection was closed before the answer".to_owned());
        let body = self.body.as_mut().ok_or_else(closed)?;
        body.end_of_input().map_err(|error| (Trouble::Closed, error.to_string()))?;
        self.complete(false, tally)
    }

    fn complete(&mut self, stays: bool, tally: &mut Tally) -> Result<Done, Failed> {
        if let Some(mut stream) = self.stream.take() {
            if let Some(said) = stream.error.take() {
                return Err((Trouble::Stream, said));
            }
            let Some(any_us) = stream.any_us else {
                return Err((Trouble::Stream, "a stream ended without an event".to_owned()));
            };
            tally.first_event.record(stream.first_us.unwrap_or(any_us));
        } else if self.wants_events && (200..300).contains(&self.head.status) {
            return Err((Trouble::Stream, "the answer is no stream of events".to_owned()));
        }
        Ok(Done { status: self.head.status, stays: stays && self.head.keep_alive })
    }
}

impl Stream {
    fn feed(&mut self, data: &[u8], elapsed_us: u64, tally: &mut Tally) -> Result<(), Failed> {
        let Stream { reader, events, first_us, last_us, any_us, error } = self;
        let fed = reader.feed(data, |event| {
            if event.data.is_empty() || event.data == b"[DONE]" {
                return;
            }
            any_us.get_or_insert(elapsed_us);
            if event.event == b"error" || event.data.starts_with(b"{\"error\"") {
                let said = String::from_utf8_lossy(event.data);
                error.get_or_insert_with(|| said.chars().take(200).collect());
                return;
            }
            if !has_text(event.data) {
                return;
            }
            *events += 1;
            tally.events += 1;
            if first_us.is_none() {
                *first_us = Some(elapsed_us);
            } else {
                tally.gap.record(elapsed_us.saturating_sub(*last_us));
            }
            *last_us = elapsed_us;
        });
        fed.map_err(|error| (Trouble::Stream, error.to_string()))
    }
}

/// Whether an event brings a piece of text, in the shapes of the AI routes; one of another shape
/// counts whole.
fn has_text(data: &[u8]) -> bool {
    const TEXTS: [&[u8]; 5] =
        [b"\"content\"", b"\"text\"", b"\"delta\"", b"\"response\"", b"\"arguments\""];
    const SHAPES: [&[u8]; 2] = [b"\"choices\"", b"\"type\""];
    let is_text = |value: &[u8]| matches!(value, [b'"', next, ..] if *next != b'"');
    TEXTS.iter().any(|key| values(data, key).any(is_text))
        || SHAPES.iter().all(|key| values(data, key).next().is_none())
}

/// What stands behind each member of this name, blanks around its colon or not.
fn values<'a>(data: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    memchr::memmem::find_iter(data, key).filter_map(move |at| {
        let rest = data.get(at + key.len()..)?.trim_ascii_start().strip_prefix(b":")?;
        Some(rest.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer cut in every place.
    fn check(text: &str, events: bool, want: Result<Done, Trouble>) -> Tally {
        let mut last = Tally::default();
        for cut in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            let mut tally = Tally::default();
            let mut answer = Answer::new("GET", events);
            let fed = answer.feed(first, 10, &mut tally).and_then(|done| match done {
                Some(done) => Ok(Some(done)),
                None => answer.feed(second, 20, &mut tally),
            });
            let got = match fed {
                Ok(None) => answer.end(&mut tally),
                Ok(Some(done)) => Ok(done),
                Err(error) => Err(error),
            };
            assert_eq!(got.map_err(|(trouble, _)| trouble), want, "{text:?} cut at {cut}");
            last = tally;
        }
        last
    }

    #[test]
    fn answers_end_where_they_say() {
        let ok = |stays| Ok(Done { status: 200, stays });
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, ok(true));
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, ok(true));
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            false,
            ok(true),
        );
        check("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi", false, ok(false));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
            ok(true),
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", false, Err(Trouble::Closed));
        check("HTTP/1.1 200", false, Err(Trouble::Closed));
        check("SSH-2.0-x\r\n\r\n", false, Err(Trouble::Protocol));
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", true, Err(Trouble::Stream));
    }

    #[test]
    fn events_with_text_are_counted() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let chat = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let done = Ok(Done { status: 200, stays: false });
        let tally = check(&format!("{head}{chat}"), true, done);
        assert_eq!((tally.events, tally.first_event.count(), tally.gap.count()), (2, 1, 1));
        // As Python writes JSON.
        let spaced = chat.replace("\":", "\": ");
        assert_ne!(spaced, chat);
        let tally = check(&format!("{head}{spaced}"), true, done);
        assert_eq!((tally.events, tally.first_event.count(), tally.gap.count()), (2, 1, 1));
        let tally = check(&format!("{head}data: x\n\n: note\n\ndata: y\n\n"), true, done);
        assert_eq!(tally.events, 2);
        check(&format!("{head}event: error\ndata: {{}}\n\n"), true, Err(Trouble::Stream));
        check(&format!("{head}data: {{\"error\":{{}}}}\n\n"), true, Err(Trouble::Stream));
        check(head, true, Err(Trouble::Stream));
    }
}
