//! The deltas of streams that pass through, in the dialects that can.
#![forbid(unsafe_code)]

use super::{Edit, Edits, Look};
use crate::ai::dialect::Dialect;
use crate::ai::tree::{self, Node};
use crate::base::error::Failure;
use crate::base::limits;
use crate::http::sse::{SseEvent, SseReader, write_event};

/// Reads a stream in a dialect, has each text delta seen, and writes the stream with the edits.
///
/// An event whose text was dropped goes with it unless it says more. OpenAI's responses repeat
/// the whole text at the end of each part; they are told the edited one.
pub struct StreamTexts {
    dialect: Dialect,
    reader: SseReader,
    /// Of each part of a response, by output and content index: its text as the client has it.
    parts: Vec<((u64, u64), String)>,
    has_edits: bool,
}

impl StreamTexts {
    /// A reader at the beginning of a stream.
    pub fn new(dialect: Dialect) -> StreamTexts {
        StreamTexts {
            dialect,
            reader: SseReader::new(limits::UPSTREAM_ANSWER_BYTES_MAX),
            parts: Vec::new(),
            has_edits: false,
        }
    }

    /// Takes in bytes, cut anywhere; appends whole events to `out`.
    ///
    /// # Errors
    /// What `look` says, or an endless event. What was appended before is the client's.
    pub fn feed(&mut self, bytes: &[u8], look: Look<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut reader = std::mem::replace(&mut self.reader, SseReader::new(0));
        let mut result = Ok(());
        let fed = reader.feed(bytes, |event| {
            if result.is_ok() {
                result = self.event(event, look, out);
            }
        });
        self.reader = reader;
        result.and(fed.map_err(|_| {
            Failure::new(502, "the provider's stream is not valid").code("upstream_invalid")
        }))
    }

    /// The stream has ended; a last event without its blank line counts.
    ///
    /// # Errors
    /// What `look` says.
    pub fn finish(&mut self, look: Look<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut reader = std::mem::replace(&mut self.reader, SseReader::new(0));
        let mut result = Ok(());
        reader.finish(|event| {
            if result.is_ok() {
                result = self.event(event, look, out);
            }
        });
        result
    }

    fn event(
        &mut self,
        event: SseEvent<'_>,
        look: Look<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let name = std::str::from_utf8(event.event).ok().filter(|name| !name.is_empty());
        let Ok(root) = tree::parse(event.data) else {
            write_event(out, name, event.data);
            return Ok(());
        };
        let mut edits = Edits::default();
        let is_kept = match self.dialect {
            Dialect::OpenAiChat => choices(&root, &["delta", "content"], &mut edits, look)?,
            Dialect::OpenAiCompletions => choices(&root, &["text"], &mut edits, look)?,
            Dialect::AnthropicMessages => anthropic(&root, &mut edits, look)?,
            Dialect::OpenAiResponses => self.responses(&root, &mut edits, look)?,
            _ => true,
        };
        if !is_kept {
            return Ok(());
        }
        if edits.is_empty() {
            write_event(out, name, event.data);
        } else {
            let mut data = Vec::with_capacity(event.data.len());
            edits.render(&root, &mut data);
            write_event(out, name, &data);
        }
        Ok(())
    }

