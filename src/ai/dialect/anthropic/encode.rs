//! Whole answers: the neutral reply to Anthropic's message.
#![forbid(unsafe_code)]

use super::super::{Meta, signature};
use crate::ai::chat::{FinishReason, Part, Reply, Usage};
use crate::ai::write::{self, Array, Object};

/// Writes a message.
pub(in crate::ai::dialect) fn encode(reply: &Reply, meta: &Meta, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.string("id", &meta.id)
            .string("type", "message")
            .string("role", "assistant")
            .string("model", &meta.model)
            .array("content", |blocks| {
                for part in &reply.parts {
                    block(part, blocks);
                }
            });
        stop(&reply.finish, o);
        o.object("usage", |u| usage(reply.usage.as_ref(), u));
    });
}

/// Writes the answer of `/v1/messages/count_tokens`.
pub(in crate::ai::dialect) fn count(tokens: u64, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.number("input_tokens", tokens);
    });
}

fn block(part: &Part, blocks: &mut Array<'_>) {
    match part {
        // An empty text block would be refused when the client sends it back.
        Part::Text(text) | Part::Refusal(text) if text.is_empty() => {}
        Part::Text(text) | Part::Refusal(text) => {
            blocks.object(|b| {
                b.string("type", "text").string("text", text);
            });
        }
        Part::Thinking { text, signature } => {
            blocks.object(|b| {
                b.string("type", "thinking")
                    .string("thinking", text)
                    .string("signature", signature.as_deref().unwrap_or_default());
            });
        }
        Part::RedactedThinking(data) => {
            blocks.object(|b| {
                b.string("type", "redacted_thinking").string("data", data);
            });
        }
        Part::ToolCall(call) => {
            blocks.object(|b| {
                b.string("type", "tool_use")
                    .string("id", &signature::into_id(&call.id, call.signature.as_deref()))
                    .string("name", &call.name)
                    .raw("input", &write::object_text(&call.arguments));
            });
        }
        _ => {}
    }
}

/// Writes `stop_reason` and `stop_sequence`.
pub(super) fn stop(reason: &FinishReason, o: &mut Object<'_>) {
    let (reason, sequence) = match reason {
        FinishReason::Stop => ("end_turn", None),
        FinishReason::StopSequence(text) => ("stop_sequence", Some(text.as_str())),
        FinishReason::Length => ("max_tokens", None),
        FinishReason::ToolCalls => ("tool_use", None),
        FinishReason::ContentFilter | FinishReason::Refusal => ("refusal", None),
        FinishReason::Pause => ("pause_turn", None),
    };
    o.string("stop_reason", reason).string_or_null("stop_sequence", sequence);
}

/// Writes the members of `usage`: cached tokens are not part of `input_tokens` here.
pub(super) fn usage(usage: Option<&Usage>, u: &mut Object<'_>) {
    let usage = usage.copied().unwrap_or_default();
    let cached = usage.cached.unwrap_or(0);
    let written = usage.cache_written.unwrap_or(0);
    let fresh = usage.prompt_tokens.saturating_sub(cached.saturating_add(written));
    u.number("input_tokens", fresh)
        .number("cache_creation_input_tokens", written)
        .number("cache_read_input_tokens", cached)
        .number("output_tokens", usage.completion_tokens);
    if let Some(thinking) = usage.reasoning {
        u.object("output_tokens_details", |d| {
            d.number("thinking_tokens", thinking);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::ToolCall;

    #[test]
    fn a_message_is_anthropics() {
        let reply = Reply {
            id: None,
            model: None,
            parts: vec![
                Part::Thinking { text: "hm".into(), signature: None },
                Part::Text(String::new()),
                Part::Text("hi".into()),
                Part::ToolCall(ToolCall {
                    id: "t".into(),
                    name: "f".into(),
                    arguments: "{\"a\": 1.0}".into(),
                    signature: Some("QUJD".into()),
                }),
            ],
            finish: FinishReason::ToolCalls,
            usage: Some(Usage {
                prompt_tokens: 10,
                completion_tokens: 3,
                cached: Some(4),
                cache_written: Some(1),
                reasoning: Some(2),
                is_estimated: false,
            }),
            logprobs: None,
        };
        let mut out = Vec::new();
        let meta = Meta { id: "msg_1".into(), model: "m".into(), created: 0, ..Meta::default() };
        encode(&reply, &meta, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":["#,
                r#"{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"hi"},"#,
                r#"{"type":"tool_use","id":"t__ts__QUJD","name":"f","input":{"a": 1.0}}],"#,
                r#""stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":5,"#,
                r#""cache_creation_input_tokens":1,"cache_read_input_tokens":4,"output_tokens":3,"#,
                r#""output_tokens_details":{"thinking_tokens":2}}}"#
            )
        );
    }
}
