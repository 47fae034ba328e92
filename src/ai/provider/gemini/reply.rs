//! Answers: Google's JSON, whole or as events, to neutral replies and deltas.
#![forbid(unsafe_code)]

use super::super::events::Events;
use super::super::items::Items;
use super::super::{StreamDecoder, decode_failure, failure, garbage, openai};
use super::MARK;
use crate::ai::chat::{Collector, Delta, FinishReason, Reply, Usage};
use crate::ai::tree::{self, Node};
use crate::ai::write;
use crate::base::error::Failure;

/// Most tool calls of one answer.
const CALLS_MAX: u32 = 1024;

/// Reads a whole answer: a stream of one event.
pub(super) fn decode(status: u16, body: &[u8]) -> Result<Reply, Failure> {
    if status >= 400 {
        return Err(decode_failure(status, None, body));
    }
    let mut collector = Collector::new();
    let mut logprobs = None;
    let mut state = State::default();
    state.event(body, &mut |delta| match delta {
        Delta::Logprobs(json) => logprobs = Some(json),
        delta => collector.add(&delta),
    })?;
    if !state.finished {
        return Err(garbage("neither candidates nor a reason for there being none"));
    }
    Ok(Reply { logprobs, ..collector.reply() })
}

/// Reads one stream: events, or one JSON array where a proxy has lost the `alt=sse`.
#[derive(Default)]
pub(super) struct Decoder {
    form: Form,
    state: State,
}

#[derive(Default)]
enum Form {
    /// Nothing but blanks has come.
    #[default]
    Unknown,
    Events(Events),
    Array(Items),
}

#[derive(Default)]
struct State {
    started: bool,
    finished: bool,
    calls: u32,
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let state = &mut self.state;
        if let (Form::Unknown, Some(first)) = (&self.form, bytes.trim_ascii_start().first()) {
            self.form = match first {
                b'[' | b'{' => Form::Array(Items::default()),
                _ => Form::Events(Events::default()),
            };
        }
        match &mut self.form {
            Form::Unknown => Ok(()),
            Form::Events(events) => events.feed(bytes, |_, data| state.event(data, on)),
            Form::Array(items) => items.feed(bytes, |item| state.event(item, on)),
        }
    }

    fn reads_json(&self) -> bool {
        true
    }

    fn finish(&mut self, on: &mut dyn FnMut(Delta)) -> Result<bool, Failure> {
        let state = &mut self.state;
        if let Form::Events(events) = &mut self.form {
            events.finish(|_, data| state.event(data, on))?;
        }
        Ok(self.is_whole())
    }

    fn is_whole(&self) -> bool {
        self.state.finished
    }
}

impl State {
    fn event(&mut self, data: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let root = tree::parse(data).map_err(|e| garbage(&e.to_string()))?;
        if root.get("error").is_some() || root.items().iter().any(|i| i.get("error").is_some()) {
            return Err(failure::in_stream(&root));
        }
        if !std::mem::replace(&mut self.started, true) {
            on(Delta::Start {
                id: root.text_of("responseId").map(str::to_owned),
                model: root.text_of("modelVersion").map(str::to_owned),
            });
        }
        let candidate = root.get("candidates").and_then(|all| all.items().first());
        if let Some(candidate) = candidate {
            for part in candidate.path(&["content", "parts"]).map(Node::items).unwrap_or_default() {
                self.part(part, &root, on)?;
            }
            if let Some(found) = candidate.get("logprobsResult") {
                on(Delta::Logprobs(logprobs(found)));
            }
            if let Some(reason) = candidate.text_of("finishReason") {
                self.end(reason, on)?;
            }
        } else if let Some(reason) =
            root.path(&["promptFeedback", "blockReason"]).and_then(Node::text)
        {
            // The prompt itself was refused: there is no candidate to carry a reason.
            if !std::mem::replace(&mut self.finished, true) {
                on(Delta::Refusal(format!("The prompt was blocked: {reason}.")));
                on(Delta::Finish(FinishReason::ContentFilter));
            }
        }
        if let Some(usage) = root.get("usageMetadata") {
            on(Delta::Usage(self::usage(usage)));
        }
        Ok(())
    }

