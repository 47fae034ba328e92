//! Streamed answers: `chat.completion.chunk` events to neutral deltas.
#![forbid(unsafe_code)]

use super::super::events::Events;
use super::super::{StreamDecoder, failure, garbage};
use super::reply;
use crate::ai::chat::{Delta, FinishReason, Part};
use crate::ai::tree::{self, Node};
use crate::ai::write;
use crate::base::error::Failure;

/// Most tool calls of one answer.
const CALLS_MAX: usize = 1024;

/// Around the text of a custom tool's call, which is the one argument of a function here.
const CUSTOM_BEGIN: &str = "{\"input\":\"";
const CUSTOM_END: &str = "\"}";

/// Reads one stream.
#[derive(Default)]
pub(super) struct Decoder {
    events: Events,
    state: State,
}

#[derive(Default)]
struct State {
    started: bool,
    done: bool,
    finish: Option<FinishReason>,
    /// The provider's index (or none) and id of each call, in our order.
    calls: Vec<(Option<u64>, String)>,
    /// The calls of custom tools whose arguments are still open.
    custom: Vec<u32>,
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let state = &mut self.state;
        self.events.feed(bytes, |_, data| state.event(data, on))
    }

    fn finish(&mut self, on: &mut dyn FnMut(Delta)) -> Result<bool, Failure> {
        let state = &mut self.state;
        self.events.finish(|_, data| state.event(data, on))?;
        state.end_custom(on);
        Ok(self.is_whole())
    }

    fn is_whole(&self) -> bool {
        // Some compatibles leave out `[DONE]`; a finish reason says as much.
        self.state.done || self.state.finish.is_some()
    }
}

