//! Answers: Ollama's JSON, whole or a line at a time, to neutral replies and deltas.
#![forbid(unsafe_code)]

use super::super::{StreamDecoder, decode_failure, failure, garbage, openai};
use crate::ai::chat::{Collector, Delta, FinishReason, Reply, Usage};
use crate::ai::tree::{self, Node};
use crate::ai::write;
use crate::base::error::Failure;

/// Largest line of a stream.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Most tool calls of one answer.
const CALLS_MAX: u32 = 1024;

/// Reads a whole answer: a stream of one line.
pub(super) fn decode(status: u16, body: &[u8]) -> Result<Reply, Failure> {
    if status >= 400 {
        return Err(decode_failure(status, None, body));
    }
    let mut collector = Collector::new();
    let mut logprobs = None;
    let mut state = State::default();
    state.line(body, &mut |delta| match delta {
        Delta::Logprobs(json) => logprobs = Some(json),
        delta => collector.add(&delta),
    })?;
    if !state.done {
        return Err(garbage("an answer that is not done"));
    }
    Ok(Reply { logprobs, ..collector.reply() })
}

/// Reads one stream.
#[derive(Default)]
pub(super) struct Decoder {
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
    state: State,
}

#[derive(Default)]
struct State {
    started: bool,
    done: bool,
    calls: u32,
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or(&[]);
            if self.held.is_empty() {
                self.state.line(line, on)?;
            } else {
                self.held.extend_from_slice(line);
                let result = self.state.line(&self.held, on);
                self.held.clear();
                result?;
            }
        }
        if self.held.len() + rest.len() > LINE_BYTES_MAX {
            return Err(garbage("a line larger than 16 MiB"));
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    fn finish(&mut self, on: &mut dyn FnMut(Delta)) -> Result<bool, Failure> {
        let line = std::mem::take(&mut self.held);
        self.state.line(&line, on)?;
        Ok(self.is_whole())
    }

    fn is_whole(&self) -> bool {
        self.state.done
    }
}

impl State {
    fn line(&mut self, line: &[u8], on: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let line = line.trim_ascii();
        if line.is_empty() || self.done {
            return Ok(());
        }
        let root = tree::parse(line).map_err(|e| garbage(&e.to_string()))?;
        if root.get("error").is_some() {
            return Err(failure::in_stream(&root));
        }
        if !std::mem::replace(&mut self.started, true) {
            on(Delta::Start { id: None, model: root.text_of("model").map(str::to_owned) });
        }
        if let Some(message) = root.get("message") {
            if let Some(text) = message.text_of("thinking").filter(|text| !text.is_empty()) {
                on(Delta::Thinking(text.to_owned()));
            }
            if let Some(text) = message.text_of("content").filter(|text| !text.is_empty()) {
                on(Delta::Text(text.to_owned()));
            }
            for call in message.get("tool_calls").map(Node::items).unwrap_or_default() {
                self.call(call, &root, on)?;
            }
        }
        if let Some(found) = root.get("logprobs") {
            on(Delta::Logprobs(logprobs(found)));
        }
        if root.get("done").and_then(Node::boolean) == Some(true) {
            self.done = true;
            on(Delta::Finish(match root.text_of("done_reason") {
                _ if self.calls > 0 => FinishReason::ToolCalls,
                Some("length") => FinishReason::Length,
                _ => FinishReason::Stop,
            }));
            let count = |name| root.unsigned_of(name);
            if let (prompt, Some(completion)) = (count("prompt_eval_count"), count("eval_count")) {
                on(Delta::Usage(Usage {
                    // Left out when the whole prompt was cached.
                    prompt_tokens: prompt.unwrap_or(0),
                    completion_tokens: completion,
                    ..Usage::default()
                }));
            }
        }
        Ok(())
    }