    fn end(&mut self, reason: &str, on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let finish = match reason {
            "FINISH_REASON_UNSPECIFIED" => return Ok(()),
            // It says STOP after calls too.
            "STOP" if self.calls > 0 => FinishReason::ToolCalls,
            "STOP" => FinishReason::Stop,
            "MAX_TOKENS" => FinishReason::Length,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR" => FinishReason::ContentFilter,
            // The model's own failure is no answer, and often gone at the next try.
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"
            | "MALFORMED_RESPONSE" => {
                let message = format!("The model of this provider ended in {reason}.");
                return Err(Failure::new(502, message).code("upstream_failed"));
            }
            _ => FinishReason::Stop,
        };
        if !std::mem::replace(&mut self.finished, true) {
            on(Delta::Finish(finish));
        }
        Ok(())
    }

    fn part(
        &mut self,
        part: &Node<'_>,
        root: &Node<'_>,
        on: &mut dyn FnMut(Delta),
    ) -> Result<(), Failure> {
        let signature = part.text_of("thoughtSignature").filter(|s| !s.is_empty());
        if let Some(call) = part.get("functionCall") {
            if self.calls >= CALLS_MAX {
                return Err(garbage("too many tool calls"));
            }
            let index = self.calls;
            self.calls += 1;
            let id = match call.text_of("id").filter(|id| !id.is_empty()) {
                Some(id) => id.to_owned(),
                None => {
                    let answer = root.text_of("responseId").unwrap_or_default();
                    format!("call_{}", openai::short_id(&format!("{answer}#{index}")))
                }
            };
            on(Delta::ToolCallStart {
                index,
                id,
                name: call.text_of("name").unwrap_or_default().to_owned(),
                signature: signature.map(str::to_owned),
            });
            let json = call.get("args").map_or("{}", |args| args.raw).to_owned();
            on(Delta::ToolCallArguments { index, json });
            return Ok(());
        }
        let is_thought = part.get("thought").and_then(Node::boolean) == Some(true);
        if let Some(text) = part.text_of("text").filter(|text| !text.is_empty()) {
            let text = text.to_owned();
            on(if is_thought { Delta::Thinking(text) } else { Delta::Text(text) });
        }
        if let Some(signature) = signature {
            on(Delta::Signature(format!("{MARK}{signature}")));
        }
        Ok(())
    }
}

/// Thoughts are counted beside the candidates here, and within the completion elsewhere.
fn usage(node: &Node<'_>) -> Usage {
    let count = |name| node.unsigned_of(name);
    let sum = |a: Option<u64>, b: Option<u64>| a.unwrap_or(0).saturating_add(b.unwrap_or(0));
    Usage {
        prompt_tokens: sum(count("promptTokenCount"), count("toolUsePromptTokenCount")),
        completion_tokens: sum(count("candidatesTokenCount"), count("thoughtsTokenCount")),
        cached: count("cachedContentTokenCount"),
        cache_written: None,
        reasoning: count("thoughtsTokenCount"),
        is_estimated: false,
    }
}

/// OpenAI's form of the same numbers.
fn logprobs(found: &Node<'_>) -> String {
    let items = |name: &str| found.get(name).map(Node::items).unwrap_or_default();
    let mut out = Vec::new();
    write::object(&mut out, |o| {
        o.array("content", |all| {
            for (place, chosen) in items("chosenCandidates").iter().enumerate() {
                all.object(|t| {
                    token(chosen, t);
                    let top = items("topCandidates").get(place);
                    let top = top.and_then(|top| top.get("candidates")).map(Node::items);
                    t.array("top_logprobs", |list| {
                        for item in top.unwrap_or_default() {
                            list.object(|t| token(item, t));
                        }
                    });
                });
            }
        })
        .raw("refusal", "null");
    });
    String::from_utf8(out).unwrap_or_default()
}