impl State {
    fn event(&mut self, data: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        if self.done {
            return Ok(());
        }
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let root = tree::parse(data).map_err(|e| garbage(&e.to_string()))?;
        if root.get("error").is_some() || root.text_of("object") == Some("error") {
            return Err(failure::in_stream(&root));
        }
        if !std::mem::replace(&mut self.started, true) {
            on(Delta::Start {
                id: root.text_of("id").map(str::to_owned),
                model: root.text_of("model").map(str::to_owned),
            });
        }
        for choice in root.get("choices").map(Node::items).unwrap_or_default() {
            if choice.unsigned_of("index").unwrap_or(0) == 0 {
                self.choice(choice, on)?;
            }
        }
        if let Some(usage) = reply::usage(&root) {
            on(Delta::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Node<'_>, on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        if let Some(delta) = choice.get("delta") {
            self.delta(delta, on)?;
        }
        if let Some(logprobs) = choice.get("logprobs") {
            on(Delta::Logprobs(logprobs.raw.to_owned()));
        }
        if let (None, Some(reason)) = (&self.finish, choice.text_of("finish_reason")) {
            let finish = match FinishReason::from_openai(reason) {
                FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
                FinishReason::Stop => reply::stop(choice),
                finish => finish,
            };
            self.finish = Some(finish.clone());
            self.end_custom(on);
            on(Delta::Finish(finish));
        }
        Ok(())
    }

    fn end_custom(&mut self, on: &mut dyn FnMut(Delta)) {
        for index in std::mem::take(&mut self.custom) {
            on(Delta::ToolCallArguments { index, json: CUSTOM_END.to_owned() });
        }
    }

    fn delta(&mut self, delta: &Node<'_>, on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let thinking = delta.text_of("reasoning_content").or(delta.text_of("reasoning"));
        if let Some(text) = thinking.filter(|text| !text.is_empty()) {
            on(Delta::Thinking(text.to_owned()));
        }
        for block in delta.get("thinking_blocks").map(Node::items).unwrap_or_default() {
            if let Some(signature) = block.text_of("signature") {
                on(Delta::Signature(signature.to_owned()));
            }
            if let Some(data) = block.text_of("data") {
                on(Delta::RedactedThinking(data.to_owned()));
            }
        }
        if let Some(content) = delta.get("content") {
            if let Some(text) = content.text().filter(|text| !text.is_empty()) {
                on(Delta::Text(text.to_owned()));
            }
            for part in content.items().iter().filter_map(reply::content_item) {
                match part {
                    Part::Text(text) => on(Delta::Text(text)),
                    Part::Thinking { text, .. } => on(Delta::Thinking(text)),
                    _ => {}
                }
            }
        }
        if let Some(text) = delta.text_of("refusal").filter(|text| !text.is_empty()) {
            on(Delta::Refusal(text.to_owned()));
        }
        for call in delta.get("tool_calls").map(Node::items).unwrap_or_default() {
            self.call(call, on)?;
        }
        Ok(())
    }

    /// A fragment of a call. It belongs to the call with its index; without an index to the call
    /// with its id; with neither to the last one.
    fn call(&mut self, call: &Node<'_>, on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let index = call.unsigned_of("index");
        let id = call.text_of("id").filter(|id| !id.is_empty());
        let custom = call.get("custom");
        let function = call.get("function").or(custom);
        let known = self.calls.iter().rposition(|(known_index, known_id)| match (index, id) {
            // Some compatibles give every call the index 0 but its own id.
            (Some(_), Some(id)) => *known_index == index && known_id == id,
            (Some(_), None) => *known_index == index,
            (None, Some(id)) => known_id == id,
            (None, None) => true,
        });
        let place = match known {
            Some(place) => place,
            None => {
                if self.calls.len() >= CALLS_MAX {
                    return Err(garbage("too many tool calls"));
                }
                let place = self.calls.len();
                let id = id.map_or_else(|| format!("call_{place}"), str::to_owned);
                self.calls.push((index, id.clone()));
                let name = function.and_then(|f| f.text_of("name")).unwrap_or_default();
                on(Delta::ToolCallStart {
                    index: place as u32,
                    id,
                    name: name.to_owned(),
                    signature: reply::signature(call),
                });
                if custom.is_some() {
                    self.custom.push(place as u32);
                    on(Delta::ToolCallArguments { index: place as u32, json: CUSTOM_BEGIN.into() });
                }
                place
            }
        };
        let json = match custom.and_then(|custom| custom.text_of("input")) {
            // A piece of a string is one without its quotes.
            Some(piece) => {
                let mut quoted = Vec::new();
                write::string(&mut quoted, piece);
                let piece = quoted.get(1..quoted.len() - 1).unwrap_or_default();
                String::from_utf8_lossy(piece).into_owned()
            }
            None => function.map(reply::arguments).unwrap_or_default(),
        };
        if !json.is_empty() {
            on(Delta::ToolCallArguments { index: place as u32, json });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::{Collector, Reply, join_text};

    fn decode(chunks: &[&[u8]]) -> Result<(Reply, bool), Failure> {
        let mut decoder = Decoder::default();
        let mut collector = Collector::new();
        for chunk in chunks {
            decoder.feed(chunk, &mut |delta| collector.add(&delta))?;
        }
        let whole = decoder.finish(&mut |delta| collector.add(&delta))?;
        Ok((collector.reply(), whole))
    }

    const STREAM: &str = concat!(
        ": OPENROUTER PROCESSING\n\n",
        "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hé\\ud83d\\ude00\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\":1}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n",
        "data: [DONE]",
    );

    #[test]
    fn a_stream_reads_the_same_at_every_cut() {
        let (expected, whole) = decode(&[STREAM.as_bytes()]).unwrap();
        assert!(whole);
        assert_eq!(join_text(&expected.parts), "Hé😀");
        assert_eq!(expected.finish, FinishReason::ToolCalls);
        assert_eq!(expected.usage.unwrap().completion_tokens, 4);
        let calls: Vec<_> = expected
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some((call.id.as_str(), call.arguments.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{}")]);
        for end in ["\n", "\r\n", "\r"] {
            let text = STREAM.replace('\n', end);
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(decode(&[head, tail]).unwrap(), (expected.clone(), true), "{cut}");
            }
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_an_error() {
        let failure = decode(&[
            b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            b"data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n",
        ])
        .unwrap_err();
        assert_eq!((failure.status, failure.message.as_ref()), (502, "overloaded"));
        assert_eq!(decode(&[b"data: <html>\n\n"]).unwrap_err().status, 502);
    }

    #[test]
    fn a_cut_stream_is_not_complete() {
        let cut = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        assert!(!decode(&[cut]).unwrap().1);
        assert!(!decode(&[]).unwrap().1);
        let finished = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert!(decode(&[finished]).unwrap().1, "a finish reason is enough");
    }

    #[test]
    fn calls_of_custom_tools_are_functions_with_one_text() {
        let (reply, _) = decode(&[
            b"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"custom\",\"custom\":{\"name\":\"patch\",\"input\":\"\"}}]}}]}\n\n",
            b"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"custom\":{\"input\":\"a \\\"b\"}}]}}]}\n\n",
            b"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"custom\":{\"input\":\"\\n\"}}]}}]}\n\n",
            b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        ])
        .unwrap();
        let [Part::ToolCall(call)] = &reply.parts[..] else { panic!("one call") };
        assert_eq!(
            (call.name.as_str(), call.arguments.as_str()),
            ("patch", "{\"input\":\"a \\\"b\\n\"}")
        );
        let body = br#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","type":"custom","custom":{"name":"patch","input":"a \"b\n"}}]}}]}"#;
        assert_eq!(reply::decode(200, body).unwrap().parts, reply.parts);
    }

    #[test]
    fn calls_without_an_index_are_told_apart_by_id() {
        let (reply, _) = decode(&[
            b"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"y\":2}}}]}}]}\n\n",
            b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        ])
        .unwrap();
        assert_eq!(reply.parts.len(), 2);
        assert_eq!(reply.finish, FinishReason::ToolCalls);
        assert!(matches!(&reply.parts[1], Part::ToolCall(c) if c.arguments == "{\"y\":2}"));
    }
}
