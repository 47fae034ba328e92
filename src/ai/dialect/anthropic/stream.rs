//! Streamed answers: neutral deltas to Anthropic's events.
//!
//! The order is fixed: `message_start`, then blocks one after the other, each with its start,
//! deltas and stop, then `message_delta` with the stop reason and the whole usage, then
//! `message_stop`. Providers may mix the arguments of parallel calls; here a call's block is open
//! until its JSON is complete, and the fragments of later calls wait.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::super::{Meta, StreamEncoder, failure, signature};
use super::encode;
use crate::ai::chat::{Delta, FinishReason, Usage};
use crate::ai::write::{self, Object};
use crate::base::error::Failure;

/// Writes one message as events.
pub(in crate::ai::dialect) struct Encoder {
    meta: Meta,
    began: bool,
    /// The open block, if it is no call's.
    open: Option<Block>,
    /// Index of the open block, or of the next one.
    index: u64,
    /// Calls whose block is not closed, in order; only the first may have an open block.
    calls: VecDeque<Call>,
    called: bool,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
}

struct Call {
    index: u32,
    id: String,
    name: String,
    is_open: bool,
    /// Arguments that wait for the block to open.
    waiting: String,
    nesting: Nesting,
}

/// How far a JSON object has come.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
    complete: bool,
}