fn token(item: &Node<'_>, t: &mut write::Object<'_>) {
    t.string("token", item.text_of("token").unwrap_or_default())
        .raw("logprob", item.get("logProbability").map_or("0", |n| n.raw))
        .raw("bytes", "null");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::{Part, join_text};

    const STREAM: &str = include_str!("../../../../tests/data/ai/gemini_stream.sse");

    fn read(chunks: &[&[u8]]) -> Result<(Reply, bool), Failure> {
        let mut decoder = Decoder::default();
        let mut collector = Collector::new();
        for chunk in chunks {
            decoder.feed(chunk, &mut |delta| collector.add(&delta))?;
        }
        let whole = decoder.finish(&mut |delta| collector.add(&delta))?;
        Ok((collector.reply(), whole))
    }

    #[test]
    fn a_stream_reads_the_same_at_every_cut() {
        let (expected, whole) = read(&[STREAM.as_bytes()]).unwrap();
        assert!(whole);
        assert_eq!(join_text(&expected.parts), "Hé 😀");
        assert!(
            matches!(&expected.parts[0], Part::Thinking { text, signature: None } if text == "hm")
        );
        let Part::ToolCall(call) = &expected.parts[2] else { panic!("a call") };
        assert_eq!((call.name.as_str(), call.signature.as_deref()), ("get_weather", Some("U0lH")));
        assert_eq!(call.arguments, "{\"city\": \"Paris\"}");
        let Part::ToolCall(second) = &expected.parts[3] else { panic!("a call") };
        assert_eq!(second.arguments, "{}");
        assert_ne!(call.id, second.id);
        assert_eq!(expected.finish, FinishReason::ToolCalls, "it says STOP");
        let usage = expected.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (20, 35));
        assert_eq!((usage.cached, usage.reasoning), (Some(8), Some(15)));
        for end in ["\n", "\r\n", "\r"] {
            let text = STREAM.replace('\n', end);
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(read(&[head, tail]).unwrap(), (expected.clone(), true), "{cut}");
            }
        }
    }

    #[test]
    fn an_array_reads_the_same_at_every_cut() {
        let expected = read(&[STREAM.as_bytes()]).unwrap();
        let items: Vec<&str> = STREAM
            .split_terminator("\n\n")
            .map(|e| e.trim().strip_prefix("data: ").unwrap())
            .collect();
        for between in [",", ",\n", "\r\n,\r\n"] {
            let text = format!("[{}\n]\n", items.join(between));
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(read(&[head, tail]).unwrap(), expected, "{cut}");
            }
        }
        let cut = format!("[{},\n", items.first().unwrap());
        assert!(!read(&[cut.as_bytes()]).unwrap().1, "without its end it was cut");
        let error = b"[{\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}]";
        assert_eq!(read(&[b"\n", error]).unwrap_err().message, "busy");
    }

    #[test]
    fn a_block_without_candidates_is_a_refusal() {
        let body = br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#;
        let reply = decode(200, body).unwrap();
        assert_eq!(reply.finish, FinishReason::ContentFilter);
        assert!(matches!(&reply.parts[..], [Part::Refusal(_)]));
        assert_eq!(reply.usage.unwrap().prompt_tokens, 4);
        assert_eq!(decode(200, b"{}").unwrap_err().status, 502);
    }

    #[test]
    fn ends_are_told_apart() {
        for (reason, expected) in [
            ("STOP", Some(FinishReason::Stop)),
            ("MAX_TOKENS", Some(FinishReason::Length)),
            ("SAFETY", Some(FinishReason::ContentFilter)),
            ("MALFORMED_FUNCTION_CALL", None),
        ] {
            let body = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a","thoughtSignature":"QQ=="}}]}},"finishReason":"{reason}"}}]}}"#
            );
            let reply = decode(200, body.as_bytes());
            assert_eq!(reply.as_ref().ok().map(|r| r.finish.clone()), expected);
            if let Ok(reply) = reply {
                assert!(matches!(&reply.parts[1], Part::Thinking { text, signature: Some(s) }
                    if text.is_empty() && s == "gemini:QQ=="));
            }
        }
        let failed = read(&[
            b"data: {\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}\n\n",
        ]);
        assert_eq!(failed.unwrap_err().message, "busy");
        assert!(
            !read(&[b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n\n"])
                .unwrap()
                .1
        );
    }
}
