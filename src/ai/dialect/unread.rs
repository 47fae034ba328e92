//! Members of requests that nobody reads here, deep inside: they are told by name, not lost in
//! silence. What stands beside the messages is told by the readers themselves.
#![forbid(unsafe_code)]

use crate::ai::chat::lose;
use crate::ai::tree::{Node, Value};

/// What is read of one object, and what its other members are told as.
struct Known {
    told: &'static str,
    members: &'static [&'static str],
}

/// Notes what of chat completions is not read.
pub(super) fn chat(root: &Node<'_>, lost: &mut Vec<String>) {
    const MESSAGE: Known = Known {
        told: "messages",
        members: &[
            "role",
            "content",
            "name",
            "prefix",
            "tool_calls",
            "tool_call_id",
            "function_call",
            "refusal",
            "reasoning_content",
            "reasoning",
            "thinking_blocks",
        ],
    };
    const PART: Known = Known {
        told: "messages.content",
        members: &["type", "text", "image_url", "input_audio", "file", "refusal"],
    };
    const CALL: Known = Known {
        told: "messages.tool_calls",
        // The index is left there by clients that have collected a stream.
        members: &["id", "type", "function", "custom", "extra_content", "index"],
    };
    const TOOL: Known = Known { told: "tools", members: &["type", "function", "custom"] };
    for message in items(root, "messages") {
        MESSAGE.note(message, lost);
        PART.note_all(items(message, "content"), lost);
        CALL.note_all(items(message, "tool_calls"), lost);
    }
    for tool in items(root, "tools").iter().filter(|tool| is_function(tool)) {
        TOOL.note(tool, lost);
        for name in ["function", "custom"] {
            FUNCTION.note_all(tool.get(name), lost);
        }
    }
}

/// What is read of a function or a custom tool.
const FUNCTION: Known = Known {
    told: "tools",
    members: &["type", "name", "description", "parameters", "strict", "format"],
};

fn is_function(tool: &Node<'_>) -> bool {
    matches!(tool.text_of("type"), Some("function" | "custom"))
}

/// Notes what of responses is not read.
pub(super) fn responses(root: &Node<'_>, lost: &mut Vec<String>) {
    const ITEM: Known = Known {
        told: "input",
        members: &[
            "type",
            "id",
            "status",
            "role",
            "content",
            "call_id",
            "name",
            "namespace",
            "arguments",
            "input",
            "output",
            "summary",
            "encrypted_content",
        ],
    };
    const PART: Known = Known {
        told: "input.content",
        members: &[
            "type",
            "text",
            "refusal",
            "image_url",
            "file_id",
            "detail",
            "file_data",
            "file_url",
            "filename",
            "input_audio",
            // Of an earlier answer.
            "logprobs",
        ],
    };
    const REASONING: Known = Known { told: "reasoning", members: &["effort", "summary"] };
    const TEXT: Known = Known { told: "text", members: &["format", "verbosity"] };
    for item in items(root, "input") {
        let kind = item.text_of("type").unwrap_or("message");
        // Others are told by their type.
        if !["message", "reasoning"].contains(&kind) && !is_call(kind) {
            continue;
        }
        ITEM.note(item, lost);
        PART.note_all(items(item, "content"), lost);
        PART.note_all(items(item, "output"), lost);
    }
    for tool in items(root, "tools") {
        match tool.text_of("type") {
            Some("namespace") => FUNCTION.note_all(items(tool, "tools"), lost),
            _ if is_function(tool) => FUNCTION.note(tool, lost),
            _ => {}
        }
    }
    REASONING.note_all(root.get("reasoning"), lost);
    TEXT.note_all(root.get("text"), lost);
}

fn is_call(kind: &str) -> bool {
    let kind = kind.strip_suffix("_output").unwrap_or(kind);
    ["function_call", "custom_tool_call"].contains(&kind)
}

