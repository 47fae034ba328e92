//! Whole answers: the neutral reply to OpenAI's response object.
#![forbid(unsafe_code)]

use super::super::{Meta, custom, signature};
use crate::ai::chat::{FinishReason, Part, Reply, ToolCall, Usage};
use crate::ai::tree;
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// Writes a response.
pub(in crate::ai::dialect) fn encode(reply: &Reply, meta: &Meta, out: &mut Vec<u8>) {
    let ids = Ids::new(&meta.id);
    write::object(out, |o| {
        let state = State::of(&reply.finish);
        // They are those of all texts together.
        let mut logprobs = reply.logprobs.as_deref().and_then(logprob_items);
        response(meta, state, None, o, |output| {
            for (index, part) in reply.parts.iter().enumerate() {
                let logprobs = match part {
                    Part::Text(_) => logprobs.take(),
                    _ => None,
                };
                let is_custom = matches!(part, Part::ToolCall(call) if meta.is_custom(&call.name));
                let id = ids.make(prefix(part, is_custom), index);
                item(part, meta, logprobs.as_deref(), &id, output);
            }
        });
        usage(reply.usage.as_ref(), o);
    });
}

/// The items of OpenAI's `logprobs` object, without the brackets around them.
pub(super) fn logprob_items(json: &str) -> Option<String> {
    let node = tree::parse_str(json).ok()?;
    let items = node.get("content").filter(|content| !content.items().is_empty())?.raw.trim();
    Some(items.strip_prefix('[')?.strip_suffix(']')?.replace(['\n', '\r'], " "))
}

/// Names the items of a response after it.
pub(super) struct Ids {
    stem: String,
}

impl Ids {
    pub(super) fn new(response: &str) -> Ids {
        Ids { stem: response.strip_prefix("resp_").unwrap_or(response).to_owned() }
    }

    /// The id of an item: its kind's prefix, the response's own id and the item's place.
    pub(super) fn make(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}_{index}", self.stem)
    }
}

/// What the id of an item begins with.
pub(super) fn prefix(part: &Part, is_custom: bool) -> &'static str {
    match part {
        Part::Thinking { .. } | Part::RedactedThinking(_) => "rs",
        Part::ToolCall(_) if is_custom => "ctc",
        Part::ToolCall(_) => "fc",
        _ => "msg",
    }
}

/// `status` and what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    InProgress,
    Completed,
    Incomplete(&'static str),
    Failed,
}

impl State {
    pub(super) fn of(finish: &FinishReason) -> State {
        match finish {
            FinishReason::Length => State::Incomplete("max_output_tokens"),
            FinishReason::ContentFilter | FinishReason::Refusal => {
                State::Incomplete("content_filter")
            }
            _ => State::Completed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            State::InProgress => "in_progress",
            State::Completed => "completed",
            State::Incomplete(_) => "incomplete",
            State::Failed => "failed",
        }
    }
}

