//! Requests: bytes to the neutral request.
#![forbid(unsafe_code)]

use std::fmt;

use super::super::{read, signature, unread};
use crate::ai::chat::{
    Message, Part, Reasoning, Request, ResponseFormat, Role, Source, Tool, ToolCall, ToolChoice,
    lose,
};
use crate::ai::tree::Node;
use crate::base::error::Failure;

/// Reads a request for a message. `max_tokens` is mandatory.
pub(in crate::ai::dialect) fn decode(body: &[u8]) -> Result<Request, Failure> {
    let request = decode_count(body)?;
    if request.max_tokens.is_none() {
        return Err(read::missing(format_args!("max_tokens")));
    }
    Ok(request)
}

/// Reads a request for a count of tokens: the same without a limit.
pub(in crate::ai::dialect) fn decode_count(body: &[u8]) -> Result<Request, Failure> {
    let root = read::body(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut messages = None;
    let mut system = Vec::new();
    for (name, node) in root.members() {
        if node.is_null() {
            continue;
        }
        match name.as_ref() {
            "model" => request.model = Some(read::text(node, format_args!("model"))?.to_owned()),
            "messages" => messages = Some(read::items(node, format_args!("messages"))?),
            "system" => content(node, format_args!("system"), &mut system, &mut request.lost)?,
            "max_tokens" => {
                let param = format_args!("max_tokens");
                request.max_tokens = Some(read::unsigned_from(node, param, 1)?);
            }
            "temperature" => {
                request.temperature = Some(read::number_within(node, "temperature", 0.0, 1.0)?);
            }
            "top_p" => request.top_p = Some(read::number_within(node, "top_p", 0.0, 1.0)?),
            "top_k" => {
                request.top_k = Some(read::unsigned_from(node, format_args!("top_k"), 0)?);
            }
            "stop_sequences" => {
                read::items(node, format_args!("stop_sequences"))?;
                request.stop = read::texts(node, "stop_sequences")?;
            }
            "stream" => request.stream = read::boolean(node, format_args!("stream"))?,
            "tools" => request.tools = tools(node, &mut request.lost)?,
            "tool_choice" => tool_choice(node, &mut request)?,
            "thinking" => thinking(node, &mut request)?,
            "output_config" => output_config(node, &mut request)?,
            "metadata" => {
                read::object(node, format_args!("metadata"))?;
                request.user = read::optional_text(node, "user_id", format_args!("metadata"))?;
            }
            // Every other provider has tiers of its own, and picks one unless told.
            "service_tier" if node.text() == Some("auto") => {}
            _ => lose(&mut request.lost, name),
        }
    }
    if !system.is_empty() {
        request.messages.push(Message::new(Role::System, system));
    }
    let messages = messages.ok_or_else(|| read::missing(format_args!("messages")))?;
    if messages.is_empty() {
        return Err(Failure::new(400, "messages: at least one message is required")
            .param("messages")
            .code("empty_array"));
    }
    for (index, node) in messages.iter().enumerate() {
        let message = message(node, index, &mut request.lost)?;
        request.messages.push(message);
    }
    unread::anthropic(&root, &mut request.lost);
    Ok(request)
}

fn message(node: &Node<'_>, index: usize, lost: &mut Vec<String>) -> Result<Message, Failure> {
    let at = format!("messages[{index}]");
    read::object(node, format_args!("{at}"))?;
    let role = match read::required_text(node, "role", format_args!("{at}"))? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => {
            let param = format_args!("{at}.role");
            return Err(read::wrong_value(param, "'user', 'assistant' or 'system'"));
        }
    };
    let found = node.get("content").ok_or_else(|| read::missing(format_args!("{at}.content")))?;
    let mut parts = Vec::new();
    content(found, format_args!("{at}.content"), &mut parts, lost)?;
    Ok(Message::new(role, parts))
}

