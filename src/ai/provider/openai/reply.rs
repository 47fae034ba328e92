//! Whole answers: OpenAI's JSON to the neutral reply.
#![forbid(unsafe_code)]

use super::super::{decode_failure, failure, garbage};
use crate::ai::chat::{FinishReason, Part, Reply, ToolCall, Usage};
use crate::ai::dialect::openai_parts;
use crate::ai::tree::{self, Node};
use crate::ai::usage::Found;
use crate::base::error::Failure;

/// Reads a `chat.completion`.
pub(super) fn decode(status: u16, body: &[u8]) -> Result<Reply, Failure> {
    if status >= 400 {
        return Err(decode_failure(status, None, body));
    }
    let root = tree::parse(body).map_err(|e| garbage(&e.to_string()))?;
    if root.get("error").is_some() {
        return Err(failure::in_stream(&root));
    }
    let choice = root.get("choices").and_then(|choices| choices.items().first());
    let choice = choice.ok_or_else(|| garbage("no choices"))?;
    let message = choice.get("message").ok_or_else(|| garbage("a choice without a message"))?;
    let mut parts = Vec::new();
    thinking(message, &mut parts);
    content(message, &mut parts);
    if let Some(refusal) = message.text_of("refusal") {
        parts.push(Part::Refusal(refusal.to_owned()));
    }
    let mut called = false;
    for call in message.get("tool_calls").map(Node::items).unwrap_or_default() {
        let (tool, arguments) = match (call.get("function"), call.get("custom")) {
            (Some(function), _) => (function, arguments(function)),
            (None, Some(custom)) => {
                let input = custom.text_of("input").unwrap_or_default();
                (custom, openai_parts::custom_arguments(input))
            }
            (None, None) => continue,
        };
        called = true;
        let name = tool.text_of("name").unwrap_or_default().to_owned();
        let count = parts.len();
        parts.push(Part::ToolCall(ToolCall {
            id: call.text_of("id").map_or_else(|| format!("call_{count}"), str::to_owned),
            name,
            arguments: if arguments.trim().is_empty() { "{}".to_owned() } else { arguments },
            signature: signature(call),
        }));
    }
    let finish = choice.text_of("finish_reason").map(FinishReason::from_openai);
    Ok(Reply {
        id: root.text_of("id").map(str::to_owned),
        model: root.text_of("model").map(str::to_owned),
        parts,
        finish: match finish {
            // Some compatibles say "stop" although the model called.
            Some(FinishReason::Stop) | None if called => FinishReason::ToolCalls,
            Some(FinishReason::Stop) => stop(choice),
            Some(finish) => finish,
            None => FinishReason::Stop,
        },
        usage: usage(&root),
        logprobs: choice.get("logprobs").map(|l| l.raw.to_owned()),
    })
}

/// An ordinary end. vLLM tells in `stop_reason` which stop text came.
pub(super) fn stop(choice: &Node<'_>) -> FinishReason {
    match choice.text_of("stop_reason") {
        Some(text) => FinishReason::StopSequence(text.to_owned()),
        None => FinishReason::Stop,
    }
}

/// The usage of an answer or a chunk.
pub(super) fn usage(root: &Node<'_>) -> Option<Usage> {
    // Groq tells a stream's usage in a corner of its own.
    let node = root.get("usage").or_else(|| root.path(&["x_groq", "usage"]))?;
    let mut found = Found::default();
    found.merge(node.raw.as_bytes());
    found.usage()
}

/// Arguments are text; a few compatibles send the object itself.
pub(super) fn arguments(function: &Node<'_>) -> String {
    match function.get("arguments") {
        Some(node) => node.text().unwrap_or(node.raw).to_owned(),
        None => String::new(),
    }
}

/// Google's signature on a call.
pub(super) fn signature(call: &Node<'_>) -> Option<String> {
    let found = call.path(&["extra_content", "google", "thought_signature"]);
    found.and_then(Node::text).map(str::to_owned)
}

fn thinking(message: &Node<'_>, parts: &mut Vec<Part>) {
    let blocks = message.get("thinking_blocks").map(Node::items).unwrap_or_default();
    for block in blocks {
        match (block.text_of("thinking"), block.text_of("data")) {
            (Some(text), _) => parts.push(Part::Thinking {
                text: text.to_owned(),
                signature: block.text_of("signature").map(str::to_owned),
            }),
            (None, Some(data)) => parts.push(Part::RedactedThinking(data.to_owned())),
            (None, None) => {}
        }
    }
    let text = message.text_of("reasoning_content").or(message.text_of("reasoning"));
    if let (true, Some(text)) = (blocks.is_empty(), text.filter(|text| !text.is_empty())) {
        parts.push(Part::Thinking { text: text.to_owned(), signature: None });
    }
}

fn content(message: &Node<'_>, parts: &mut Vec<Part>) {
    let Some(content) = message.get("content") else {
        return;
    };
    if let Some(text) = content.text() {
        parts.push(Part::Text(text.to_owned()));
    }
    for item in content.items() {
        parts.extend(content_item(item));
    }
}

/// Mistral's content can be an array, thinking among it.
pub(super) fn content_item(item: &Node<'_>) -> Option<Part> {
    match item.text_of("type")? {
        "text" => Some(Part::Text(item.text_of("text")?.to_owned())),
        "thinking" => {
            let thought = item.get("thinking")?;
            let text = match thought.text() {
                Some(text) => text.to_owned(),
                None => thought.items().iter().filter_map(|t| t.text_of("text")).collect(),
            };
            Some(Part::Thinking { text, signature: None })
        }
        _ => None,
    }
}