    /// Calls come whole, with arguments as an object; older versions give them no id.
    fn call(
        &mut self,
        call: &Node<'_>,
        root: &Node<'_>,
        on: &mut dyn FnMut(Delta),
    ) -> Result<(), Failure> {
        let Some(function) = call.get("function") else { return Ok(()) };
        if self.calls >= CALLS_MAX {
            return Err(garbage("too many tool calls"));
        }
        let index = self.calls;
        self.calls += 1;
        let id = match call.text_of("id").filter(|id| !id.is_empty()) {
            Some(id) => id.to_owned(),
            None => {
                // No two answers begin at the same nanosecond.
                let when = root.text_of("created_at").unwrap_or_default();
                format!("call_{}", openai::short_id(&format!("{when}#{index}")))
            }
        };
        let name = function.text_of("name").unwrap_or_default().to_owned();
        on(Delta::ToolCallStart { index, id, name, signature: None });
        let json = match function.get("arguments") {
            Some(node) => node.text().unwrap_or(node.raw).to_owned(),
            None => "{}".to_owned(),
        };
        on(Delta::ToolCallArguments { index, json });
        Ok(())
    }
}

/// OpenAI's form of the same numbers.
fn logprobs(found: &Node<'_>) -> String {
    let mut out = Vec::new();
    write::object(&mut out, |o| {
        o.array("content", |all| {
            for item in found.items() {
                all.object(|t| {
                    token(item, t);
                    t.array("top_logprobs", |top| {
                        for item in item.get("top_logprobs").map(Node::items).unwrap_or_default() {
                            top.object(|t| token(item, t));
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
        .raw("logprob", item.get("logprob").map_or("0", |n| n.raw))
        .raw("bytes", "null");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::{Part, join_text};

    const STREAM: &str = include_str!("../../../../tests/data/ai/ollama_stream.ndjson");

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
    fn lines_read_the_same_at_every_cut() {
        let (expected, whole) = read(&[STREAM.as_bytes()]).unwrap();
        assert!(whole);
        assert_eq!(join_text(&expected.parts), "Hé😀");
        assert!(matches!(&expected.parts[0], Part::Thinking { text, .. } if text == "hm"));
        let Part::ToolCall(call) = &expected.parts[2] else { panic!("a call") };
        assert_eq!(call.arguments, "{\"city\": \"Paris\"}");
        assert_eq!(call.id.len(), "call_".len() + 9);
        assert_eq!(expected.finish, FinishReason::ToolCalls);
        assert_eq!(expected.usage.unwrap().completion_tokens, 282);
        for cut in 0..=STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            assert_eq!(read(&[head, tail]).unwrap(), (expected.clone(), true), "{cut}");
        }
        // The last line may come without its line end; a line less is a cut.
        assert!(read(&[STREAM.trim_end().as_bytes()]).unwrap().1);
        let last = STREAM.trim_end().rfind('\n').unwrap();
        assert!(!read(&[&STREAM.as_bytes()[..last]]).unwrap().1);
    }

    #[test]
    fn whole_answers_and_errors() {
        let reply = decode(
            200,
            br#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"hi"},"done":true,
              "done_reason":"length","prompt_eval_count":3,"eval_count":1,
              "logprobs":[{"token":"hi","logprob":-0.50,"top_logprobs":[{"token":"ho","logprob":-2}]}]}"#,
        )
        .unwrap();
        assert_eq!(reply.finish, FinishReason::Length);
        assert_eq!(
            reply.logprobs.as_deref(),
            Some(concat!(
                r#"{"content":[{"token":"hi","logprob":-0.50,"bytes":null,"top_logprobs":"#,
                r#"[{"token":"ho","logprob":-2,"bytes":null}]}],"refusal":null}"#
            ))
        );
        let failure =
            read(&[b"{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"error\":\"broke\"}\n"]);
        assert_eq!(failure.unwrap_err().message, "broke");
        assert_eq!(decode(404, b"{\"error\":\"model 'x' not found\"}").unwrap_err().status, 404);
    }
}
