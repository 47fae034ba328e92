//! Streamed answers: neutral deltas to OpenAI's response events.
//!
//! Every event has its name, its number in the sequence and the place of its item; each item is
//! announced, filled and told once more as a whole, and the last event tells the whole response:
//! so the text of the answer is kept until the end.
#![forbid(unsafe_code)]

use super::super::custom::{self, Input};
use super::super::{Meta, StreamEncoder, signature};
use super::encode::{self, Ids, State};
use crate::ai::chat::{Delta, FinishReason, Part, ToolCall, Usage};
use crate::ai::write::{self, Object};
use crate::base::error::Failure;

/// Writes one response as events.
pub(in crate::ai::dialect) struct Encoder {
    meta: Meta,
    ids: Ids,
    sequence: u64,
    began: bool,
    /// Every item so far; its place is its output index.
    items: Vec<Item>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

struct Item {
    id: String,
    part: Part,
    /// The call's index among the neutral calls.
    call: u32,
    /// Reads the text of a custom tool's call.
    custom: Option<Input>,
    /// Of a text: the log-probabilities so far, without brackets.
    logprobs: Option<String>,
    is_open: bool,
    /// A summary part was announced.
    has_summary: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Thinking,
}

impl Kind {
    fn is(self, part: &Part) -> bool {
        matches!(
            (self, part),
            (Kind::Text, Part::Text(_))
                | (Kind::Refusal, Part::Refusal(_))
                | (Kind::Thinking, Part::Thinking { .. })
        )
    }
}

impl Encoder {
    pub(in crate::ai::dialect) fn new(meta: Meta) -> Encoder {
        Encoder {
            ids: Ids::new(&meta.id),
            meta,
            sequence: 0,
            began: false,
            items: Vec::new(),
            finish: None,
            usage: None,
        }
    }

    fn event(&mut self, name: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        write::event(out, Some(name), |o| {
            o.string("type", name).number("sequence_number", self.sequence);
            fill(o);
        });
        self.sequence += 1;
    }

    /// An event about the item at `place`.
    fn about(
        &mut self,
        name: &str,
        place: usize,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&Item, &mut Object<'_>),
    ) {
        let Some(item) = self.items.get(place) else {
            return;
        };
        write::event(out, Some(name), |o| {
            o.string("type", name)
                .number("sequence_number", self.sequence)
                .string("item_id", &item.id)
                .number("output_index", place as u64);
            fill(item, o);
        });
        self.sequence += 1;
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        let meta = self.meta.clone();
        for name in ["response.created", "response.in_progress"] {
            self.event(name, out, |o| {
                o.object("response", |r| {
                    encode::response(&meta, State::InProgress, None, r, |_| {});
                    r.raw("usage", "null");
                });
            });
        }
    }

    /// The place of the open item of `kind`, which is made if another or none is open.
    fn enter(&mut self, kind: Kind, out: &mut Vec<u8>) -> usize {
        self.begin(out);
        if let Some(place) = self.items.len().checked_sub(1)
            && self.items.get(place).is_some_and(|item| item.is_open && kind.is(&item.part))
        {
            return place;
        }
        self.close(out);
        let part = match kind {
            Kind::Text => Part::Text(String::new()),
            Kind::Refusal => Part::Refusal(String::new()),
            Kind::Thinking => Part::Thinking { text: String::new(), signature: None },
        };
        let place = self.add(part, 0, None, out);
        if kind != Kind::Thinking {
            self.about("response.content_part.added", place, out, |item, o| {
                o.number("content_index", 0).object("part", |p| empty_part(&item.part, p));
            });
        }
        place
    }

    /// Announces an item.
    fn add(&mut self, part: Part, call: u32, custom: Option<Input>, out: &mut Vec<u8>) -> usize {
        let place = self.items.len();
        let id = self.ids.make(encode::prefix(&part, custom.is_some()), place);
        self.items.push(Item {
            id,
            part,
            call,
            custom,
            logprobs: None,
            is_open: true,
            has_summary: false,
        });
        self.item_event("response.output_item.added", place, true, out);
        place
    }

