//! Whether a stream of events that passes unread has come to its end.
//!
//! Most streams end by their framing. One whose body ends with its connection ends alike when its
//! provider is done and when its process has died; only the mark of its dialect tells which.

use crate::ai::dialect::Dialect;

/// The last bytes of a stream: enough to see the mark that ends one.
#[derive(Default)]
pub(super) struct Last {
    bytes: [u8; 32],
}

impl Last {
    /// Bytes of it pass.
    pub(super) fn note(&mut self, data: &[u8]) {
        match data.last_chunk() {
            Some(last) => self.bytes = *last,
            None => {
                self.bytes.rotate_left(data.len());
                let from = self.bytes.len() - data.len();
                self.bytes[from..].copy_from_slice(data);
            }
        }
    }

    /// Whether they are the success mark of a dialect, as it stands at the end of a stream. In the
    /// text of an answer its quotes would be escaped, or a quote would follow.
    pub(super) fn is_end(&self) -> bool {
        const MARKS: [&[u8]; 4] = [
            b"\ndata: [DONE]",
            b"\ndata:[DONE]",
            b"{\"type\":\"message_stop\"}",
            b"{\"type\": \"message_stop\"}",
        ];
        MARKS.iter().any(|mark| self.bytes.trim_ascii_end().ends_with(mark))
    }
}

/// The longest mark less one byte: so much of a mark can lie before a cut.
const OVERLAP: usize = 20;

/// Looks for the end of one stream.
pub(super) struct Ending {
    marks: &'static [&'static [u8]],
    is_seen: bool,
    /// The last bytes that have passed.
    tail: Vec<u8>,
}

impl Ending {
    /// For a stream in this dialect. An error that the provider has told is an end too, and so is a
    /// reason to finish: not every server says `[DONE]`.
    pub(super) fn new(dialect: Dialect) -> Ending {
        let marks: &[&[u8]] = match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
                &[b"[DONE]", b"\"finish_reason\":\"", b"\"finish_reason\": \"", b"\"error\""]
            }
            Dialect::AnthropicMessages => &[b"message_stop", b"\"error\""],
            Dialect::OpenAiResponses => {
                &[b"response.completed", b"response.incomplete", b"response.failed", b"\"error\""]
            }
            _ => &[b""],
        };
        Ending { marks, is_seen: false, tail: Vec::new() }
    }

    /// Bytes of it pass.
    pub(super) fn feed(&mut self, data: &[u8]) {
        if self.is_seen {
            return;
        }
        let fresh = self.tail.len();
        self.tail.extend_from_slice(data.get(..OVERLAP).unwrap_or(data));
        self.is_seen = self.find(&self.tail) || self.find(data);
        if data.len() >= OVERLAP {
            self.tail.clear();
            self.tail.extend_from_slice(&data[data.len() - OVERLAP..]);
        } else {
            self.tail.drain(..(fresh + data.len()).saturating_sub(OVERLAP));
        }
    }

    fn find(&self, bytes: &[u8]) -> bool {
        self.marks.iter().any(|mark| memchr::memmem::find(bytes, mark).is_some())
    }

    /// Whether its end has passed.
    pub(super) fn is_seen(&self) -> bool {
        self.is_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_tell_the_end() {
        for (text, is_end) in [
            ("data: {}\n\ndata: [DONE]\n\n", true),
            ("data: {}\r\n\r\ndata:[DONE]\r\n\r\n", true),
            ("data: {\"text\":\"\\ndata: [DONE]\"}\n\n", false),
            ("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true),
            ("data: {\"text\":\"{\\\"type\\\":\\\"message_stop\\\"}\"}\n\n", false),
            ("", false),
        ] {
            for step in 1..=text.len().max(1) {
                let mut last = Last::default();
                text.as_bytes().chunks(step).for_each(|piece| last.note(piece));
                assert_eq!(last.is_end(), is_end, "{text} by {step}");
            }
        }
    }

    #[test]
    fn a_mark_is_found_at_every_cut() {
        for (dialect, text, is_end) in [
            (Dialect::OpenAiChat, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true),
            (Dialect::OpenAiChat, "data: {\"finish_reason\": \"stop\"}\n\n", true),
            (Dialect::OpenAiChat, "data: {\"finish_reason\":null,\"delta\":{}}\n\n", false),
            (Dialect::AnthropicMessages, "event: message_stop\ndata: {}\n\n", true),
            (Dialect::AnthropicMessages, "event: ping\ndata: {}\n\n", false),
            (Dialect::OpenAiResponses, "event: response.incomplete\ndata: {}\n\n", true),
            (Dialect::OpenAiResponses, "event: response.created\ndata: {}\n\n", false),
        ] {
            for cut in 0..=text.len() {
                for step in [1, 7, text.len()] {
                    let mut ending = Ending::new(dialect);
                    ending.feed(&text.as_bytes()[..cut]);
                    text.as_bytes()[cut..].chunks(step).for_each(|piece| ending.feed(piece));
                    assert_eq!(ending.is_seen(), is_end, "{text} cut at {cut}, then {step}");
                }
            }
        }
    }
}