/// A string, or an array of blocks.
fn content(
    node: &Node<'_>,
    at: fmt::Arguments<'_>,
    parts: &mut Vec<Part>,
    lost: &mut Vec<String>,
) -> Result<(), Failure> {
    if let Some(text) = node.text() {
        parts.push(Part::Text(text.to_owned()));
        return Ok(());
    }
    if !node.is_array() {
        return Err(read::wrong_type(at, "a string or an array of content blocks", node));
    }
    for (i, item) in node.items().iter().enumerate() {
        block(item, format_args!("{at}[{i}]"), parts, lost)?;
    }
    Ok(())
}

fn block(
    node: &Node<'_>,
    at: fmt::Arguments<'_>,
    parts: &mut Vec<Part>,
    lost: &mut Vec<String>,
) -> Result<(), Failure> {
    read::object(node, at)?;
    if node.get("cache_control").is_some() {
        lose(lost, "cache_control");
    }
    if node.get("citations").is_some_and(|c| c.is_object() || !c.items().is_empty()) {
        lose(lost, "citations");
    }
    match read::required_text(node, "type", at)? {
        "text" => parts.push(Part::Text(read::required_text(node, "text", at)?.to_owned())),
        "image" => {
            let source = source(node, at)?;
            parts.push(Part::Image { source, detail: None });
        }
        "document" => document(node, at, parts, lost)?,
        "tool_use" => {
            let id = read::required_text(node, "id", at)?;
            let input = node.get("input");
            if let Some(input) = input {
                read::object(input, format_args!("{at}.input"))?;
            }
            let (id, signature) = signature::from_id(id);
            parts.push(Part::ToolCall(ToolCall {
                id: id.to_owned(),
                name: read::required_text(node, "name", at)?.to_owned(),
                arguments: input.map_or("{}", |input| input.raw).to_owned(),
                signature,
            }));
        }
        "tool_result" => {
            let id = read::required_text(node, "tool_use_id", at)?;
            let mut inner = Vec::new();
            if let Some(found) = node.get("content") {
                content(found, format_args!("{at}.content"), &mut inner, lost)?;
            }
            parts.push(Part::ToolResult {
                id: signature::from_id(id).0.to_owned(),
                parts: inner,
                is_error: node.get("is_error").and_then(Node::boolean).unwrap_or(false),
            });
        }
        "thinking" => parts.push(Part::Thinking {
            text: read::required_text(node, "thinking", at)?.to_owned(),
            signature: node.text_of("signature").filter(|s| !s.is_empty()).map(str::to_owned),
        }),
        "redacted_thinking" => {
            let data = read::required_text(node, "data", at)?;
            parts.push(Part::RedactedThinking(data.to_owned()));
        }
        "search_result" => {
            let head = ["title", "source"].into_iter().filter_map(|name| node.text_of(name));
            let head = head.collect::<Vec<_>>().join("\n");
            if !head.is_empty() {
                parts.push(Part::Text(head));
            }
            if let Some(found) = node.get("content") {
                content(found, format_args!("{at}.content"), parts, lost)?;
            }
        }
        // Blocks of tools that Anthropic runs itself mean nothing to another provider.
        kind => lose(lost, kind),
    }
    Ok(())
}

fn source(node: &Node<'_>, at: fmt::Arguments<'_>) -> Result<Source, Failure> {
    let source = node.get("source").ok_or_else(|| read::missing(format_args!("{at}.source")))?;
    let at = format_args!("{at}.source");
    read::object(source, at)?;
    Ok(match read::required_text(source, "type", at)? {
        "base64" => Source::Base64 {
            media_type: read::required_text(source, "media_type", at)?.to_owned(),
            data: read::required_text(source, "data", at)?.to_owned(),
        },
        "url" => Source::Url(read::required_text(source, "url", at)?.to_owned()),
        "file" => Source::Id(read::required_text(source, "file_id", at)?.to_owned()),
        _ => {
            let param = format_args!("{at}.type");
            return Err(read::wrong_value(param, "'base64', 'url' or 'file'"));
        }
    })
}