    fn item_event(&mut self, name: &str, place: usize, is_new: bool, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(place) else {
            return;
        };
        write::event(out, Some(name), |o| {
            o.string("type", name)
                .number("sequence_number", self.sequence)
                .number("output_index", place as u64)
                .object("item", |i| match (&item.part, is_new) {
                    (Part::Text(_) | Part::Refusal(_), true) => {
                        i.string("id", &item.id)
                            .string("type", "message")
                            .string("status", "in_progress")
                            .raw("content", "[]")
                            .string("role", "assistant");
                    }
                    (Part::ToolCall(call), true) => {
                        encode::tool_call(&item.id, "in_progress", call, &self.meta, i);
                    }
                    (Part::Text(text), false) => {
                        encode::message(&item.id, "completed", i, |c| {
                            encode::output_text(text, item.logprobs.as_deref(), c);
                        });
                    }
                    (Part::Refusal(text), false) => {
                        encode::message(&item.id, "completed", i, |c| encode::refusal(text, c));
                    }
                    (Part::ToolCall(call), false) => {
                        encode::tool_call(&item.id, "completed", call, &self.meta, i);
                    }
                    (Part::Thinking { text, signature }, _) => {
                        encode::reasoning(&item.id, text, signature.as_deref(), i);
                    }
                    (Part::RedactedThinking(data), _) => {
                        encode::reasoning(&item.id, "", Some(data), i);
                    }
                    _ => {}
                });
        });
        self.sequence += 1;
    }

    /// Tells every open item as a whole.
    fn close(&mut self, out: &mut Vec<u8>) {
        for place in 0..self.items.len() {
            let Some(item) = self.items.get_mut(place) else {
                continue;
            };
            if !std::mem::replace(&mut item.is_open, false) {
                continue;
            }
            if let Part::ToolCall(call) = &mut item.part
                && call.arguments.is_empty()
            {
                call.arguments.push_str("{}");
            }
            if let Some(rest) = item.custom.as_mut().map(Input::finish) {
                self.input(place, &rest, out);
            }
            self.close_content(place, out);
            self.item_event("response.output_item.done", place, false, out);
        }
    }

    fn close_content(&mut self, place: usize, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(place) else {
            return;
        };
        let (done, has_summary) = (content_done(item), item.has_summary);
        let own = match &item.part {
            Part::ToolCall(call) => self.meta.namespaced(&call.name).map(|(_, own)| own.to_owned()),
            _ => None,
        };
        match done {
            Some(INPUT_DONE) => self.about(INPUT_DONE, place, out, |item, o| {
                if let Part::ToolCall(call) = &item.part {
                    o.string("input", &custom::input(&call.arguments));
                }
            }),
            Some(name) if name.contains("arguments") => {
                self.about(name, place, out, |item, o| {
                    if let Part::ToolCall(call) = &item.part {
                        let name = own.as_deref().unwrap_or(&call.name);
                        o.string("name", name).string("arguments", &call.arguments);
                    }
                });
            }
            Some(name) => {
                self.about(name, place, out, |item, o| {
                    o.number("content_index", 0);
                    match &item.part {
                        Part::Text(text) => {
                            o.string("text", text);
                            encode::logprobs(item.logprobs.as_deref(), o);
                        }
                        Part::Refusal(text) => {
                            o.string("refusal", text);
                        }
                        _ => {}
                    }
                });
                self.about("response.content_part.done", place, out, |item, o| {
                    o.number("content_index", 0).object("part", |p| match &item.part {
                        Part::Text(text) => {
                            encode::output_text(text, item.logprobs.as_deref(), p);
                        }
                        Part::Refusal(text) => encode::refusal(text, p),
                        _ => {}
                    });
                });
            }
            None if has_summary => {
                self.about("response.reasoning_summary_text.done", place, out, |item, o| {
                    o.number("summary_index", 0).string("text", thought(&item.part));
                });
                self.about("response.reasoning_summary_part.done", place, out, |item, o| {
                    o.number("summary_index", 0).object("part", |p| {
                        p.string("type", "summary_text").string("text", thought(&item.part));
                    });
                });
            }
            None => {}
        }
    }