    fn responses(
        &mut self,
        root: &Node<'_>,
        edits: &mut Edits,
        look: Look<'_>,
    ) -> Result<bool, Failure> {
        let number = |node: &Node<'_>, name| node.unsigned_of(name).unwrap_or(0);
        let part = (number(root, "output_index"), number(root, "content_index"));
        match root.text_of("type") {
            Some("response.output_text.delta") => {
                let Some(delta) = root.get("delta") else { return Ok(true) };
                let Some(text) = delta.text() else { return Ok(true) };
                let new = look("assistant", text)?;
                self.said(part, new.as_deref().unwrap_or(text))?;
                if let Some(new) = new {
                    self.has_edits = true;
                    if new.is_empty() {
                        return Ok(false);
                    }
                    if let Some(logprobs) = root.get("logprobs") {
                        // They tell the tokens of the old text.
                        edits.set(logprobs, Edit::Drop);
                    }
                    edits.set(delta, Edit::Text(new));
                }
            }
            Some("response.output_text.done") if self.has_edits => self.repeat(part, root, edits),
            Some("response.content_part.done") if self.has_edits => {
                if let Some(node) = root.get("part") {
                    self.repeat(part, node, edits);
                }
            }
            Some("response.output_item.done") if self.has_edits => {
                if let Some(item) = root.get("item") {
                    self.repeat_item(part.0, item, edits);
                }
            }
            Some("response.completed" | "response.incomplete" | "response.failed")
                if self.has_edits =>
            {
                let items = root.path(&["response", "output"]).map(Node::items);
                for (index, item) in items.unwrap_or_default().iter().enumerate() {
                    self.repeat_item(index as u64, item, edits);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn said(&mut self, part: (u64, u64), text: &str) -> Result<(), Failure> {
        let bytes: usize = self.parts.iter().map(|(_, text)| text.len()).sum();
        if bytes + text.len() > limits::UPSTREAM_ANSWER_BYTES_MAX || self.parts.len() > 4096 {
            let message = "the provider's answer is too large";
            return Err(Failure::new(502, message).code("upstream_too_large"));
        }
        match self.parts.iter_mut().find(|(at, _)| *at == part) {
            Some((_, all)) => all.push_str(text),
            None => self.parts.push((part, text.to_owned())),
        }
        Ok(())
    }

    fn repeat(&self, part: (u64, u64), node: &Node<'_>, edits: &mut Edits) {
        let said = self.parts.iter().find(|(at, _)| *at == part);
        if let (Some((_, said)), Some(text)) = (said, node.get("text")) {
            edits.set(text, Edit::Text(said.clone()));
            if let Some(logprobs) = node.get("logprobs") {
                edits.set(logprobs, Edit::Drop);
            }
        }
    }

    fn repeat_item(&self, output: u64, item: &Node<'_>, edits: &mut Edits) {
        let parts = item.get("content").map(Node::items).unwrap_or_default();
        for (index, part) in parts.iter().enumerate() {
            self.repeat((output, index as u64), part, edits);
        }
    }
}

/// The text at `path` of each choice of a chunk.
fn choices(
    root: &Node<'_>,
    path: &[&str],
    edits: &mut Edits,
    look: Look<'_>,
) -> Result<bool, Failure> {
    let choices = root.get("choices").map(Node::items).unwrap_or_default();
    let mut is_kept = true;
    for choice in choices {
        let Some(node) = choice.path(path) else { continue };
        let Some(text) = node.text().filter(|text| !text.is_empty()) else { continue };
        let Some(new) = look("assistant", text)? else { continue };
        if let Some(logprobs) = choice.get("logprobs") {
            // They tell the tokens of the old text.
            edits.set(logprobs, Edit::Null);
        }
        let says_more = choice.get("finish_reason").is_some()
            || root.get("usage").is_some()
            || choices.len() > 1
            || choice.get("delta").is_some_and(|delta| delta.members().len() > 1);
        is_kept &= !new.is_empty() || says_more;
        edits.set(node, Edit::Text(new));
    }
    Ok(is_kept)
}

fn anthropic(root: &Node<'_>, edits: &mut Edits, look: Look<'_>) -> Result<bool, Failure> {
    let delta = root.get("delta").filter(|delta| delta.text_of("type") == Some("text_delta"));
    let Some(node) = delta.and_then(|delta| delta.get("text")) else { return Ok(true) };
    let Some(text) = node.text() else { return Ok(true) };
    match look("assistant", text)? {
        None => Ok(true),
        Some(new) if new.is_empty() => Ok(false),
        Some(new) => {
            edits.set(node, Edit::Text(new));
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(dialect: Dialect, pieces: &[&[u8]]) -> String {
        let mut texts = StreamTexts::new(dialect);
        let mut look = |_: &'static str, text: &str| {
            Ok(match text {
                "drop" => Some(String::new()),
                "bad" => Some("good".to_owned()),
                _ => None,
            })
        };
        let mut out = Vec::new();
        for piece in pieces {
            texts.feed(piece, &mut look, &mut out).unwrap();
        }
        texts.finish(&mut look, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn at_every_cut(dialect: Dialect, stream: &str, expected: &str) {
        for cut in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            assert_eq!(run(dialect, &[head, tail]), expected, "cut at {cut}");
        }
    }

    /// Wrong: a delta that passes unseen wherever it is cut, or a chunk that loses what else it says.
    #[test]
    fn chat_chunks_are_edited_at_every_cut() {
        let chunk = |delta: &str, finish: &str| {
            format!(
                "data: {{\"id\":\"é\",\"choices\":[{{\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let stream = [
            chunk(r#"{"role":"assistant","content":""}"#, "null"),
            chunk(r#"{"content":"a"}"#, "null"),
            chunk(r#"{"content":"bad"}"#, "null"),
            chunk(r#"{"content":"drop"}"#, "null"),
            chunk(r#"{"content":"drop"}"#, "\"stop\""),
            "data: [DONE]\n\n".to_owned(),
        ];
        let expected = [
            stream[0].clone(),
            stream[1].clone(),
            chunk(r#"{"content":"good"}"#, "null"),
            chunk(r#"{"content":""}"#, "\"stop\""),
            stream[5].clone(),
        ];
        at_every_cut(Dialect::OpenAiChat, &stream.concat(), &expected.concat());
    }

    #[test]
    fn anthropics_deltas_keep_their_names() {
        let event = |text: &str| {
            format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
            )
        };
        let stream = [event("bad"), event("drop"), event("a")].concat();
        let expected = [event("good"), event("a")].concat();
        at_every_cut(Dialect::AnthropicMessages, &stream, &expected);
    }

    /// Wrong: the old text in one of the four places that repeat it.
    #[test]
    fn responses_repeat_the_edited_text() {
        let event = |json: &str| format!("data: {json}\n\n");
        let stream = [
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"bad"}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"drop"}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"!"}"#,
            r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"baddrop!"}"#,
            r#"{"type":"response.content_part.done","output_index":1,"content_index":0,"part":{"type":"output_text","text":"baddrop!"}}"#,
            r#"{"type":"response.output_item.done","output_index":1,"item":{"content":[{"type":"output_text","text":"baddrop!"}]}}"#,
            r#"{"type":"response.completed","response":{"output":[{"type":"reasoning"},{"content":[{"type":"output_text","text":"baddrop!"}]}]}}"#,
        ]
        .map(event)
        .concat();
        let out = run(Dialect::OpenAiResponses, &[stream.as_bytes()]);
        assert!(!out.contains("bad") && !out.contains("drop"), "{out}");
        assert_eq!(out.matches("good!").count(), 4);
    }

    #[test]
    fn a_refusal_ends_the_stream() {
        let mut texts = StreamTexts::new(Dialect::OpenAiChat);
        let mut refuse = |_: &'static str, _: &str| Err(Failure::new(403, "no"));
        let chunk = b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        let mut out = Vec::new();
        assert_eq!(texts.feed(chunk, &mut refuse, &mut out).unwrap_err().status, 403);
        assert!(out.is_empty());
    }
}