impl Nesting {
    fn read(&mut self, json: &str) {
        for byte in json.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

impl Encoder {
    pub(in crate::ai::dialect) fn new(meta: Meta) -> Encoder {
        Encoder {
            meta,
            began: false,
            open: None,
            index: 0,
            calls: VecDeque::new(),
            called: false,
            finish: None,
            usage: None,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        write::event(out, Some("message_start"), |o| {
            o.string("type", "message_start").object("message", |m| {
                m.string("id", &self.meta.id)
                    .string("type", "message")
                    .string("role", "assistant")
                    .string("model", &self.meta.model)
                    .raw("content", "[]")
                    .raw("stop_reason", "null")
                    .raw("stop_sequence", "null")
                    .object("usage", |u| encode::usage(self.usage.as_ref(), u));
            });
        });
    }

    fn start(&self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        write::event(out, Some("content_block_start"), |o| {
            o.string("type", "content_block_start")
                .number("index", self.index)
                .object("content_block", fill);
        });
    }

    fn delta(&self, kind: &str, name: &str, text: &str, out: &mut Vec<u8>) {
        write::event(out, Some("content_block_delta"), |o| {
            o.string("type", "content_block_delta").number("index", self.index).object(
                "delta",
                |d| {
                    d.string("type", kind).string(name, text);
                },
            );
        });
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        write::event(out, Some("content_block_stop"), |o| {
            o.string("type", "content_block_stop").number("index", self.index);
        });
        self.index += 1;
    }

    /// Makes `block` the open one.
    fn enter(&mut self, block: Block, out: &mut Vec<u8>) {
        self.begin(out);
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        self.start(out, |b| {
            match block {
                Block::Text => b.string("type", "text").string("text", ""),
                Block::Thinking => {
                    b.string("type", "thinking").string("thinking", "").string("signature", "")
                }
            };
        });
        self.open = Some(block);
    }

    /// Closes the open block and writes every call that waits.
    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            self.stop(out);
        }
        while !self.calls.is_empty() {
            self.open_first(out);
            self.stop(out);
            self.calls.pop_front();
        }
    }

    /// Opens the first call's block if it is not open, and writes what waits for it.
    fn open_first(&mut self, out: &mut Vec<u8>) {
        let Some(mut call) = self.calls.pop_front() else {
            return;
        };
        if !call.is_open {
            self.start(out, |b| {
                b.string("type", "tool_use")
                    .string("id", &call.id)
                    .string("name", &call.name)
                    .raw("input", "{}");
            });
            call.is_open = true;
        }
        if !call.waiting.is_empty() {
            self.delta("input_json_delta", "partial_json", &call.waiting, out);
            call.waiting.clear();
        }
        self.calls.push_front(call);
    }

    /// Writes what can be written of the calls: the first one goes out as it comes; when it is
    /// complete and another waits, it is closed and the next becomes the first.
    fn advance(&mut self, out: &mut Vec<u8>) {
        self.open_first(out);
        while self.calls.len() > 1 && self.calls.front().is_some_and(|c| c.nesting.complete) {
            self.stop(out);
            self.calls.pop_front();
            self.open_first(out);
        }
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { .. } => self.begin(out),
            Delta::Text(text) | Delta::Refusal(text) => {
                self.enter(Block::Text, out);
                self.delta("text_delta", "text", text, out);
            }
            Delta::Thinking(text) => {
                self.enter(Block::Thinking, out);
                self.delta("thinking_delta", "thinking", text, out);
            }
            Delta::Signature(text) => {
                self.enter(Block::Thinking, out);
                self.delta("signature_delta", "signature", text, out);
                // What follows is another thought.
                self.open = None;
                self.stop(out);
            }
            Delta::RedactedThinking(data) => {
                self.begin(out);
                self.close(out);
                self.start(out, |b| {
                    b.string("type", "redacted_thinking").string("data", data);
                });
                self.stop(out);
            }
            Delta::ToolCallStart { index, id, name, signature: found } => {
                self.begin(out);
                self.called = true;
                if self.open.take().is_some() {
                    self.stop(out);
                }
                self.calls.push_back(Call {
                    index: *index,
                    id: signature::into_id(id, found.as_deref()).into_owned(),
                    name: name.clone(),
                    is_open: false,
                    waiting: String::new(),
                    nesting: Nesting::default(),
                });
                self.advance(out);
            }
            Delta::ToolCallArguments { index, json } => {
                if let Some(call) = self.calls.iter_mut().rev().find(|c| c.index == *index) {
                    call.nesting.read(json);
                    call.waiting.push_str(json);
                }
                self.advance(out);
            }
            Delta::Logprobs(_) => {}
            Delta::Finish(reason) => self.finish = Some(reason.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        let reason = match self.finish.take() {
            Some(FinishReason::Stop) | None if self.called => FinishReason::ToolCalls,
            Some(reason) => reason,
            None => FinishReason::Stop,
        };
        write::event(out, Some("message_delta"), |o| {
            o.string("type", "message_delta")
                .object("delta", |d| encode::stop(&reason, d))
                .object("usage", |u| encode::usage(self.usage.as_ref(), u));
        });
        write::event(out, Some("message_stop"), |o| {
            o.string("type", "message_stop");
        });
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        write::event(out, Some("error"), |o| failure::anthropic_members(failure, o));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(deltas: &[Delta]) -> Vec<(String, serde_json::Value)> {
        let mut encoder = Encoder::new(Meta {
            id: "msg_1".into(),
            model: "m".into(),
            created: 0,
            ..Meta::default()
        });
        let mut out = Vec::new();
        for delta in deltas {
            encoder.event(delta, &mut out);
        }
        encoder.finish(&mut out);
        String::from_utf8(out)
            .unwrap()
            .split_terminator("\n\n")
            .map(|event| {
                let (name, data) = event.split_once("\ndata: ").unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                assert_eq!(data["type"], name.as_str(), "the type is told twice");
                (name, data)
            })
            .collect()
    }

    fn call(index: u32, id: &str) -> Delta {
        Delta::ToolCallStart { index, id: id.into(), name: "f".into(), signature: None }
    }

    fn arguments(index: u32, json: &str) -> Delta {
        Delta::ToolCallArguments { index, json: json.into() }
    }

    #[test]
    fn events_come_in_anthropics_order() {
        let events = run(&[
            Delta::Start { id: None, model: None },
            Delta::Thinking("hm".into()),
            Delta::Signature("sig".into()),
            Delta::Text("a".into()),
            Delta::Text("b".into()),
            call(0, "t0"),
            arguments(0, "{}"),
            Delta::Usage(Usage { prompt_tokens: 3, completion_tokens: 4, ..Usage::default() }),
            Delta::Finish(FinishReason::ToolCalls),
        ]);
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
        );
        assert_eq!(events[9].1["index"], 2);
        assert_eq!(events[9].1["content_block"]["input"], serde_json::json!({}));
        assert_eq!(events[12].1["delta"]["stop_reason"], "tool_use");
        assert_eq!(events[12].1["usage"]["output_tokens"], 4);
        assert_eq!(events[12].1["usage"]["input_tokens"], 3);
    }

    /// Blocks by index with their joined arguments; fails when blocks overlap.
    fn blocks(events: &[(String, serde_json::Value)]) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut open = false;
        for (name, data) in events {
            match name.as_str() {
                "content_block_start" => {
                    assert!(!open, "one block at a time");
                    open = true;
                    assert_eq!(data["index"], found.len());
                    let id = data["content_block"]["id"].as_str().unwrap_or("text");
                    found.push((id.to_owned(), String::new()));
                }
                "content_block_delta" => {
                    assert!(open);
                    assert_eq!(data["index"], found.len() - 1);
                    let delta = &data["delta"];
                    let piece = delta["partial_json"].as_str().or(delta["text"].as_str());
                    found.last_mut().unwrap().1.push_str(piece.unwrap());
                }
                "content_block_stop" => open = false,
                _ => {}
            }
        }
        assert!(!open);
        found
    }

    #[test]
    fn mixed_fragments_of_parallel_calls_come_apart() {
        let events = run(&[
            call(0, "t0"),
            call(1, "t1"),
            call(2, "t2"),
            arguments(1, "{\"b\":"),
            arguments(0, "{\"a\":\"}"),
            arguments(1, "2}"),
            arguments(0, "\"}"),
            Delta::Text("after".into()),
            Delta::Finish(FinishReason::Stop),
        ]);
        let expected =
            [("t0", "{\"a\":\"}\"}"), ("t1", "{\"b\":2}"), ("t2", ""), ("text", "after")];
        let expected = expected.map(|(id, json)| (id.to_owned(), json.to_owned()));
        assert_eq!(blocks(&events), expected);
        let delta = &events[events.len() - 2].1["delta"];
        assert_eq!(delta["stop_reason"], "tool_use", "a provider that says stop after a call");
    }

    #[test]
    fn an_empty_answer_is_a_whole_message_and_a_failure_is_not() {
        let events = run(&[]);
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["message_start", "message_delta", "message_stop"]);

        let mut encoder = Encoder::new(Meta::default());
        let mut out = Vec::new();
        encoder.event(&Delta::Text("a".into()), &mut out);
        encoder.fail(&Failure::new(503, "too busy"), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
             \"message\":\"too busy\"}}\n\n"
        ));
        assert!(!text.contains("message_stop"));
    }
}