/// Notes what of messages is not read.
pub(super) fn anthropic(root: &Node<'_>, lost: &mut Vec<String>) {
    const MESSAGE: Known = Known { told: "messages", members: &["role", "content"] };
    const BLOCK: Known = Known {
        told: "messages.content",
        members: &[
            "type",
            "text",
            "source",
            "title",
            "id",
            "name",
            "input",
            "tool_use_id",
            "content",
            "is_error",
            "thinking",
            "signature",
            "data",
            // They are told by their own names.
            "cache_control",
            "citations",
        ],
    };
    const TOOL: Known = Known {
        told: "tools",
        members: &["type", "name", "description", "input_schema", "strict", "cache_control"],
    };
    const THINKING: Known = Known { told: "thinking", members: &["type", "budget_tokens"] };
    const METADATA: Known = Known { told: "metadata", members: &["user_id"] };
    for message in items(root, "messages") {
        MESSAGE.note(message, lost);
        for block in items(message, "content") {
            BLOCK.note(block, lost);
            BLOCK.note_all(items(block, "content"), lost);
        }
    }
    for tool in items(root, "tools") {
        if matches!(tool.text_of("type"), None | Some("custom")) {
            TOOL.note(tool, lost);
        }
    }
    THINKING.note_all(root.get("thinking"), lost);
    METADATA.note_all(root.get("metadata"), lost);
}

fn items<'n, 'a>(node: &'n Node<'a>, name: &str) -> &'n [Node<'a>] {
    node.get(name).map(Node::items).unwrap_or_default()
}

impl Known {
    fn note_all<'n, 'a: 'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n Node<'a>>,
        lost: &mut Vec<String>,
    ) {
        for node in nodes {
            self.note(node, lost);
        }
    }

    fn note(&self, node: &Node<'_>, lost: &mut Vec<String>) {
        for (name, value) in node.members() {
            if self.members.contains(&name.as_ref()) || says_nothing(value) {
                continue;
            }
            lose(lost, &format!("{}.{name}", self.told));
        }
    }
}

/// Clients that hand an answer back leave such members in it.
fn says_nothing(value: &Node<'_>) -> bool {
    match &value.value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dialect;
    use crate::ai::chat;

    fn lost(dialect: Dialect, body: &str) -> Vec<String> {
        dialect.decode_request(body.as_bytes()).unwrap().lost
    }

    #[test]
    fn a_client_can_make_up_any_number_of_names() {
        let many: String = (0..200_000).map(|n| format!(",\"x{n}\":1")).collect();
        let body = format!(r#"{{"input":"a"{many}}}"#);
        assert_eq!(lost(Dialect::OpenAiResponses, &body).len(), chat::LOST_NAMES_MAX);
    }

    #[test]
    fn what_nobody_reads_is_told() {
        assert_eq!(
            lost(
                Dialect::OpenAiChat,
                r#"{"messages":[
                  {"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},
                  {"role":"assistant","content":"b","audio":{"id":"x"},"annotations":[],"function_call":null},
                  {"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]},
                  {"role":"user","content":"c","suffix":true}],
                 "tools":[{"type":"function","function":{"name":"f","defer":true}},{"type":"x","y":1}]}"#
            ),
            ["messages.content.cache_control", "messages.audio", "messages.suffix", "tools.defer"]
        );
        assert_eq!(
            lost(
                Dialect::OpenAiResponses,
                r#"{"input":[{"role":"assistant","phase":"commentary","status":"completed","content":[
                    {"type":"output_text","text":"a","annotations":[{"type":"url_citation"}],"logprobs":[1]}]},
                  {"type":"function_call","call_id":"c","name":"f","arguments":"{}","caller":{"type":"direct"}},
                  {"type":"reasoning","summary":[],"encrypted_content":"x"}],
                 "tools":[{"type":"function","name":"f","defer_loading":true,"strict":true}],
                 "reasoning":{"effort":"low","context":"auto"},"text":{"verbosity":"low","x":1}}"#
            ),
            [
                "input.phase",
                "input.content.annotations",
                "input.caller",
                "tools.defer_loading",
                "reasoning.context",
                "text.x"
            ]
        );
        assert_eq!(
            lost(
                Dialect::AnthropicMessages,
                r#"{"max_tokens":1,"messages":[{"role":"user","content":[
                    {"type":"document","source":{"type":"text","data":"d"},"context":"c"},
                    {"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"a","x":1}]}]}],
                  "tools":[{"name":"f","input_schema":{},"eager_input_streaming":true}],
                  "thinking":{"type":"adaptive","display":"omitted"},"metadata":{"user_id":"u","y":2}}"#
            ),
            [
                "messages.content.context",
                "messages.content.x",
                "tools.eager_input_streaming",
                "thinking.display",
                "metadata.y"
            ]
        );
    }
}
