//! Whole answers: Anthropic's message to the neutral reply.
#![forbid(unsafe_code)]

use super::super::{decode_failure, failure, garbage};
use crate::ai::chat::{FinishReason, Part, Reply, ToolCall};
use crate::ai::tree::{self, Node};
use crate::ai::usage::Found;
use crate::base::error::Failure;

/// Reads a message.
pub(super) fn decode(status: u16, body: &[u8]) -> Result<Reply, Failure> {
    if status >= 400 {
        return Err(decode_failure(status, None, body));
    }
    let root = tree::parse(body).map_err(|e| garbage(&e.to_string()))?;
    if root.text_of("type") == Some("error") {
        return Err(failure::in_stream(&root));
    }
    let content = root.get("content").ok_or_else(|| garbage("a message without content"))?;
    let mut found = Found::default();
    if let Some(usage) = root.get("usage") {
        found.merge(usage.raw.as_bytes());
    }
    Ok(Reply {
        id: root.text_of("id").map(str::to_owned),
        model: root.text_of("model").map(str::to_owned),
        parts: content.items().iter().filter_map(part).collect(),
        finish: finish(&root).unwrap_or(FinishReason::Stop),
        usage: found.usage(),
        logprobs: None,
    })
}

fn part(block: &Node<'_>) -> Option<Part> {
    Some(match block.text_of("type")? {
        "text" => Part::Text(block.text_of("text")?.to_owned()),
        "thinking" => Part::Thinking {
            text: block.text_of("thinking").unwrap_or_default().to_owned(),
            signature: block.text_of("signature").filter(|s| !s.is_empty()).map(str::to_owned),
        },
        "redacted_thinking" => Part::RedactedThinking(block.text_of("data")?.to_owned()),
        "tool_use" => Part::ToolCall(ToolCall {
            id: block.text_of("id")?.to_owned(),
            name: block.text_of("name")?.to_owned(),
            arguments: block.get("input").map_or("{}", |input| input.raw).to_owned(),
            signature: None,
        }),
        // What the provider's own tools did.
        _ => return None,
    })
}

/// The stop reason of a message or of a `message_delta`'s delta.
pub(super) fn finish(node: &Node<'_>) -> Option<FinishReason> {
    Some(match node.text_of("stop_reason")? {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "stop_sequence" => match node.text_of("stop_sequence") {
            Some(text) => FinishReason::StopSequence(text.to_owned()),
            None => FinishReason::Stop,
        },
        "tool_use" => FinishReason::ToolCalls,
        "pause_turn" => FinishReason::Pause,
        "refusal" => FinishReason::Refusal,
        _ => FinishReason::Stop,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whole() {
        let reply = decode(
            200,
            br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
              {"type":"thinking","thinking":"hm","signature":"s"},
              {"type":"server_tool_use","id":"x","name":"web_search","input":{}},
              {"type":"text","text":"hi"},
              {"type":"tool_use","id":"t","name":"f","input":{"a": 1.0}}],
             "stop_reason":"tool_use","stop_sequence":null,
             "usage":{"input_tokens":5,"cache_creation_input_tokens":1,"cache_read_input_tokens":4,
               "output_tokens":3,"output_tokens_details":{"thinking_tokens":2}}}"#,
        )
        .unwrap();
        assert_eq!(reply.parts.len(), 3);
        assert!(matches!(&reply.parts[2], Part::ToolCall(c) if c.arguments == "{\"a\": 1.0}"));
        assert_eq!(reply.finish, FinishReason::ToolCalls);
        let usage = reply.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (10, 3));
        assert_eq!(
            (usage.cached, usage.cache_written, usage.reasoning),
            (Some(4), Some(1), Some(2))
        );
    }

    #[test]
    fn errors_are_told() {
        let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
        assert_eq!(decode(200, body).unwrap_err().message, "busy");
        assert_eq!(decode(429, body).unwrap_err().status, 429);
        assert_eq!(decode(200, b"{}").unwrap_err().status, 502);
    }
}