fn document(
    node: &Node<'_>,
    at: fmt::Arguments<'_>,
    parts: &mut Vec<Part>,
    lost: &mut Vec<String>,
) -> Result<(), Failure> {
    let inner = node.get("source");
    let title = node.text_of("title");
    match inner.and_then(|source| source.text_of("type")) {
        // A document of plain text is text with its title above.
        Some("text") => {
            let data = inner.and_then(|source| source.text_of("data"));
            let data = data.ok_or_else(|| read::missing(format_args!("{at}.source.data")))?;
            parts.push(Part::Text(match title {
                Some(title) => format!("{title}\n\n{data}"),
                None => data.to_owned(),
            }));
        }
        Some("content") => {
            if let Some(found) = inner.and_then(|source| source.get("content")) {
                content(found, format_args!("{at}.source.content"), parts, lost)?;
            }
        }
        _ => parts.push(Part::File { source: source(node, at)?, name: title.map(str::to_owned) }),
    }
    Ok(())
}

fn tools(node: &Node<'_>, lost: &mut Vec<String>) -> Result<Vec<Tool>, Failure> {
    let mut found = Vec::new();
    for (i, tool) in read::items(node, format_args!("tools"))?.iter().enumerate() {
        let at = format_args!("tools[{i}]");
        read::object(tool, at)?;
        if tool.get("cache_control").is_some() {
            lose(lost, "cache_control");
        }
        match tool.text_of("type") {
            None | Some("custom") => {
                let schema = tool.get("input_schema");
                if let Some(schema) = schema {
                    read::object(schema, format_args!("{at}.input_schema"))?;
                }
                found.push(Tool::Function {
                    name: read::required_text(tool, "name", at)?.to_owned(),
                    description: read::optional_text(tool, "description", at)?,
                    parameters: schema.map(|schema| schema.raw.to_owned()),
                    strict: tool.get("strict").and_then(Node::boolean),
                });
            }
            Some(kind) => {
                found.push(Tool::Provider { kind: kind.to_owned(), json: tool.raw.to_owned() })
            }
        }
    }
    Ok(found)
}

fn tool_choice(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    let at = format_args!("tool_choice");
    read::object(node, at)?;
    request.tool_choice = Some(match read::required_text(node, "type", at)? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Function(read::required_text(node, "name", at)?.to_owned()),
        _ => {
            let param = format_args!("tool_choice.type");
            return Err(read::wrong_value(param, "'auto', 'any', 'tool' or 'none'"));
        }
    });
    if let Some(disable) = node.get("disable_parallel_tool_use").and_then(Node::boolean) {
        request.parallel_tool_calls = Some(!disable);
    }
    Ok(())
}

fn thinking(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    let at = format_args!("thinking");
    read::object(node, at)?;
    match read::required_text(node, "type", at)? {
        "disabled" => request.no_thinking = true,
        "enabled" => {
            let param = format_args!("thinking.budget_tokens");
            let budget = node.get("budget_tokens").ok_or_else(|| read::missing(param))?;
            let reasoning = request.reasoning.get_or_insert_with(Reasoning::default);
            reasoning.budget_tokens = Some(read::unsigned_from(budget, param, 1)?);
        }
        "adaptive" | "between_tools" => {
            request.reasoning.get_or_insert_with(Reasoning::default);
        }
        _ => {
            let param = format_args!("thinking.type");
            return Err(read::wrong_value(param, "'enabled', 'adaptive' or 'disabled'"));
        }
    }
    Ok(())
}