/// Writes the members of a response but for its usage.
pub(super) fn response(
    meta: &Meta,
    state: State,
    error: Option<&Failure>,
    o: &mut Object<'_>,
    output: impl FnOnce(&mut Array<'_>),
) {
    o.string("id", &meta.id)
        .string("object", "response")
        .number("created_at", u64::try_from(meta.created).unwrap_or(0))
        .string("status", state.name())
        .raw("background", "false");
    match error {
        Some(failure) => o.object("error", |e| {
            e.string("code", failure.code.as_deref().unwrap_or("server_error"))
                .string("message", &failure.message);
        }),
        None => o.raw("error", "null"),
    };
    match state {
        State::Incomplete(reason) => o.object("incomplete_details", |d| {
            d.string("reason", reason);
        }),
        _ => o.raw("incomplete_details", "null"),
    };
    o.raw("instructions", "null")
        .raw("metadata", "{}")
        .string("model", &meta.model)
        .array("output", output)
        .raw("parallel_tool_calls", "true")
        .raw("previous_response_id", "null")
        .raw("store", "false")
        .raw("temperature", "null")
        .string("tool_choice", "auto")
        .raw("tools", "[]")
        .raw("top_p", "null");
}

/// Writes `usage`.
pub(super) fn usage(usage: Option<&Usage>, o: &mut Object<'_>) {
    let Some(usage) = usage else {
        o.raw("usage", "null");
        return;
    };
    o.object("usage", |u| {
        u.number("input_tokens", usage.prompt_tokens)
            .object("input_tokens_details", |d| {
                d.number("cached_tokens", usage.cached.unwrap_or(0))
                    .number("cache_write_tokens", usage.cache_written.unwrap_or(0));
            })
            .number("output_tokens", usage.completion_tokens)
            .object("output_tokens_details", |d| {
                d.number("reasoning_tokens", usage.reasoning.unwrap_or(0));
            })
            .number("total_tokens", usage.total_tokens());
    });
}

/// Writes a finished output item.
pub(super) fn item(
    part: &Part,
    meta: &Meta,
    logprobs: Option<&str>,
    id: &str,
    output: &mut Array<'_>,
) {
    match part {
        Part::Text(text) => {
            output.object(|o| message(id, "completed", o, |c| output_text(text, logprobs, c)));
        }
        Part::Refusal(text) => {
            output.object(|o| message(id, "completed", o, |c| refusal(text, c)));
        }
        Part::Thinking { text, signature } => {
            output.object(|o| reasoning(id, text, signature.as_deref(), o));
        }
        Part::RedactedThinking(data) => {
            output.object(|o| reasoning(id, "", Some(data), o));
        }
        Part::ToolCall(call) => {
            output.object(|o| tool_call(id, "completed", call, meta, o));
        }
        _ => {}
    }
}

/// Writes the members of a message with one content part.
pub(super) fn message(
    id: &str,
    status: &str,
    o: &mut Object<'_>,
    content: impl FnOnce(&mut Object<'_>),
) {
    o.string("id", id).string("type", "message").string("status", status).array("content", |c| {
        c.object(content);
    });
    o.string("role", "assistant");
}

/// Writes the members of a text part.
pub(super) fn output_text(text: &str, logprobs: Option<&str>, c: &mut Object<'_>) {
    c.string("type", "output_text").raw("annotations", "[]");
    self::logprobs(logprobs, c);
    c.string("text", text);
}

/// Writes `logprobs`.
pub(super) fn logprobs(items: Option<&str>, o: &mut Object<'_>) {
    let out = o.key("logprobs");
    out.push(b'[');
    out.extend_from_slice(items.unwrap_or_default().as_bytes());
    out.push(b']');
}

/// Writes the members of a refusal part.
pub(super) fn refusal(text: &str, c: &mut Object<'_>) {
    c.string("type", "refusal").string("refusal", text);
}

/// Writes the members of a reasoning item.
pub(super) fn reasoning(id: &str, text: &str, signature: Option<&str>, o: &mut Object<'_>) {
    o.string("id", id).string("type", "reasoning").array("summary", |summary| {
        if !text.is_empty() {
            summary.object(|s| {
                s.string("type", "summary_text").string("text", text);
            });
        }
    });
    o.string_if("encrypted_content", signature);
}

/// Writes the members of a call, with its tool as the client knows it.
pub(super) fn tool_call(id: &str, status: &str, call: &ToolCall, meta: &Meta, o: &mut Object<'_>) {
    let is_custom = meta.is_custom(&call.name);
    let (namespace, name) = meta.namespaced(&call.name).unzip();
    o.string("id", id)
        .string("type", if is_custom { "custom_tool_call" } else { "function_call" })
        .string("status", status)
        .string("call_id", &signature::into_id(&call.id, call.signature.as_deref()))
        .string("name", name.unwrap_or(&call.name))
        .string_if("namespace", namespace);
    if is_custom {
        o.string("input", &custom::input(&call.arguments));
    } else {
        o.string("arguments", &call.arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_openais() {
        let reply = Reply {
            id: None,
            model: None,
            parts: vec![
                Part::Thinking { text: "hm".into(), signature: Some("sig".into()) },
                Part::Text("hi".into()),
                Part::ToolCall(ToolCall {
                    id: "c".into(),
                    name: "f".into(),
                    arguments: "{}".into(),
                    signature: None,
                }),
            ],
            finish: FinishReason::Length,
            usage: Some(Usage { prompt_tokens: 2, completion_tokens: 3, ..Usage::default() }),
            logprobs: Some("{\"content\":[{\"token\":\"hi\",\"logprob\":-0.50}]}".into()),
        };
        let mut out = Vec::new();
        let meta = Meta { id: "resp_a".into(), model: "m".into(), created: 7, ..Meta::default() };
        encode(&reply, &meta, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["status"], "incomplete");
        assert_eq!(value["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(value["output"][0]["encrypted_content"], "sig");
        assert_eq!(value["output"][0]["summary"][0]["text"], "hm");
        assert_eq!(value["output"][1]["content"][0]["text"], "hi");
        assert_eq!(value["output"][1]["content"][0]["logprobs"][0]["logprob"], -0.50);
        assert_eq!(value["output"][1]["id"], "msg_a_1");
        assert_eq!(value["output"][2]["call_id"], "c");
        assert_eq!(value["usage"]["total_tokens"], 5);
    }
}
