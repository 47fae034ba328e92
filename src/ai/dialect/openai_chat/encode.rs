//! Answers: neutral replies and deltas to bytes.
#![forbid(unsafe_code)]

use super::super::custom::{self, Input};
use super::super::{Meta, StreamEncoder, failure};
use crate::ai::chat::{self, Delta, FinishReason, Part, Reply, ToolCall, Usage};
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// Writes a `chat.completion`.
pub(in crate::ai::dialect) fn encode(reply: &Reply, meta: &Meta, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.string("id", &meta.id).string("object", "chat.completion");
        created(o, meta.created);
        o.string("model", &meta.model).array("choices", |choices| {
            choices.object(|choice| {
                choice.number("index", 0);
                choice.object("message", |m| message(reply, &meta.custom_tools, m));
                choice.raw("logprobs", reply.logprobs.as_deref().unwrap_or("null"));
                choice.string("finish_reason", reply.finish.openai());
            });
        });
        if let Some(found) = &reply.usage {
            o.object("usage", |u| usage(found, u));
        }
    });
}

fn created(o: &mut Object<'_>, created: i64) {
    o.number("created", u64::try_from(created).unwrap_or(0));
}

fn message(reply: &Reply, custom_tools: &[String], m: &mut Object<'_>) {
    m.string("role", "assistant");
    let has_text = reply.parts.iter().any(|part| matches!(part, Part::Text(_)));
    let text = chat::join_text(&reply.parts);
    m.string_or_null("content", has_text.then_some(&text));
    let refusal = reply.parts.iter().find_map(|part| match part {
        Part::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    m.string_or_null("refusal", refusal);
    thinking(&reply.parts, m);
    tool_calls(&reply.parts, custom_tools, m);
}

/// Writes `reasoning_content` and, where something must come back, `thinking_blocks`.
fn thinking(parts: &[Part], m: &mut Object<'_>) {
    let mut all = String::new();
    let mut must_return = false;
    for part in parts {
        match part {
            Part::Thinking { text, signature } => {
                all.push_str(text);
                must_return |= signature.is_some();
            }
            Part::RedactedThinking(_) => must_return = true,
            _ => {}
        }
    }
    if !all.is_empty() {
        m.string("reasoning_content", &all);
    }
    if must_return {
        m.array("thinking_blocks", |blocks| {
            for part in parts {
                thinking_block(part, blocks);
            }
        });
    }
}

fn thinking_block(part: &Part, blocks: &mut Array<'_>) {
    match part {
        Part::Thinking { text, signature } => {
            blocks.object(|b| {
                b.string("type", "thinking")
                    .string("thinking", text)
                    .string_if("signature", signature.as_deref());
            });
        }
        Part::RedactedThinking(data) => {
            blocks.object(|b| {
                b.string("type", "redacted_thinking").string("data", data);
            });
        }
        _ => {}
    }
}

/// Writes `tool_calls` if there are any, those of `custom_tools` with their text.
pub(in crate::ai) fn tool_calls(parts: &[Part], custom_tools: &[String], m: &mut Object<'_>) {
    if !parts.iter().any(|part| matches!(part, Part::ToolCall(_))) {
        return;
    }
    m.array("tool_calls", |calls| {
        for part in parts {
            if let Part::ToolCall(call) = part {
                calls.object(|c| tool_call(call, custom_tools.contains(&call.name), c));
            }
        }
    });
}

fn tool_call(call: &ToolCall, is_custom: bool, c: &mut Object<'_>) {
    c.string("id", &call.id);
    if is_custom {
        named(c, CUSTOM, &call.name, &custom::input(&call.arguments));
    } else {
        named(c, FUNCTION, &call.name, &call.arguments);
    }
    signature(call.signature.as_deref(), c);
}

/// A call's type, and the member for what the tool is given.
type Kind = (&'static str, &'static str);
const FUNCTION: Kind = ("function", "arguments");
const CUSTOM: Kind = ("custom", "input");

/// Writes a call's type and the object of that name.
fn named(c: &mut Object<'_>, (kind, given): Kind, name: &str, text: &str) {
    c.string("type", kind).object(kind, |f| {
        f.string("name", name).string(given, text);
    });
}

fn signature(signature: Option<&str>, c: &mut Object<'_>) {
    if let Some(signature) = signature {
        c.object("extra_content", |e| {
            e.object("google", |g| {
                g.string("thought_signature", signature);
            });
        });
    }
}

/// Writes the members of `usage`.
pub(in crate::ai::dialect) fn usage(usage: &Usage, u: &mut Object<'_>) {
    u.number("prompt_tokens", usage.prompt_tokens)
        .number("completion_tokens", usage.completion_tokens)
        .number("total_tokens", usage.total_tokens());
    if let Some(cached) = usage.cached {
        u.object("prompt_tokens_details", |d| {
            d.number("cached_tokens", cached);
        });
    }
    if let Some(reasoning) = usage.reasoning {
        u.object("completion_tokens_details", |d| {
            d.number("reasoning_tokens", reasoning);
        });
    }
}

/// Writes `chat.completion.chunk` events.
///
/// The role comes once, before everything else and together with `content` as text or null
/// according to what follows; `finish_reason` only on the last chunk; the usage, if the client
/// asked, in a chunk of its own with empty `choices`, sent at the end because only the last
/// count is the right one.
pub(in crate::ai::dialect) struct Encoder {
    /// `data: {"id":…,"model":…,"choices":[` — the same for every chunk.
    prefix: Vec<u8>,
    /// What follows the choices: with `include_usage`, OpenAI tells a null usage in every chunk.
    suffix: &'static [u8],
    include_usage: bool,
    began: bool,
    finished: bool,
    called: bool,
    usage: Option<Usage>,
    custom_tools: Vec<String>,
    /// The calls of custom tools, by their index.
    custom: Vec<(u32, Input)>,
}

impl Encoder {
    pub(in crate::ai::dialect) fn new(meta: Meta, include_usage: bool) -> Encoder {
        let mut prefix = b"data: ".to_vec();
        let mut o = Object::begin(&mut prefix);
        o.string("id", &meta.id).string("object", "chat.completion.chunk");
        created(&mut o, meta.created);
        o.string("model", &meta.model).key("choices").push(b'[');
        let suffix: &[u8] = if include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" };
        Encoder {
            prefix,
            suffix,
            include_usage,
            began: false,
            finished: false,
            called: false,
            usage: None,
            custom_tools: meta.custom_tools,
            custom: Vec::new(),
        }
    }

    fn chunk(&self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        self.chunk_with(out, None, fill);
    }

    fn chunk_with(
        &self,
        out: &mut Vec<u8>,
        finish: Option<&str>,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(b"{\"index\":0,\"delta\":");
        write::object(out, fill);
        match finish {
            None => out.extend_from_slice(b",\"finish_reason\":null}"),
            Some(reason) => {
                out.extend_from_slice(b",\"finish_reason\":");
                write::string(out, reason);
                out.push(b'}');
            }
        }
        out.extend_from_slice(self.suffix);
    }

    /// More of what the tool of a call is given.
    fn given(&self, index: u32, (kind, given): Kind, text: &str, out: &mut Vec<u8>) {
        self.chunk(out, |d| {
            d.array("tool_calls", |calls| {
                calls.object(|c| {
                    c.number("index", u64::from(index)).object(kind, |f| {
                        f.string(given, text);
                    });
                });
            });
        });
    }

    /// No call gets more: what of custom ones was not known before.
    fn end_custom(&mut self, out: &mut Vec<u8>) {
        for (index, mut input) in std::mem::take(&mut self.custom) {
            let text = input.finish();
            if !text.is_empty() {
                self.given(index, CUSTOM, &text, out);
            }
        }
    }

    fn begin(&mut self, content: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.began, true) {
            self.chunk(out, |d| {
                d.string("role", "assistant").raw("content", content);
            });
        }
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { .. } => {}
            Delta::Text(text) => {
                self.begin("\"\"", out);
                self.chunk(out, |d| {
                    d.string("content", text);
                });
            }
            Delta::Thinking(text) => {
                self.begin("\"\"", out);
                self.chunk(out, |d| {
                    d.string("reasoning_content", text);
                });
            }
            Delta::Signature(text) => {
                self.begin("\"\"", out);
                self.chunk(out, |d| {
                    d.array("thinking_blocks", |blocks| {
                        let part =
                            Part::Thinking { text: String::new(), signature: Some(text.clone()) };
                        thinking_block(&part, blocks);
                    });
                });
            }
            Delta::RedactedThinking(data) => {
                self.begin("\"\"", out);
                self.chunk(out, |d| {
                    d.array("thinking_blocks", |blocks| {
                        thinking_block(&Part::RedactedThinking(data.clone()), blocks);
                    });
                });
            }
            Delta::Refusal(text) => {
                self.begin("null", out);
                self.chunk(out, |d| {
                    d.string("refusal", text);
                });
            }
            Delta::ToolCallStart { index, id, name, signature: found } => {
                self.begin("null", out);
                self.called = true;
                let is_custom = self.custom_tools.contains(name);
                if is_custom {
                    self.custom.push((*index, Input::default()));
                }
                self.chunk(out, |d| {
                    d.array("tool_calls", |calls| {
                        calls.object(|c| {
                            c.number("index", u64::from(*index)).string("id", id);
                            named(c, if is_custom { CUSTOM } else { FUNCTION }, name, "");
                            signature(found.as_deref(), c);
                        });
                    });
                });
            }
            Delta::ToolCallArguments { index, json } => {
                let custom = self.custom.iter_mut().rfind(|(call, _)| call == index);
                match custom.map(|(_, input)| input.feed(json)) {
                    None => self.given(*index, FUNCTION, json, out),
                    Some(text) if text.is_empty() => {}
                    Some(text) => self.given(*index, CUSTOM, &text, out),
                }
            }
            Delta::Logprobs(json) => {
                out.extend_from_slice(&self.prefix);
                out.extend_from_slice(b"{\"index\":0,\"delta\":{},\"logprobs\":");
                write::one_line(out, json);
                out.extend_from_slice(b",\"finish_reason\":null}");
                out.extend_from_slice(self.suffix);
            }
            Delta::Finish(reason) => {
                self.begin("\"\"", out);
                self.end_custom(out);
                if !std::mem::replace(&mut self.finished, true) {
                    // A provider may say "stop" although it called: clients go by this word.
                    let reason = match reason {
                        FinishReason::Stop if self.called => FinishReason::ToolCalls.openai(),
                        other => other.openai(),
                    };
                    self.chunk_with(out, Some(reason), |_| {});
                }
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.finished {
            self.event(&Delta::Finish(FinishReason::Stop), out);
        }
        if let (true, Some(found)) = (self.include_usage, &self.usage) {
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(b"],\"usage\":");
            write::object(out, |u| usage(found, u));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        failure::openai(failure, out);
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { id: "chatcmpl-1".into(), model: "m".into(), created: 7, ..Meta::default() }
    }

    /// The JSON of each event, `[DONE]` as a string.
    fn events(out: &[u8]) -> Vec<serde_json::Value> {
        let text = std::str::from_utf8(out).unwrap();
        assert!(text.ends_with("\n\n"));
        text.split_terminator("\n\n")
            .map(|event| {
                let data = event.strip_prefix("data: ").unwrap();
                serde_json::from_str(data).unwrap_or_else(|_| data.into())
            })
            .collect()
    }

    fn run(deltas: &[Delta], include_usage: bool) -> Vec<serde_json::Value> {
        let mut encoder = Encoder::new(meta(), include_usage);
        let mut out = Vec::new();
        for delta in deltas {
            encoder.event(delta, &mut out);
        }
        encoder.finish(&mut out);
        events(&out)
    }

    #[test]
    fn role_comes_first_and_finish_only_last() {
        let events = run(
            &[
                Delta::Start { id: None, model: None },
                Delta::Text("a".into()),
                Delta::Text("b\n".into()),
                Delta::Usage(Usage { prompt_tokens: 1, completion_tokens: 2, ..Usage::default() }),
                Delta::Finish(FinishReason::Stop),
            ],
            true,
        );
        assert_eq!(events.len(), 6);
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events[0]["choices"][0]["delta"]["content"], "");
        assert_eq!(events[2]["choices"][0]["delta"]["content"], "b\n");
        for event in &events[..3] {
            assert_eq!(event["object"], "chat.completion.chunk");
            assert!(event["choices"][0]["finish_reason"].is_null());
            assert!(event["usage"].is_null());
        }
        assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
        assert_eq!(events[4]["choices"], serde_json::json!([]));
        assert_eq!(events[4]["usage"]["total_tokens"], 3);
        assert_eq!(events[5], "[DONE]");
    }

    #[test]
    fn usage_is_not_shown_to_who_did_not_ask() {
        let events = run(
            &[
                Delta::Text("a".into()),
                Delta::Usage(Usage::default()),
                Delta::Finish(FinishReason::Stop),
            ],
            false,
        );
        assert!(events.iter().all(|event| event.get("usage").is_none()));
    }

    #[test]
    fn tool_calls_keep_content_null_and_are_the_finish_reason() {
        let events = run(
            &[
                Delta::ToolCallStart {
                    index: 0,
                    id: "c".into(),
                    name: "f".into(),
                    signature: None,
                },
                Delta::ToolCallArguments { index: 0, json: "{\"a\":1}".into() },
                Delta::Finish(FinishReason::Stop),
            ],
            false,
        );
        assert!(events[0]["choices"][0]["delta"]["content"].is_null());
        let call = &events[1]["choices"][0]["delta"]["tool_calls"][0];
        assert_eq!(call["id"], "c");
        assert_eq!(call["function"]["arguments"], "");
        let more = &events[2]["choices"][0]["delta"]["tool_calls"][0];
        assert_eq!(more["function"]["arguments"], "{\"a\":1}");
        assert_eq!(events[3]["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn calls_of_custom_tools_have_their_text() {
        let start = |index, id: &str, name: &str| Delta::ToolCallStart {
            index,
            id: id.into(),
            name: name.into(),
            signature: None,
        };
        let more = |index, json: &str| Delta::ToolCallArguments { index, json: json.into() };
        let deltas = [
            start(0, "a", "patch"),
            start(1, "b", "f"),
            more(0, "{\"input\":\"x\\"),
            more(1, "{}"),
            more(0, "ny\"}"),
            start(2, "c", "patch"),
            more(2, "odd"),
            Delta::Finish(FinishReason::ToolCalls),
        ];
        let meta = Meta { custom_tools: vec!["patch".into()], ..meta() };
        let mut encoder = Encoder::new(meta.clone(), false);
        let (mut out, mut collector) = (Vec::new(), chat::Collector::new());
        for delta in &deltas {
            encoder.event(delta, &mut out);
            collector.add(delta);
        }
        encoder.finish(&mut out);
        let events = events(&out);
        let calls: Vec<String> = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0))
            .map(|call| call.to_string())
            .collect();
        assert_eq!(
            calls,
            [
                r#"{"custom":{"input":"","name":"patch"},"id":"a","index":0,"type":"custom"}"#,
                r#"{"function":{"arguments":"","name":"f"},"id":"b","index":1,"type":"function"}"#,
                r#"{"custom":{"input":"x"},"index":0}"#,
                r#"{"function":{"arguments":"{}"},"index":1}"#,
                r#"{"custom":{"input":"\ny"},"index":0}"#,
                r#"{"custom":{"input":"","name":"patch"},"id":"c","index":2,"type":"custom"}"#,
                r#"{"custom":{"input":"odd"},"index":2}"#,
            ]
        );
        assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "tool_calls");

        let mut out = Vec::new();
        encode(&collector.reply(), &meta, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let calls = &value["choices"][0]["message"]["tool_calls"];
        assert_eq!(
            calls[0].to_string(),
            r#"{"custom":{"input":"x\ny","name":"patch"},"id":"a","type":"custom"}"#
        );
        assert_eq!(calls[1]["function"]["arguments"], "{}");
        assert_eq!(calls[2]["custom"]["input"], "odd");
    }

    #[test]
    fn a_failed_stream_has_no_success_mark() {
        let mut encoder = Encoder::new(meta(), true);
        let mut out = Vec::new();
        encoder.event(&Delta::Text("a".into()), &mut out);
        encoder.fail(&Failure::new(502, "it broke").code("upstream_failed"), &mut out);
        let events = events(&out);
        assert_eq!(events.last().unwrap()["error"]["code"], "upstream_failed");
        assert!(!events.contains(&"[DONE]".into()));
    }

    #[test]
    fn a_whole_answer_keeps_null_content_and_thinking() {
        let reply = Reply {
            id: None,
            model: None,
            parts: vec![
                Part::Thinking { text: "hm".into(), signature: Some("s".into()) },
                Part::ToolCall(ToolCall {
                    id: "c".into(),
                    name: "f".into(),
                    arguments: "{}".into(),
                    signature: Some("g".into()),
                }),
            ],
            finish: FinishReason::ToolCalls,
            usage: Some(Usage { cached: Some(3), reasoning: Some(4), ..Usage::default() }),
            logprobs: None,
        };
        let mut out = Vec::new();
        encode(&reply, &meta(), &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let message = &value["choices"][0]["message"];
        assert!(message["content"].is_null());
        assert_eq!(message["reasoning_content"], "hm");
        assert_eq!(message["thinking_blocks"][0]["signature"], "s");
        let call = &message["tool_calls"][0];
        assert_eq!(call["extra_content"]["google"]["thought_signature"], "g");
        assert_eq!(value["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
        assert_eq!(value["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
    }
}