    fn call_started(&mut self, index: u32, call: ToolCall, out: &mut Vec<u8>) {
        self.begin(out);
        // Calls may be open side by side; anything else is over when a call begins.
        let calls_only =
            self.items.iter().all(|i| !i.is_open || matches!(i.part, Part::ToolCall(_)));
        if !calls_only {
            self.close(out);
        }
        let custom = self.meta.is_custom(&call.name).then(Input::default);
        self.add(Part::ToolCall(call), index, custom, out);
    }

    /// More of the text that a custom tool is given.
    fn input(&mut self, place: usize, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.about("response.custom_tool_call_input.delta", place, out, |_, o| {
                o.string("delta", text);
            });
        }
    }

    fn arguments(&mut self, index: u32, json: &str, out: &mut Vec<u8>) {
        let is_it = |item: &Item| {
            item.is_open && item.call == index && matches!(item.part, Part::ToolCall(_))
        };
        let Some(place) = self.items.iter().rposition(is_it) else {
            return;
        };
        let mut text = None;
        if let Some(Item { part: Part::ToolCall(call), custom, .. }) = self.items.get_mut(place) {
            call.arguments.push_str(json);
            text = custom.as_mut().map(|input| input.feed(json));
        }
        if let Some(text) = text {
            return self.input(place, &text, out);
        }
        self.about("response.function_call_arguments.delta", place, out, |_, o| {
            o.string("delta", json);
        });
    }
}

fn empty_part(part: &Part, p: &mut Object<'_>) {
    match part {
        Part::Refusal(_) => encode::refusal("", p),
        _ => encode::output_text("", None, p),
    }
}

const INPUT_DONE: &str = "response.custom_tool_call_input.done";

fn content_done(item: &Item) -> Option<&'static str> {
    match &item.part {
        Part::ToolCall(_) if item.custom.is_some() => Some(INPUT_DONE),
        Part::Text(_) => Some("response.output_text.done"),
        Part::Refusal(_) => Some("response.refusal.done"),
        Part::ToolCall(_) => Some("response.function_call_arguments.done"),
        _ => None,
    }
}

