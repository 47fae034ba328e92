//! Streamed answers: Anthropic's events to neutral deltas.
#![forbid(unsafe_code)]

use super::super::events::Events;
use super::super::{StreamDecoder, failure, garbage};
use super::reply;
use crate::ai::chat::Delta;
use crate::ai::tree::{self, Node};
use crate::ai::usage::Found;
use crate::base::error::Failure;

/// Most tool calls of one answer.
const CALLS_MAX: usize = 1024;

/// Reads one stream.
#[derive(Default)]
pub(super) struct Decoder {
    events: Events,
    state: State,
}

#[derive(Default)]
struct State {
    /// Index of the block of each call, in our order.
    calls: Vec<u64>,
    found: Found,
    finished: bool,
    stopped: bool,
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let state = &mut self.state;
        self.events.feed(bytes, |_, data| state.event(data, on))
    }

    fn finish(&mut self, on: &mut dyn FnMut(Delta)) -> Result<bool, Failure> {
        let state = &mut self.state;
        self.events.finish(|_, data| state.event(data, on))?;
        Ok(self.is_whole())
    }

    fn is_whole(&self) -> bool {
        self.state.stopped || self.state.finished
    }
}

impl State {
    fn event(&mut self, data: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        if self.stopped {
            return Ok(());
        }
        let root = tree::parse(data).map_err(|e| garbage(&e.to_string()))?;
        // The type in the data counts: some compatibles leave out the `event:` line.
        match root.text_of("type") {
            Some("message_start") => {
                let message = root.get("message");
                let text = |name| message.and_then(|m| m.text_of(name)).map(str::to_owned);
                on(Delta::Start { id: text("id"), model: text("model") });
                self.usage(message.and_then(|m| m.get("usage")), on);
            }
            Some("content_block_start") => self.start(&root, on)?,
            Some("content_block_delta") => self.delta(&root, on),
            Some("message_delta") => {
                self.usage(root.get("usage"), on);
                let finish = root.get("delta").and_then(reply::finish);
                if let (false, Some(finish)) = (self.finished, finish) {
                    self.finished = true;
                    on(Delta::Finish(finish));
                }
            }
            Some("message_stop") => self.stopped = true,
            Some("error") => return Err(failure::in_stream(&root)),
            // Pings, ends of blocks, and events that are yet to be invented.
            _ => {}
        }
        Ok(())
    }

    /// Counts are cumulative: a later one replaces an earlier one, it is not added.
    fn usage(&mut self, usage: Option<&Node<'_>>, on: &mut dyn FnMut(Delta)) {
        let Some(usage) = usage else { return };
        self.found.merge(usage.raw.as_bytes());
        if let Some(usage) = self.found.usage() {
            on(Delta::Usage(usage));
        }
    }

    fn start(&mut self, root: &Node<'_>, on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let Some(block) = root.get("content_block") else { return Ok(()) };
        match block.text_of("type") {
            Some("text") => text(block, "text", Delta::Text, on),
            Some("thinking") => {
                text(block, "thinking", Delta::Thinking, on);
                text(block, "signature", Delta::Signature, on);
            }
            Some("redacted_thinking") => text(block, "data", Delta::RedactedThinking, on),
            Some("tool_use") => {
                if self.calls.len() >= CALLS_MAX {
                    return Err(garbage("too many tool calls"));
                }
                let index = self.calls.len() as u32;
                self.calls.push(root.unsigned_of("index").unwrap_or_default());
                let member = |name| block.text_of(name).unwrap_or_default().to_owned();
                on(Delta::ToolCallStart {
                    index,
                    id: member("id"),
                    name: member("name"),
                    signature: None,
                });
                // Usually empty here and told in pieces; some compatibles tell it at once.
                if let Some(input) = block.get("input").filter(|i| !i.members().is_empty()) {
                    on(Delta::ToolCallArguments { index, json: input.raw.to_owned() });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, root: &Node<'_>, on: &mut dyn FnMut(Delta)) {
        let Some(delta) = root.get("delta") else { return };
        match delta.text_of("type") {
            Some("text_delta") => text(delta, "text", Delta::Text, on),
            Some("thinking_delta") => text(delta, "thinking", Delta::Thinking, on),
            Some("signature_delta") => text(delta, "signature", Delta::Signature, on),
            Some("input_json_delta") => {
                let block = root.unsigned_of("index").unwrap_or_default();
                let place = self.calls.iter().rposition(|call| *call == block);
                let json = delta.text_of("partial_json").unwrap_or_default();
                if let (Some(place), false) = (place, json.is_empty()) {
                    on(Delta::ToolCallArguments { index: place as u32, json: json.to_owned() });
                }
            }
            _ => {}
        }
    }
}

fn text(
    node: &Node<'_>,
    name: &str,
    make: impl FnOnce(String) -> Delta,
    on: &mut dyn FnMut(Delta),
) {
    if let Some(text) = node.text_of(name).filter(|text| !text.is_empty()) {
        on(make(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::{Collector, FinishReason, Part, Reply};

    fn decode(chunks: &[&[u8]]) -> Result<(Reply, bool), Failure> {
        let mut decoder = Decoder::default();
        let mut collector = Collector::new();
        for chunk in chunks {
            decoder.feed(chunk, &mut |delta| collector.add(&delta))?;
        }
        let whole = decoder.finish(&mut |delta| collector.add(&delta))?;
        Ok((collector.reply(), whole))
    }

    const STREAM: &str = include_str!("../../../../tests/data/ai/anthropic_stream.sse");

    #[test]
    fn a_stream_reads_the_same_at_every_cut() {
        let (expected, whole) = decode(&[STREAM.as_bytes()]).unwrap();
        assert!(whole);
        assert_eq!(
            expected.parts,
            [
                Part::Thinking { text: "Let me sée.".into(), signature: Some("c2lnbmVk".into()) },
                Part::Text("Checking 😀".into()),
                Part::ToolCall(crate::ai::chat::ToolCall {
                    id: "toolu_01".into(),
                    name: "get_weather".into(),
                    arguments: "{\"city\": \"Paris\"}".into(),
                    signature: None,
                }),
                Part::ToolCall(crate::ai::chat::ToolCall {
                    id: "toolu_02".into(),
                    name: "now".into(),
                    arguments: "{}".into(),
                    signature: None,
                }),
            ]
        );
        assert_eq!(expected.finish, FinishReason::ToolCalls);
        let usage = expected.usage.unwrap();
        assert_eq!(usage.prompt_tokens, 472 + 100, "cached tokens are outside input tokens");
        assert_eq!(usage.completion_tokens, 89, "cumulative, not added up");
        for end in ["\n", "\r\n", "\r"] {
            let text = STREAM.replace('\n', end);
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(decode(&[head, tail]).unwrap(), (expected.clone(), true), "{cut}");
            }
        }
    }

    #[test]
    fn an_error_or_a_cut_is_not_complete() {
        let text = "data: {\"type\":\"message_start\",\"message\":{}}\n\n\
                    data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        assert_eq!(decode(&[text.as_bytes()]).unwrap_err().message, "Overloaded");
        let end = STREAM.find("event: message_delta").unwrap();
        assert!(!decode(&[&STREAM.as_bytes()[..end]]).unwrap().1);
        assert!(decode(&[b"data: nonsense\n\n"]).is_err());
    }
}