fn output_config(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    let at = format_args!("output_config");
    read::object(node, at)?;
    if let Some(effort) = read::optional_text(node, "effort", at)? {
        request.reasoning.get_or_insert_with(Reasoning::default).effort = Some(effort);
    }
    if let Some(format) = node.get("format") {
        let at = format_args!("output_config.format");
        read::object(format, at)?;
        let kind = read::required_text(format, "type", at)?;
        if kind != "json_schema" {
            let param = format_args!("output_config.format.type");
            return Err(read::wrong_value(param, "'json_schema'"));
        }
        let param = format_args!("output_config.format.schema");
        let schema = format.get("schema").ok_or_else(|| read::missing(param))?;
        read::object(schema, param)?;
        request.response_format = ResponseFormat::JsonSchema {
            // The name is OpenAI's; Anthropic has none.
            name: "output".to_owned(),
            description: None,
            schema: schema.raw.to_owned(),
            strict: Some(true),
        };
    }
    for (name, _) in node.members() {
        if name != "effort" && name != "format" {
            lose(&mut request.lost, name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rich_request_is_read_whole() {
        let request = decode(
            br#"{"model":"claude-x","max_tokens":100,"stream":true,"temperature":0.5,"top_k":40,
              "system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}],
              "messages":[
                {"role":"user","content":"hi"},
                {"role":"assistant","content":[
                  {"type":"thinking","thinking":"hm","signature":"sig"},
                  {"type":"redacted_thinking","data":"xx"},
                  {"type":"text","text":"let me look"},
                  {"type":"tool_use","id":"toolu_1__ts__QUJD","name":"f","input":{"a": 1.0}},
                  {"type":"tool_use","id":"toolu_2","name":"g","input":{}}]},
                {"role":"user","content":[
                  {"type":"tool_result","tool_use_id":"toolu_1__ts__QUJD","content":[{"type":"text","text":"one"}]},
                  {"type":"tool_result","tool_use_id":"toolu_2","is_error":true},
                  {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}},
                  {"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"D"}}]}],
              "tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}],
              "tool_choice":{"type":"any","disable_parallel_tool_use":true},
              "thinking":{"type":"enabled","budget_tokens":2048},
              "output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}},
              "stop_sequences":["x"],"metadata":{"user_id":"u"},"context_management":{}}"#,
        )
        .unwrap();
        assert_eq!(request.messages.len(), 4);
        assert_eq!(request.messages[0], Message::text(Role::System, "be brief"));
        let assistant = &request.messages[2].parts;
        assert_eq!(assistant.len(), 5);
        let Part::ToolCall(call) = &assistant[3] else { panic!("a call") };
        assert_eq!((call.id.as_str(), call.arguments.as_str()), ("toolu_1", "{\"a\": 1.0}"));
        assert_eq!(call.signature.as_deref(), Some("QUJD"));
        let results = &request.messages[3].parts;
        assert!(matches!(&results[0], Part::ToolResult { id, .. } if id == "toolu_1"));
        assert!(matches!(&results[1], Part::ToolResult { is_error: true, .. }));
        assert_eq!(results[3], Part::Text("T\n\nD".into()));
        assert_eq!(request.tool_choice, Some(ToolChoice::Required));
        assert_eq!(request.parallel_tool_calls, Some(false));
        let reasoning = request.reasoning.unwrap();
        assert_eq!(
            (reasoning.budget_tokens, reasoning.effort.as_deref()),
            (Some(2048), Some("low"))
        );
        assert_eq!(request.lost, ["cache_control", "context_management"]);
        assert_eq!(request.user.as_deref(), Some("u"));
        assert!(
            matches!(&request.tools[1], Tool::Provider { kind, .. } if kind == "web_search_20250305")
        );
    }

    #[test]
    fn wrong_members_are_named() {
        for (body, param) in [
            (r#"{"messages":[{"role":"user","content":"a"}]}"#, "max_tokens"),
            (r#"{"max_tokens":0,"messages":[{"role":"user","content":"a"}]}"#, "max_tokens"),
            (r#"{"max_tokens":1}"#, "messages"),
            (r#"{"max_tokens":1,"messages":[]}"#, "messages"),
            (r#"{"max_tokens":1,"messages":[{"role":"tool","content":"a"}]}"#, "messages[0].role"),
            (r#"{"max_tokens":1,"messages":[{"role":"user"}]}"#, "messages[0].content"),
            (
                r#"{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image"}]}]}"#,
                "messages[0].content[0].source",
            ),
            (
                r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}],"temperature":2}"#,
                "temperature",
            ),
            (
                r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}],"stop_sequences":"x"}"#,
                "stop_sequences",
            ),
            (
                r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}],"thinking":{"type":"enabled"}}"#,
                "thinking.budget_tokens",
            ),
            (
                r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}],"tool_choice":{"type":"maybe"}}"#,
                "tool_choice.type",
            ),
        ] {
            let failure = decode(body.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400, "{body}");
            assert_eq!(failure.param.as_deref(), Some(param), "{body}");
        }
        assert!(decode_count(br#"{"messages":[{"role":"user","content":"a"}]}"#).is_ok());
    }
}