fn thought(part: &Part) -> &str {
    match part {
        Part::Thinking { text, .. } => text,
        _ => "",
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { .. } => self.begin(out),
            Delta::Text(more) => {
                let place = self.enter(Kind::Text, out);
                if let Some(Item { part: Part::Text(text), .. }) = self.items.get_mut(place) {
                    text.push_str(more);
                }
                self.about("response.output_text.delta", place, out, |_, o| {
                    o.number("content_index", 0).string("delta", more).raw("logprobs", "[]");
                });
            }
            Delta::Refusal(more) => {
                let place = self.enter(Kind::Refusal, out);
                if let Some(Item { part: Part::Refusal(text), .. }) = self.items.get_mut(place) {
                    text.push_str(more);
                }
                self.about("response.refusal.delta", place, out, |_, o| {
                    o.number("content_index", 0).string("delta", more);
                });
            }
            Delta::Thinking(more) => {
                let place = self.enter(Kind::Thinking, out);
                let Some(item) = self.items.get_mut(place) else {
                    return;
                };
                if let Part::Thinking { text, .. } = &mut item.part {
                    text.push_str(more);
                }
                if !std::mem::replace(&mut item.has_summary, true) {
                    self.about("response.reasoning_summary_part.added", place, out, |_, o| {
                        o.number("summary_index", 0).object("part", |p| {
                            p.string("type", "summary_text").string("text", "");
                        });
                    });
                }
                self.about("response.reasoning_summary_text.delta", place, out, |_, o| {
                    o.number("summary_index", 0).string("delta", more);
                });
            }
            Delta::Signature(found) => {
                let place = self.enter(Kind::Thinking, out);
                if let Some(Item { part: Part::Thinking { signature, .. }, .. }) =
                    self.items.get_mut(place)
                {
                    *signature = Some(found.clone());
                }
                // What follows is another thought.
                self.close(out);
            }
            Delta::RedactedThinking(data) => {
                self.begin(out);
                self.close(out);
                self.add(Part::RedactedThinking(data.clone()), 0, None, out);
                self.close(out);
            }
            Delta::ToolCallStart { index, id, name, signature: found } => {
                let call = ToolCall {
                    id: signature::into_id(id, found.as_deref()).into_owned(),
                    name: name.clone(),
                    arguments: String::new(),
                    signature: None,
                };
                self.call_started(*index, call, out);
            }
            Delta::ToolCallArguments { index, json } => self.arguments(*index, json, out),
            // They come behind their text, whose deltas are out: the whole text is told with them.
            Delta::Logprobs(json) => {
                let last = self.items.last_mut().filter(|item| matches!(item.part, Part::Text(_)));
                if let (Some(item), Some(more)) = (last, encode::logprob_items(json)) {
                    let all = item.logprobs.get_or_insert_default();
                    if !all.is_empty() {
                        all.push(',');
                    }
                    all.push_str(&more);
                }
            }
            Delta::Finish(reason) => self.finish = Some(reason.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
        }
    }

    fn keeps(&self, _: &Delta) -> bool {
        true
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        let state = State::of(&self.finish.take().unwrap_or(FinishReason::Stop));
        let name = match state {
            State::Incomplete(_) => "response.incomplete",
            _ => "response.completed",
        };
        let (meta, items) = (self.meta.clone(), std::mem::take(&mut self.items));
        let usage = self.usage.take();
        self.event(name, out, |o| {
            o.object("response", |r| {
                encode::response(&meta, state, None, r, |output| {
                    for item in &items {
                        let logprobs = item.logprobs.as_deref();
                        encode::item(&item.part, &meta, logprobs, &item.id, output);
                    }
                });
                encode::usage(usage.as_ref(), r);
            });
        });
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.begin(out);
        self.event("error", out, |o| {
            o.string_or_null("code", failure.code.as_deref())
                .string("message", &failure.message)
                .string_or_null("param", failure.param.as_deref());
        });
        let meta = self.meta.clone();
        self.event("response.failed", out, |o| {
            o.object("response", |r| {
                encode::response(&meta, State::Failed, Some(failure), r, |_| {});
                r.raw("usage", "null");
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(out: Vec<u8>) -> Vec<serde_json::Value> {
        String::from_utf8(out)
            .unwrap()
            .split_terminator("\n\n")
            .enumerate()
            .map(|(index, event)| {
                let (name, data) = event.split_once("\ndata: ").unwrap();
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                assert_eq!(data["type"], name.strip_prefix("event: ").unwrap());
                assert_eq!(data["sequence_number"], index, "numbers are dense");
                data
            })
            .collect()
    }

    fn encoder() -> Encoder {
        Encoder::new(Meta { id: "resp_a".into(), model: "m".into(), created: 7, ..Meta::default() })
    }

    #[test]
    fn every_item_is_announced_filled_and_told_whole() {
        let mut encoder = encoder();
        let mut out = Vec::new();
        for delta in [
            Delta::Start { id: None, model: None },
            Delta::Thinking("hm".into()),
            Delta::Signature("sig".into()),
            Delta::Text("a".into()),
            Delta::Logprobs("{\"content\":[{\"token\":\"a\",\"logprob\":-1}]}".into()),
            Delta::Text("b".into()),
            Delta::Logprobs("{\"content\":[\n{\"token\":\"b\",\"logprob\":-2}]}".into()),
            Delta::ToolCallStart { index: 0, id: "c0".into(), name: "f".into(), signature: None },
            Delta::ToolCallStart { index: 1, id: "c1".into(), name: "g".into(), signature: None },
            Delta::ToolCallArguments { index: 0, json: "{\"x\":1}".into() },
            Delta::Usage(Usage { prompt_tokens: 3, completion_tokens: 4, ..Usage::default() }),
            Delta::Finish(FinishReason::ToolCalls),
        ] {
            StreamEncoder::event(&mut encoder, &delta, &mut out);
        }
        encoder.finish(&mut out);
        let events = events(out);
        let types: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
        assert_eq!(
            types,
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        assert_eq!(events[7]["item"]["encrypted_content"], "sig");
        assert_eq!(events[12]["text"], "ab");
        assert_eq!(events[12]["logprobs"][1]["token"], "b");
        for part in [&events[13]["part"], &events[22]["response"]["output"][1]["content"][0]] {
            assert_eq!(part["logprobs"].as_array().unwrap().len(), 2);
        }
        assert_eq!(events[19]["item"]["arguments"], "{\"x\":1}");
        assert_eq!(events[21]["item"]["arguments"], "{}");
        let last = &events[22]["response"];
        assert_eq!(last["status"], "completed");
        assert_eq!(last["output"].as_array().unwrap().len(), 4);
        assert_eq!(last["output"][1]["content"][0]["text"], "ab");
        assert_eq!(last["usage"]["total_tokens"], 7);
        for event in &events {
            if let (Some(place), Some(id)) =
                (event["output_index"].as_u64(), event["item_id"].as_str())
            {
                assert!(id.ends_with(&format!("_{place}")), "{event}");
            }
        }
    }

    #[test]
    fn the_text_of_a_custom_tool_comes_as_it_is_known() {
        let namespaced = vec![crate::ai::chat::Namespaced {
            name: "git__patch".into(),
            namespace: "git".into(),
            own: "patch".into(),
        }];
        let custom_tools = vec!["patch".into(), "git__patch".into()];
        let meta = Meta { custom_tools, namespaced, ..encoder().meta };
        let mut encoder = Encoder::new(meta.clone());
        let mut collector = crate::ai::chat::Collector::new();
        let mut out = Vec::new();
        let start = |index, name: &str| Delta::ToolCallStart {
            index,
            id: format!("c{index}"),
            name: name.into(),
            signature: None,
        };
        let more = |index, json: &str| Delta::ToolCallArguments { index, json: json.into() };
        for delta in [
            start(0, "patch"),
            more(0, "{\"inp"),
            more(0, "ut\":\"a\\"),
            start(1, "git__patch"),
            more(0, "nb\"}"),
            more(1, "odd"),
            Delta::Finish(FinishReason::ToolCalls),
        ] {
            collector.add(&delta);
            StreamEncoder::event(&mut encoder, &delta, &mut out);
        }
        encoder.finish(&mut out);
        let events = events(out);
        let told: Vec<(&str, u64, &str)> = events
            .iter()
            .filter_map(|event| {
                let kind = event["type"].as_str()?.strip_prefix("response.custom_tool_call_")?;
                let text = event["delta"].as_str().or(event["input"].as_str())?;
                Some((kind, event["output_index"].as_u64()?, text))
            })
            .collect();
        assert_eq!(
            told,
            [
                ("input.delta", 0, "a"),
                ("input.delta", 0, "\nb"),
                ("input.done", 0, "a\nb"),
                ("input.delta", 1, "odd"),
                ("input.done", 1, "odd"),
            ]
        );
        assert!(!events.iter().any(|event| event.to_string().contains("function_call")));
        let last = events.last().unwrap();
        let first = serde_json::json!({"id": "ctc_a_0", "type": "custom_tool_call",
            "status": "completed", "call_id": "c0", "name": "patch", "input": "a\nb"});
        assert_eq!(last["response"]["output"][0], first);
        let second = &last["response"]["output"][1];
        assert_eq!((&second["namespace"], &second["name"]), (&"git".into(), &"patch".into()));

        let mut whole = Vec::new();
        encode::encode(&collector.reply(), &meta, &mut whole);
        let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["output"], last["response"]["output"]);
    }

    #[test]
    fn a_limit_is_incomplete_and_a_failure_failed() {
        let mut first = encoder();
        let mut out = Vec::new();
        StreamEncoder::event(&mut first, &Delta::Text("a".into()), &mut out);
        StreamEncoder::event(&mut first, &Delta::Finish(FinishReason::Length), &mut out);
        first.finish(&mut out);
        let all = events(out);
        let last = all.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");

        let mut second = encoder();
        let mut out = Vec::new();
        StreamEncoder::event(&mut second, &Delta::Text("a".into()), &mut out);
        second.fail(&Failure::new(502, "it broke").code("upstream_failed"), &mut out);
        let all = events(out);
        assert_eq!(all[all.len() - 2]["type"], "error");
        assert_eq!(all.last().unwrap()["response"]["error"]["code"], "upstream_failed");
        assert!(all.iter().all(|e| e["type"] != "response.completed"));
    }
}
