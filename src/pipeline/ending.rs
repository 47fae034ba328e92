//! Whether a stream of events that passes unread has come to its end.
//!
//! Most streams end by their framing. One whose body ends with its connection ends alike when its
//! provider is done and when its process has died; only the mark of its dialect tells which.

use crate::ai::dialect::Dialect;

/// So many last bytes are kept: enough for the mark that ends a stream, and for a mark across a cut.
const LAST_BYTES: usize = 32;

/// Looks for the end of one stream.
pub(super) struct Ending {
    last: [u8; LAST_BYTES],
    /// What is looked for anywhere in it, where its framing does not tell its end.
    marks: Option<&'static [&'static [u8]]>,
    is_seen: bool,
}

impl Ending {
    /// Of a stream whose framing tells its end.
    pub(super) fn framed() -> Ending {
        Ending { last: [0; LAST_BYTES], marks: None, is_seen: false }
    }

    /// Of one in this dialect whose body ends with its connection. An error that the provider has
    /// told is an end too, and so is a reason to finish: not every server says `[DONE]`.
    pub(super) fn unframed(dialect: Dialect) -> Ending {
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
        Ending { marks: Some(marks), ..Ending::framed() }
    }

    /// Bytes of it pass.
    pub(super) fn feed(&mut self, data: &[u8]) {
        if let (Some(marks), false) = (self.marks, self.is_seen) {
            let find =
                |bytes: &[u8]| marks.iter().any(|m| memchr::memmem::find(bytes, m).is_some());
            let begun = data.get(..LAST_BYTES).unwrap_or(data);
            self.is_seen = find(&[&self.last, begun].concat()) || find(data);
        }
        match data.last_chunk() {
            Some(last) => self.last = *last,
            None => {
                self.last.rotate_left(data.len());
                let from = LAST_BYTES - data.len();
                self.last[from..].copy_from_slice(data);
            }
        }
    }

    /// Whether the stream lacks what its end must have, as far as it has come.
    pub(super) fn is_missing(&self) -> bool {
        self.marks.is_some() && !self.is_seen
    }

    /// Whether its success mark has come: it stands in the last bytes, or was looked for and found.
    /// In the text of an answer its quotes would be escaped, or a quote would follow.
    pub(super) fn is_complete(&self) -> bool {
        const MARKS: [&[u8]; 4] = [
            b"\ndata: [DONE]",
            b"\ndata:[DONE]",
            b"{\"type\":\"message_stop\"}",
            b"{\"type\": \"message_stop\"}",
        ];
        self.is_seen || MARKS.iter().any(|mark| self.last.trim_ascii_end().ends_with(mark))
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
                let mut ending = Ending::framed();
                text.as_bytes().chunks(step).for_each(|piece| ending.feed(piece));
                assert!(!ending.is_missing(), "its framing tells the end");
                assert_eq!(ending.is_complete(), is_end, "{text} by {step}");
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
                    let mut ending = Ending::unframed(dialect);
                    ending.feed(&text.as_bytes()[..cut]);
                    text.as_bytes()[cut..].chunks(step).for_each(|piece| ending.feed(piece));
                    assert_eq!(ending.is_missing(), !is_end, "{text} cut at {cut}, then {step}");
                }
            }
        }
    }
}
